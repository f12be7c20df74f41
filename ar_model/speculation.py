"""Lossless speculation: runs of motion codes, several positions of every row in one pass, without a second model.

In:  the hidden state before a run, the sampling rule, the rows' noise.
Out: the codes that one step after another would have written, and the cache filled up to the last but one of them.
A draw is a function of what stands before it and of its position's own noise (``ar_model.sampling.race``), so guesses
can be checked: a pass runs W positions over guessed codes and draws each with its own noise; everything up to and
including the first draw that differs from its guess is right, and the draws behind it are the next guesses. Positions
that enter the window are guessed by racing their noise over the last logits known for their code slot, mostly those of
one frame ago. This is Jacobi iteration with coupled draws (arXiv 2510.24211) whose noise is fixed for good: the result
is not only equal in distribution but the same codes. Products of several rows round differently, so a code may differ
where two ids arrive within rounding of each other, or where a nucleus ends within rounding of ``top_p``: never seen in
float32, but in bfloat16 and int8, where few and many rows round at different places, samples part after some hundred
codes and go on as other draws of the same model.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ar_model.decoder import PackedDecoder
from ar_model.kv_cache import KVCache
from ar_model.sampling import NoiseSource, Sampling, race
from ar_model.sequence import CODES_PER_FRAME, MOTION, SequenceLayout


class Speculation:
    """Writes the motion runs of one batch of sequences in the motion layout "token".

    Args:
        decoder: the packed model.
        layout: of every row.
        cache: reaches at least W positions past the layout's end.
        sampling: the rule.
        noise: ``None`` at temperature 0.
        window: W, positions a pass, at least 2.
        report: called while a run is under way with its first token and the codes (B, n) that all rows have.
    """

    def __init__(
        self,
        decoder: PackedDecoder,
        layout: SequenceLayout,
        cache: KVCache,
        sampling: Sampling,
        noise: NoiseSource | None,
        window: int,
        report: Callable[[int, Tensor], None],
    ) -> None:
        self.decoder, self.layout, self.tables, self.cache = decoder, layout, decoder.tables(layout), cache
        self.sampling, self.noise, self.window, self.report = sampling, noise, window, report
        self.recent: Tensor | None = None

    def write(self, hidden: Tensor, first: int) -> Tensor:
        """Write the rest of a motion run.

        Args:
            hidden: (B, dim) of the position before ``first``.
            first: a motion position; the cache holds everything before it.

        Returns:
            (B, n) int64 codes from ``first`` to the end of its run; the cache holds all but the last.
        """
        logits = self.decoder.logits(hidden, MOTION)
        if self.recent is None:
            self.recent = logits[:, None].repeat(1, CODES_PER_FRAME, 1)
        stretch = _Stretch(self, first, self.recent, logits)
        before, length = int(self.layout.first_tokens[first]), stretch.length
        while (done := int(stretch.last.min()) + 1) < length:
            self.report(before, stretch.codes[:, :done])
            stretch.extend()
        return stretch.codes[:, :length]


class _Stretch:
    """The rest of a run, being written. Indices count positions from its first one.

    Attributes:
        last: (B,) index of each row's last right code.
        codes: (B, length + W) right codes up to ``last``, guesses behind.
        noise: (B, W, V) of the indices ``last + 1 .. last + W``; ``None`` at temperature 0.
        recent: (B, 36, V) the last logits known for each code slot.
    """

    def __init__(self, owner: Speculation, first: int, recent: Tensor, logits: Tensor) -> None:
        run = next(run for run in owner.layout.runs if run.start <= first < run.stop)
        batch, device, window = len(logits), logits.device, owner.window
        self.owner, self.first, self.recent = owner, first, recent
        self.length, self.slot = run.stop - first, (first - run.start) % CODES_PER_FRAME
        self.ahead = torch.arange(window, device=device)
        self.last = torch.full((batch,), -1, device=device)
        self.codes = torch.zeros(batch, self.length + window, dtype=torch.int64, device=device)
        self.noise = None if owner.noise is None else torch.ones(batch, window, logits.shape[1], device=device)
        self._renew_noise([window] * batch)
        # the guess of the first code is its draw, as its logits are known
        self.recent[:, self.slot] = logits
        places = self.last[:, None] + 1 + self.ahead
        self._guess(places, places < self.length)
        self._advance(torch.ones_like(self.last))

    def extend(self) -> None:
        """One pass: every row that is not done gets at least one code more."""
        owner = self.owner
        places = self.last[:, None] + self.ahead
        tried = self.codes.gather(1, places)
        x = owner.decoder.model.embedding(MOTION)(tried)
        hidden = owner.decoder.extend(x, self.first + self.last, owner.tables, owner.cache)
        logits = owner.decoder.logits(hidden, MOTION)
        noise = None if self.noise is None else self.noise.flatten(0, 1)
        drawn = race(logits.flatten(0, 1), owner.sampling, noise).view_as(tried)
        self.codes.scatter_(1, places + 1, drawn)
        # of a window longer than a frame the last position of each slot, so that no slot is written twice
        known = (places + 1 < self.length) & (self.ahead >= owner.window - CODES_PER_FRAME)
        row, column = known.nonzero(as_tuple=True)
        self.recent[row, self._slots(places[row, column] + 1)] = logits[row, column]
        self._advance(1 + (drawn[:, :-1] == tried[:, 1:]).long().cumprod(dim=1).sum(dim=1))

    def _advance(self, right: Tensor) -> None:
        """Move every row on by its right codes (B,), at most to the end, and guess what enters the window."""
        window, before = self.owner.window, self.last
        steps = torch.minimum(right, self.length - 1 - before)
        self.last = before + steps
        if self.noise is not None:
            moved = (self.ahead + steps[:, None]).clamp(max=window - 1)
            self.noise = self.noise.gather(1, moved[:, :, None].expand_as(self.noise))
        self._renew_noise(steps.tolist())
        places = self.last[:, None] + self.ahead
        self._guess(places, (places > before[:, None] + window) & (places < self.length))

    def _renew_noise(self, steps: list[int]) -> None:
        """Draw the last ``steps`` places of each row's noise, in order and not past the end of the run."""
        source, window = self.owner.noise, self.owner.window
        if source is None or self.noise is None:
            return
        for row, (count, last) in enumerate(zip(steps, self.last.tolist(), strict=True)):
            for place in range(window - count, min(window, self.length - 1 - last)):
                source.fill(row, self.noise[row, place])

    def _guess(self, places: Tensor, wanted: Tensor) -> None:
        """Guess the codes at the wanted ones of the indices (B, W), whose noise is known but not their logits."""
        row, column = wanted.nonzero(as_tuple=True)
        if not len(row):
            return
        place = places[row, column]
        noise = None if self.noise is None else self.noise[row, place - self.last[row] - 1]
        self.codes[row, place] = race(self.recent[row, self._slots(place)], self.owner.sampling, noise)

    def _slots(self, places: Tensor) -> Tensor:
        return (self.slot + places) % CODES_PER_FRAME
