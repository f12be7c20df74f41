"""How sure the transformer is of the motion tokens that it draws.

In: logits that an engine shows before every draw. Out: one number a row, nats: the mean over a sequence's motion tokens
of the entropy of softmax(logits / temperature), the distribution that is sampled before top-p cuts it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ar_model import Engine
from ar_model.sequence import MOTION


class EntropyMeter:
    """Collects the entropies of one sequence batch after another.

    Args:
        temperature: of sampling; 0, where nothing is drawn, is measured at 1.
    """

    def __init__(self, temperature: float = 1.0) -> None:
        self.temperature = temperature or 1.0
        self._sum: Tensor | None = None
        self._tokens = 0
        self._rows: list[Tensor] = []

    def __call__(self, modality: int, logits: Tensor) -> None:
        """The logits (rows, V) of one token of all rows."""
        if modality != MOTION:
            return
        log_mass = torch.log_softmax(logits.float() / self.temperature, dim=-1)
        entropy = -(log_mass.exp() * log_mass.clamp(min=-1e4)).sum(dim=-1)
        self._sum = entropy if self._sum is None else self._sum + entropy
        self._tokens += 1

    def end_batch(self) -> None:
        """The rows of the batch that was under way are complete."""
        if self._sum is not None:
            self._rows.append((self._sum / self._tokens).cpu())
        self._sum, self._tokens = None, 0

    @property
    def nats(self) -> Tensor:
        """(rows of all batches,) float32."""
        return torch.cat(self._rows)


@contextmanager
def watched(engine: Engine, temperature: float) -> Iterator[EntropyMeter]:
    """An `EntropyMeter` that sees what `engine` draws; call `end_batch` after every sequence batch."""
    meter, before = EntropyMeter(temperature), engine.watch
    engine.watch = meter
    try:
        yield meter
    finally:
        engine.watch = before
