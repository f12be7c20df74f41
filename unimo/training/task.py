"""What the loop asks of a model's training task: batches that depend on the step alone, a loss, a validation."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from unimo.training.parallel import rank

Batch = dict[str, Any]


class Task(Protocol):
    """One model's training. `batch(step)` is a pure function of seed and step, so a resumed run sees the same data."""

    name: str
    model: nn.Module

    @property
    def shipped(self) -> nn.Module:
        """The part of `model` that outlives the training; all of it, unless the training has heads of its own."""
        ...

    def batch(self, step: int) -> Batch:
        """Tensors of one step; `names` (list of clip names) is printed when the step fails."""
        ...

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Scalar loss to minimise and the numbers to log."""
        ...

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Metrics of `model` (the averaged weights when there are any) on fixed validation data."""
        ...


def step_generator(seed: int, step: int, stream: int = 0) -> np.random.Generator:
    """The random generator of one step; different `stream` numbers and different processes are independent."""
    return np.random.default_rng(np.random.SeedSequence([seed, step, stream, rank()]))
