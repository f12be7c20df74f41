"""Three-dimensional rotary positions, Cosmos's variant "v2" (half rotation), and the variants of its other models.

In:  coordinates (S, 3) as (time, row, column) and a head width; queries or keys (..., S, head_dim).
Out: cos and sin tables (S, head_dim); rotated queries or keys.
Positions without a place (special tokens) have angle 0, which leaves queries and keys as they are.
UniMo and Cosmos 4B and 5B use `rope_tables` without YaRN and `rotate`. Cosmos 12B and 13B add YaRN, text models use
`rope_tables_1d`, and the older variant "v1" rotates adjacent channels (`rotate_pairs`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Yarn:
    """YaRN (Peng et al. 2023): slow frequencies are divided by ``scale``, fast ones stay, between them linearly.

    Attributes:
        scale: how many times longer than the original the sequence may be.
        beta_fast: turns within the original extent from which a frequency stays as it is.
        beta_slow: turns up to which it is divided by the whole scale.
        extent: original positions of time and of both spatial axes (Cosmos takes the number of rows), or of a text.

    Raises:
        ValueError: a number is not positive, or ``beta_fast`` does not exceed ``beta_slow``.
    """

    scale: float
    beta_fast: float
    beta_slow: float
    extent: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.extent or min(self.scale, self.beta_slow, *self.extent) <= 0 or self.beta_fast <= self.beta_slow:
            raise ValueError(f"YaRN needs positive numbers and beta_fast above beta_slow, got {self}")

    @property
    def magnitude(self) -> float:
        """Factor on cos and sin, which variant "v1" applies and "v2" leaves out."""
        return 0.1 * math.log(self.scale) + 1.0 if self.scale > 1 else 1.0

    def stretch(self, frequencies: Tensor, axis: int) -> Tensor:
        """The frequencies (N,) of one axis, slowed down."""
        extent = self.extent[min(axis, len(self.extent) - 1)]
        fast, slow = (2 * math.pi * beta / extent for beta in (self.beta_fast, self.beta_slow))
        kept = ((frequencies - slow) / (fast - slow)).clamp(0, 1)
        return frequencies * ((1 - kept) / self.scale + kept)


def axis_widths(width: int) -> tuple[int, int, int]:
    """Channels given to (time, row, column): 2*floor(width/6) for each spatial axis, the rest for time."""
    spatial = 2 * (width // 6)
    return width - 2 * spatial, spatial, spatial


def rope_tables(
    coordinates: Tensor, has_position: Tensor, head_dim: int, theta: float, yarn: Yarn | None = None
) -> tuple[Tensor, Tensor]:
    """Cosine and sine of every position's angles.

    Args:
        coordinates: (S, 3) positions; used as they are, never rescaled.
        has_position: (S,) bool; False gives angle 0.
        head_dim: even head width; 128 splits into 44 time, 42 row and 42 column channels.
        theta: base of the frequencies theta^(-2i/d) of an axis of d channels.
        yarn: slows frequencies down; ``None`` leaves them.

    Returns:
        cos, sin: (S, head_dim) float32; the half-angle vector [t | h | w] twice.
    """
    angles = []
    for axis, width in enumerate(axis_widths(head_dim)):
        frequencies = _frequencies(width, theta, coordinates.device)
        frequencies = frequencies if yarn is None else yarn.stretch(frequencies, axis)
        angles.append(torch.outer(coordinates[:, axis].float(), frequencies))
    half = torch.cat(angles, dim=1) * has_position[:, None]
    full = torch.cat([half, half], dim=1)
    return full.cos(), full.sin()


def rope_tables_1d(
    length: int, head_dim: int, theta: float, yarn: Yarn | None = None, adjacent: bool = False
) -> tuple[Tensor, Tensor]:
    """Cosine and sine (length, head_dim) float32 of the positions of a text.

    Every angle stands twice: one half of the channels apart for :func:`rotate`, side by side (``adjacent``) for
    :func:`rotate_pairs`.
    """
    frequencies = _frequencies(head_dim, theta, torch.device("cpu"))
    half = torch.outer(torch.arange(length).float(), frequencies if yarn is None else yarn.stretch(frequencies, 0))
    full = half.repeat_interleave(2, dim=1) if adjacent else torch.cat([half, half], dim=1)
    return full.cos(), full.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate (..., S, head_dim) by tables that broadcast to it: channel i pairs with i + head_dim/2."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


def rotate_pairs(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate (..., S, head_dim) by tables that broadcast to it: channel 2i pairs with 2i + 1 (variant "v1")."""
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
    return x * cos + torch.stack([-second, first], dim=-1).flatten(-2) * sin


def _frequencies(width: int, theta: float, device: torch.device) -> Tensor:
    """(width / 2,) theta^(-2i/width), in float32 as the reference, whose tables are matched closely."""
    return 1.0 / theta ** (torch.arange(0, width, 2, dtype=torch.float32, device=device) / width)
