"""Generation: prefill the condition once, then write the target token by token with a key/value cache.

In:  visual ids of a clip (V2M) or of a reference image (I2VM, video); or the first tokens of any sequence.
Out: motion ids (B, T, 36), visual ids (B, K, h, w).
Samples of a batch are independent: each has its own prompt and its own seeded noise. Sample i of prompt b stands in
row ``b * num_samples + i`` of every output, and takes the seed of that index.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ar_model.blocks import Context
from ar_model.decoder import PackedDecoder
from ar_model.depth_decoder import PackedDepth
from ar_model.graphs import StaticDecoder
from ar_model.kv_cache import KVCache
from ar_model.sampling import NoiseSource, Sampling, race
from ar_model.sequence import CODES_PER_FRAME, MOTION, Piece, SequenceLayout
from ar_model.speculation import Speculation
from ar_model.transformer import UniMoTransformer

Progress = Callable[[int, int], None]
Stream = Callable[[Piece, Tensor], None]
Watch = Callable[[int, Tensor], None]


class Engine:
    """Generates with one model. Weights are packed at construction: make a new engine after changing the model.

    Attributes:
        watch: where set, called before every draw with the modality and the logits (rows, V) of the next token, in the
            order of tokens; what is drawn stays the same. Not with speculation, whose passes hold many tokens.
    """

    def __init__(self, model: UniMoTransformer, weights: str | None = None, speculate: int = 0) -> None:
        """``weights``: ``None`` keeps them as exact as they are, ``"int8"`` rounds blocks and heads to 8 bits.
        ``speculate``: motion codes tried per pass (``ar_model.speculation``, the same ids sooner); 0 writes one by one.

        Raises:
            ValueError: another value; speculation with a model that writes whole frames.
        """
        if speculate < 0 or speculate == 1:
            raise ValueError(f"speculate must be 0 (off) or at least 2 codes a pass, got {speculate}")
        if speculate and model.depth is not None:
            raise ValueError('speculation is for the motion layout "token"; this model writes whole frames')
        self.model, self.window = model, speculate
        self.watch: Watch | None = None
        self.decoder = PackedDecoder(model, weights)
        depth = model.depth
        self.depth = None if depth is None else PackedDepth(depth, model.norm.weight, model.config.norm_eps)

    def generate_motion(
        self,
        visual_ids: Tensor,
        frames: int,
        sampling: Sampling | None = None,
        seeds: Sequence[int] | None = None,
        num_samples: int = 1,
        callback: Progress | None = None,
        context: Context | None = None,
        stream: Stream | None = None,
    ) -> Tensor:
        """Motion of the person in a clip (V2M).

        Args:
            visual_ids: (B, K, h, w) ids of the clip.
            frames: T = 1 + 8(K-1).
            sampling: the rule; ``None`` means ``Sampling()``.
            seeds: one per output row; ``None`` means 0, 1, 2, ...
            num_samples: motions per clip; the clip is prefilled once.
            callback: called with (tokens done, tokens in all).
            context: text states of the B clips; given exactly where the model's config has a ``context_dim``.
            stream: called with every latent frame or motion frame, and its ids in all rows (rows, h*w or 36), as soon
                as all rows have it.

        Returns:
            (B * num_samples, T, 36) int64 motion ids.

        Raises:
            ValueError: shapes, ids, frames, the number of seeds or the context do not fit.
        """
        self._check_visual("visual_ids", visual_ids, 4)
        _, latent_frames, height, width = visual_ids.shape
        layout = self._layout("v2m", latent_frames, height, width, frames)
        tokens = self._generate(layout, visual_ids, sampling, seeds, num_samples, callback, context, stream)
        return layout.invert(tokens)[1]

    def generate_video_motion(
        self,
        first_ids: Tensor,
        latent_frames: int,
        frames: int,
        sampling: Sampling | None = None,
        seeds: Sequence[int] | None = None,
        num_samples: int = 1,
        callback: Progress | None = None,
        context: Context | None = None,
        stream: Stream | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Video and motion from a reference image (I2VM).

        Args:
            first_ids: (B, h, w) ids of the image, the first latent frame.
            latent_frames: K of the result, the image included.
            frames: T = 1 + 8(K-1).
            sampling, seeds, num_samples, callback, context, stream: as in ``generate_motion``.

        Returns:
            visual ids (B * num_samples, K, h, w) and motion ids (B * num_samples, T, 36), int64.

        Raises:
            ValueError: shapes, ids, frames, the number of seeds or the context do not fit.
        """
        self._check_visual("first_ids", first_ids, 3)
        _, height, width = first_ids.shape
        layout = self._layout("i2vm", latent_frames, height, width, frames)
        tokens = self._generate(layout, first_ids[:, None], sampling, seeds, num_samples, callback, context, stream)
        return layout.invert(tokens)

    def generate_video(
        self,
        first_ids: Tensor,
        latent_frames: int,
        sampling: Sampling | None = None,
        seeds: Sequence[int] | None = None,
        num_samples: int = 1,
        callback: Progress | None = None,
        context: Context | None = None,
        stream: Stream | None = None,
    ) -> Tensor:
        """Video from a reference image without motion, as Cosmos-AR does.

        A model whose visual embedding has more rows than ids (Cosmos 5B) begins with the first of them.
        Arguments and errors are those of ``generate_video_motion``.

        Returns:
            (B * num_samples, K, h, w) int64 visual ids.
        """
        self._check_visual("first_ids", first_ids, 3)
        _, height, width = first_ids.shape
        begins = self.model.config.embedding_rows > self.model.config.visual_ids
        layout = SequenceLayout("video", latent_frames, height, width, begin_of_video=begins)
        tokens = self._generate(layout, first_ids[:, None], sampling, seeds, num_samples, callback, context, stream)
        return layout.invert(tokens)[0]

    def _layout(self, task: str, latent_frames: int, height: int, width: int, frames: int) -> SequenceLayout:
        motion_layout = self.model.config.motion_layout
        return SequenceLayout(task, latent_frames, height, width, frames, motion_layout=motion_layout)

    def _generate(
        self,
        layout: SequenceLayout,
        visual_ids: Tensor,
        sampling: Sampling | None,
        seeds: Sequence[int] | None,
        num_samples: int,
        callback: Progress | None,
        context: Context | None,
        stream: Stream | None,
    ) -> Tensor:
        """Tokens (B * num_samples, N) of a layout whose first latent frames are given."""
        if num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {num_samples}")
        rows = visual_ids.shape[0] * num_samples
        seeds = range(rows) if seeds is None else seeds
        if len(seeds) != rows:
            raise ValueError(f"{rows} rows need {rows} seeds, got {len(seeds)}")
        tokens = _prompt(layout, visual_ids.to(self.decoder.device), self.model.config.visual_ids)
        rule = sampling or Sampling()
        return self.complete(tokens, layout, layout.condition_length, rule, seeds, callback, context, stream)

    @torch.inference_mode()
    def complete(
        self,
        tokens: Tensor,
        layout: SequenceLayout,
        given: int,
        sampling: Sampling,
        seeds: Sequence[int],
        callback: Progress | None = None,
        context: Context | None = None,
        stream: Stream | None = None,
    ) -> Tensor:
        """Write everything after the first tokens of a sequence, of whatever task and with or without a context.

        Args:
            tokens: (B, N) int64 in the layout's order; what stands behind the given ones is not read.
            layout: the layout of every row.
            given: number of tokens to keep, at least 1 and at least the layout's bidirectional prefix; where a position
                holds a whole motion frame, it ends between frames.
            sampling: the rule.
            seeds: one per output row, a multiple of B.
            callback: called with (tokens done, tokens in all).
            context: what the B rows may look at; given exactly where the config has a ``context_dim``.
            stream: as in ``generate_motion``.

        Returns:
            (rows, N) int64 tokens.

        Raises:
            ValueError: tokens, ``given``, the number of seeds or the context do not fit.
        """
        layout.check_shape(tokens)
        self.model.check_layout(layout)
        start = _position_of(given, layout)
        copies, left = divmod(len(seeds), len(tokens))
        if not copies or left:
            raise ValueError(f"{len(seeds)} seeds are not a multiple of {len(tokens)} rows")
        tokens = tokens.to(self.decoder.device, copy=True)
        hidden, cache = self._prefill(tokens[:, :given], layout, start, copies, context)
        tokens = tokens.repeat_interleave(copies, dim=0)
        noise = NoiseSource(seeds, self.decoder.device) if sampling.temperature > 0 else None
        self._write(hidden, cache, layout, start, sampling, noise, _Report(tokens, layout, given, callback, stream))
        return tokens

    def _prefill(
        self, given: Tensor, layout: SequenceLayout, start: int, copies: int, context: Context | None
    ) -> tuple[Tensor, KVCache]:
        """Runs the given tokens (B, n) once: the last hidden state (B * copies, dim), a cache for all that follows."""
        # a window of speculation may reach past the end
        capacity = len(layout) + self.window
        cache = self.decoder.new_cache(len(given), start if copies > 1 else capacity, context)
        hidden = self.decoder.prefill(given, layout, cache)
        if copies > 1:
            hidden, cache = hidden.repeat_interleave(copies, dim=0), cache.expand(copies, capacity)
        return hidden, cache

    def _write(
        self,
        hidden: Tensor,
        cache: KVCache,
        layout: SequenceLayout,
        position: int,
        sampling: Sampling,
        noise: NoiseSource | None,
        report: _Report,
    ) -> None:
        """Draws and reports the ids of every position from one on, whose state before it is ``hidden`` (B, dim)."""
        if self.window and self.watch:
            raise ValueError("with speculation logits cannot be watched")
        step, modalities, firsts = self._stepper(layout, cache), layout.modality.tolist(), layout.first_tokens.tolist()
        speculation = None
        if self.window:
            speculation = Speculation(self.decoder, layout, cache, sampling, noise, self.window, report)
        while position < len(layout):
            modality, first = modalities[position], firsts[position]
            if speculation is not None and modality == MOTION:
                ids = speculation.write(hidden, position)
                position += ids.shape[1]
            else:
                ids = self._draw(hidden, modality, sampling, noise)
                position += 1
            report(first, ids)
            if position < len(layout):
                whole = modality == MOTION and self.depth is not None
                x = self.model.embedding(modality)(ids if whole else ids[:, -1])
                hidden = step(x, position - 1)

    def _stepper(self, layout: SequenceLayout, cache: KVCache) -> Callable[[Tensor, int], Tensor]:
        """The step of one position over a cache: as a CUDA graph where there is one."""
        tables = self.decoder.tables(layout)
        if self.decoder.device.type == "cuda":
            return StaticDecoder(self.decoder, tables, cache).step
        return lambda x, position: self.decoder.step(x, position, tables, cache)

    def _draw(self, hidden: Tensor, modality: int, sampling: Sampling, noise: NoiseSource | None) -> Tensor:
        """(B, n) ids of the next position from the hidden states (B, dim) before it."""
        if modality == MOTION and self.depth is not None:
            shape = (CODES_PER_FRAME, self.model.config.motion_ids)
            drawn = None if noise is None else noise.draw(shape[0] * shape[1]).unflatten(1, shape)
            watch = self.watch
            return self.depth.write(hidden, sampling, drawn, watch and (lambda logits: watch(MOTION, logits)))
        logits = self.decoder.logits(hidden, modality)
        if self.watch:
            self.watch(modality, logits)
        return race(logits, sampling, None if noise is None else noise.draw(logits.shape[1]))[:, None]

    def _check_visual(self, name: str, ids: Tensor, dimensions: int) -> None:
        if ids.ndim != dimensions or ids.numel() == 0:
            letters = ", ".join("BKhw" if dimensions == 4 else "Bhw")
            raise ValueError(f"{name} must be ({letters}), got {tuple(ids.shape)}")
        vocabulary = self.model.config.visual_ids
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= vocabulary:
            raise ValueError(f"{name} must be in 0..{vocabulary - 1}, found {low}..{high}")


class _Report:
    """Puts new ids into the tokens (B, N) and tells who asked for it."""

    def __init__(
        self, tokens: Tensor, layout: SequenceLayout, given: int, callback: Progress | None, stream: Stream | None
    ) -> None:
        self.tokens, self.given, self.callback, self.stream = tokens, given, callback, stream
        self.waiting = deque(piece for piece in layout.pieces if piece.stop > given)

    def __call__(self, first: int, ids: Tensor) -> None:
        """``ids`` (B, n) are those of the tokens from ``first`` on, which all rows have."""
        done = first + ids.shape[1]
        self.tokens[:, first:done] = ids
        while self.stream is not None and self.waiting and self.waiting[0].stop <= done:
            piece = self.waiting.popleft()
            self.stream(piece, self.tokens[:, piece.start : piece.stop].clone())
        if self.callback is not None:
            self.callback(done - self.given, self.tokens.shape[1] - self.given)


def _position_of(given: int, layout: SequenceLayout) -> int:
    """The position at which the token number ``given`` begins.

    Raises:
        ValueError: it lies inside the bidirectional prefix, behind the end or within a position of several tokens.
    """
    total, firsts = layout.num_tokens, layout.first_tokens.tolist()
    if not max(1, layout.prefix_length) <= given <= total:
        raise ValueError(f"given must be in {max(1, layout.prefix_length)}..{total}, got {given}")
    start = bisect_left(firsts, given)
    if [*firsts, total][start] != given:
        raise ValueError(f"given must end between motion frames, got {given}")
    return start


def _prompt(layout: SequenceLayout, visual_ids: Tensor, begin_id: int) -> Tensor:
    """Tokens (B, N) with the first latent frames in place and 0 at every position still to be written."""
    batch, given, height, width = visual_ids.shape
    visual = visual_ids.new_zeros(batch, layout.latent_frames, height, width)
    visual[:, :given] = visual_ids
    if layout.task == "video":
        return layout.build(visual, begin_id=begin_id if layout.begin_of_video else None)
    return layout.build(visual, visual_ids.new_zeros(batch, layout.frames, CODES_PER_FRAME))
