"""What the loop asks of a model's training task: batches that a resumed run sees again, a loss, a validation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor, nn

from unimo.training.parallel import rank

Batch = dict[str, Any]


class Task(Protocol):
    """One model's training.

    `batch(step)` is a pure function of seed and step, so a resumed run sees the same data; what depends on the batches
    before it as well is `Positioned`.
    """

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


@runtime_checkable
class Positioned(Protocol):
    """A task whose clips come in a stream: its position is part of checkpoints."""

    def position(self) -> dict[str, Any]:
        """Where the stream is, as JSON; the same in every process."""
        ...

    def go_to(self, position: Mapping[str, Any]) -> None:
        """Goes on where `position` was asked for.

        Raises:
            CheckpointError: it is a position in another stream.
        """
        ...


def step_generator(seed: int, step: int, stream: int = 0) -> np.random.Generator:
    """The random generator of one step; different `stream` numbers and different processes are independent."""
    return np.random.default_rng(np.random.SeedSequence([seed, step, stream, rank()]))
