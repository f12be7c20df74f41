"""Three-dimensional rotary positions, Cosmos's variant "v2" (half rotation).

In:  coordinates (S, 3) as (time, row, column) and a head width; queries or keys (..., S, head_dim).
Out: cos and sin tables (S, head_dim); rotated queries or keys.
Positions without a place (special tokens) have angle 0, which leaves queries and keys as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor


def axis_widths(width: int) -> tuple[int, int, int]:
    """Channels given to (time, row, column): 2*floor(width/6) for each spatial axis, the rest for time."""
    spatial = 2 * (width // 6)
    return width - 2 * spatial, spatial, spatial


def rope_tables(coordinates: Tensor, has_position: Tensor, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosine and sine of every position's angles.

    Args:
        coordinates: (S, 3) positions; used as they are, never rescaled.
        has_position: (S,) bool; False gives angle 0.
        head_dim: even head width; 128 splits into 44 time, 42 row and 42 column channels.
        theta: base of the frequencies theta^(-2i/d) of an axis of d channels.

    Returns:
        cos, sin: (S, head_dim) float32; the half-angle vector [t | h | w] twice.
    """
    angles = []
    for axis, width in enumerate(axis_widths(head_dim)):
        # float32 throughout, as the reference: its tables are matched to the last bit that matters
        exponent = torch.arange(0, width, 2, dtype=torch.float32, device=coordinates.device) / width
        angles.append(torch.outer(coordinates[:, axis].float(), 1.0 / theta**exponent))
    half = torch.cat(angles, dim=1) * has_position[:, None]
    full = torch.cat([half, half], dim=1)
    return full.cos(), full.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate (..., S, head_dim) by tables that broadcast to it: channel i pairs with i + head_dim/2."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin
