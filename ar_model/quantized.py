"""Int8 weights for decoding: a quarter of float32's bytes, half of bfloat16's.

In:  weights (out, in) that read the same input, stacked, and optionally a gain (in,) for that input.
Out: a callable, rows (..., in) -> (..., out) in the rows' dtype.
Every output channel has one scale, without offset; rows are bfloat16 where torch's product of bfloat16 rows with int8
weights is at hand, and keep their dtype elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ar_model.weights import stacked

# rows up to which torch's int8 product beats restoring the weights for a plain one
FEW_ROWS = 32
LARGEST = 127


class Int8Matrix:
    """Weights rounded to multiples of a scale per output channel; see :meth:`restored` for what they stand for."""

    def __init__(self, parts: Sequence[Tensor], gain: Tensor | None = None) -> None:
        weight = stacked(parts, gain)
        self.dtype = parts[0].dtype
        # rounding happens on the scale that is kept, so that restored weights are exact products
        self.scale = (weight.abs().amax(dim=1) / LARGEST).clamp_min(torch.finfo(torch.bfloat16).tiny).bfloat16()
        rounded = (weight / self.scale.float()[:, None]).round().clamp(-LARGEST, LARGEST)
        self.weight = rounded.to(torch.int8).contiguous()
        self.packed = has_product(self.weight, self.scale)

    def __call__(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        rows = x if x.ndim == 2 else x.reshape(-1, x.shape[-1])
        if self.packed and len(rows) <= FEW_ROWS:
            product = _product(rows.bfloat16(), self.weight, self.scale)
        else:
            product = F.linear(rows.to(self.dtype), self.restored().to(self.dtype))
        product = product.to(x.dtype)
        return product if x.ndim == 2 else product.view(*x.shape[:-1], -1)

    def restored(self) -> Tensor:
        """(out, in) float32, what the rounded weights stand for; the gain is in them."""
        return self.weight.float() * self.scale.float()[:, None]


def _product(rows: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    return torch._weight_int8pack_mm(rows, weight, scale)  # pyright: ignore[reportPrivateImportUsage]


def has_product(weight: Tensor, scale: Tensor) -> bool:
    """Whether torch multiplies bfloat16 rows with these int8 weights: its operator is private and may go."""
    try:
        _product(scale.new_zeros(1, weight.shape[1]), weight, scale)
    except (AttributeError, RuntimeError):  # a torch without the operator; one without it for this device or type
        return False
    return True
