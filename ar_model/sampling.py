"""Drawing one id per row from logits: greedy, plain, top-k or top-p, by the exponential race.

In:  logits (B, V) of one modality's vocabulary and Exp(1) noise (B, V).
Out: ids (B,). Everything is float32; the same noise gives the same id.
``sample`` is Cosmos's race, for parity; ``race`` is the engine's.
The rules are Cosmos's: top-p drops entry j when the cumulative mass before it exceeds p, so the crossing entry stays,
and races in sorted order; top-k keeps ties at the k-th value and races in vocabulary order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How ids are drawn.

    Attributes:
        temperature: divides the logits; 0 takes the largest logit and ignores the rest.
        top_p: probability mass kept, in (0, 1]; ``None`` keeps everything.
        top_k: number of ids kept; ``None`` keeps everything. Exclusive with ``top_p``.
    """

    temperature: float = 1.0
    top_p: float | None = 0.8
    top_k: int | None = None

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise ValueError(f"temperature must be 0 or more, got {self.temperature}")
        if self.top_p is not None and self.top_k is not None:
            raise ValueError("top_p and top_k exclude each other: give one of them")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1], got {self.top_p}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {self.top_k}")


def filtered_probabilities(logits: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor | None]:
    """The distribution that is drawn from.

    Args:
        logits: (B, V).
        sampling: with a temperature above 0.

    Returns:
        probabilities: (B, V) float32 that sum to 1, descending for top-p, else in vocabulary order.
        order: (B, V) vocabulary id of each column for top-p, else ``None``.
    """
    logits = logits.float() / sampling.temperature
    if sampling.top_k is not None and sampling.top_k < logits.shape[-1]:
        threshold = torch.topk(logits, sampling.top_k).values[:, -1:]
        logits = logits.masked_fill(logits < threshold, -torch.inf)
    probabilities = torch.softmax(logits, dim=-1)
    if sampling.top_p is None:
        return probabilities, None
    ranked, order = torch.sort(probabilities, dim=-1, descending=True)
    ranked = ranked.masked_fill(ranked.cumsum(dim=-1) - ranked > sampling.top_p, 0.0)
    return ranked / ranked.sum(dim=-1, keepdim=True), order


def sample(logits: Tensor, sampling: Sampling, noise: Tensor | None) -> Tensor:
    """Draw one id per row.

    Args:
        logits: (B, V).
        sampling: the rule.
        noise: (B, V) Exp(1) draws; not used at temperature 0.

    Returns:
        (B,) int64 ids.

    Raises:
        ValueError: noise is missing where the rule draws.
    """
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    if noise is None:
        raise ValueError("sampling at a temperature above 0 needs noise")
    probabilities, order = filtered_probabilities(logits, sampling)
    winner = (probabilities / noise).argmax(dim=-1, keepdim=True)
    return (winner if order is None else order.gather(-1, winner))[:, 0]


def race(logits: Tensor, sampling: Sampling, noise: Tensor | None) -> Tensor:
    """As ``sample``, from the same distribution, but column v of the noise belongs to id v under every rule.

    So the same noise draws the same id from similar logits, whatever their order, which speculation lives on; and the
    nucleus needs no sorting: the first to arrive of all ids is the draw if it lies inside, else it and all ids at or
    behind it in rank leave and the race goes on. Equal probabilities rank by id.
    """
    if sampling.temperature == 0 or sampling.top_p is None:
        return sample(logits, sampling, noise)
    if noise is None:
        raise ValueError("sampling at a temperature above 0 needs noise")
    mass = torch.softmax(logits.float() / sampling.temperature, dim=-1)
    speeds, columns = mass / noise, torch.arange(logits.shape[-1], device=logits.device)
    winners = first = speeds.argmax(dim=-1)
    pending = torch.arange(len(logits), device=logits.device)
    while True:
        own = mass.gather(1, first[:, None])
        ahead = (mass > own) | ((mass == own) & (columns < first[:, None]))
        outside = (mass * ahead).sum(dim=-1) > sampling.top_p
        if not bool(outside.any()):
            return winners
        pending, mass, speeds = pending[outside], mass[outside], (speeds * ahead)[outside]
        first = speeds.argmax(dim=-1)
        winners[pending] = first


class NoiseSource:
    """Exp(1) noise from one generator per row, so that a row's noise does not depend on its neighbours."""

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self.device = device

    def draw(self, size: int) -> Tensor:
        """(B, size) float32."""
        noise = torch.empty(len(self.generators), size, device=self.device)
        for row in range(len(noise)):
            self.fill(row, noise[row])
        return noise

    def fill(self, row: int, noise: Tensor) -> None:
        """Write the next noise of one row, for rows that are not at the same position."""
        noise.exponential_(generator=self.generators[row])
