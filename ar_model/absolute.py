"""The fixed 3-D sin/cos position table of Cosmos, over coordinates that visual and motion tokens share.

In:  coordinates (S, 3) as (time, row, column) in visual cells; fractions are allowed (motion stands between cells).
Out: a table (S, dim), zero where a token has no place. It is added to the residual stream before every layer.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ar_model.rope import axis_widths

BASE = 10000.0


def absolute_table(
    coordinates: Tensor, has_position: Tensor, dim: int, dtype: torch.dtype = torch.float32
) -> Tensor:
    """The position table, computed in float64.

    Args:
        coordinates: (S, 3) positions, fractional allowed.
        has_position: (S,) bool; False gives a zero row.
        dim: even width; the axes take the same shares as in the rotary table, in the order time, row, column.
        dtype: of the result, rounded once; Cosmos stores bfloat16.

    Returns:
        (S, dim); per axis of d channels [sin(p*w_i) | cos(p*w_i)] with w_i = 10000^(-i/(d/2)).
    """
    parts = []
    for axis, width in enumerate(axis_widths(dim)):
        steps = torch.arange(width // 2, dtype=torch.float64, device=coordinates.device)
        angles = torch.outer(coordinates[:, axis].double(), BASE ** (-steps / (width / 2)))
        parts += [angles.sin(), angles.cos()]
    return (torch.cat(parts, dim=1) * has_position[:, None]).to(dtype)
