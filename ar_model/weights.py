"""Weights of linear layers, packed for the few rows of a decoding step.

In:  weights (out, in) that read the same input, stacked, and optionally a gain (in,) for that input.
Out: a callable, rows (..., in) -> (..., out) in the rows' dtype.
A step reads every weight once for a handful of rows, so what counts is how fast memory is read. On a CPU torch's
products of one row reach a half of that (float32) or a quarter (bfloat16). FBGEMM's product with float16 weights, which
torch has for dynamic quantisation and which multiplies and adds in float32, comes near it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Linear = Callable[[Tensor], Tensor]
# rows up to which packed products beat plain ones (measured: equal at 16)
FEW_ROWS = 16
# a float16 has 11 significant bits, so what the first half leaves is this much smaller
SECOND_HALF = 2.0**-11


def pack(parts: Sequence[Tensor], gain: Tensor | None = None) -> Linear:
    """The fastest layout for the device and values of some weights, exact in float32 up to rounding."""
    here = parts[0].device.type == "cpu" and torch.backends.quantized.engine in ("x86", "fbgemm")
    fits = here and float(stacked(parts, gain).abs().max()) <= torch.finfo(torch.float16).max
    return (HalfMatrix if fits else Matrix)(parts, gain)


class Matrix:
    """One transposed copy in the weights' own dtype: for graphics cards, and for processors without FBGEMM."""

    def __init__(self, parts: Sequence[Tensor], gain: Tensor | None = None) -> None:
        self.weight = stacked(parts, gain).to(parts[0].dtype).t().contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return (x.to(self.weight.dtype) @ self.weight).to(x.dtype)


class HalfMatrix:
    """Float16 weights with float32 arithmetic: bfloat16 values as they are, float32 values as a sum of two halves.

    A float32 weight is high + low / 2048 up to 2^-22 of its size. More than ``FEW_ROWS`` rows are multiplied with the
    weights themselves, which are kept by reference.
    """

    def __init__(self, parts: Sequence[Tensor], gain: Tensor | None = None) -> None:
        self.parts, self.gain = [part.detach() for part in parts], None if gain is None else gain.detach()
        weight = stacked(parts, gain)
        self.out = weight.shape[0]
        if parts[0].dtype == torch.float32:
            high = weight.half().float()
            weight = torch.cat([high, (weight - high) / SECOND_HALF])
        self.two = len(weight) > self.out
        self.packed = torch.ops.quantized.linear_prepack_fp16(weight, None)

    def __call__(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        if x.numel() > FEW_ROWS * x.shape[-1]:
            return self._many(x)
        both = torch.ops.quantized.linear_dynamic_fp16.default(x.float(), self.packed)
        if self.two:
            both = torch.add(both[..., : self.out], both[..., self.out :], alpha=SECOND_HALF)
        return both.to(x.dtype)

    def _many(self, x: Tensor) -> Tensor:
        kind = self.parts[0].dtype
        rows = x.to(kind) if self.gain is None else (x * self.gain).to(kind)
        return torch.cat([F.linear(rows, part) for part in self.parts], dim=-1).to(x.dtype)


def stacked(parts: Sequence[Tensor], gain: Tensor | None = None) -> Tensor:
    """Weights (out, in) one below the other in float32, their inputs scaled by ``gain`` (in,)."""
    weight = torch.cat([part.detach().float() for part in parts])
    return weight if gain is None else weight * gain.detach().float()
