"""Finite scalar quantisation (Mentzer et al. 2023) with the ids of NVIDIA's Cosmos tokenizers.

In: latents (B, D, ...) with D = number of levels. Out: codes of the same shape, each channel one of L evenly
spaced values in [-1, 1], and ids (B, ...) int64 in [0, prod(levels)); channel 0 is the fastest digit of the id.
Everything is computed in float32 whatever the latents' dtype: bfloat16 rounds to other ids.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

_EPS = 1e-3  # keeps the bound a little outside the last value, so that its gradient does not vanish


class FSQ(nn.Module):
    """Rounds each channel to one of its levels; gradients pass straight through the rounding."""

    sizes: Tensor
    basis: Tensor

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        self.levels = tuple(int(level) for level in levels)
        self.num_ids = math.prod(self.levels)
        sizes = torch.tensor(self.levels, dtype=torch.int64)
        basis = torch.cat([torch.ones(1, dtype=torch.int64), sizes.cumprod(0)[:-1]])
        # Integers only: a float buffer would follow the module to bfloat16.
        self.register_buffer("sizes", sizes, persistent=False)
        self.register_buffer("basis", basis, persistent=False)

    def bound(self, latents: Tensor) -> Tensor:
        """Squashes float32 latents (..., D) into the range of their levels, so that rounding gives the steps."""
        half_range = (self.sizes - 1) * (1 + _EPS) / 2
        offset = torch.where(self.sizes % 2 == 0, 0.5, 0.0)
        return torch.tanh(latents + torch.atanh(offset / half_range)) * half_range - offset

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Quantises.

        Args:
            latents: (B, D, ...), any float dtype.

        Returns:
            codes (B, D, ...) in the latents' dtype with straight-through gradient, ids (B, ...) int64.

        Raises:
            ValueError: the second axis is not the number of levels.
        """
        if latents.ndim < 2 or latents.shape[1] != len(self.levels):
            raise ValueError(f"latents must be (B, {len(self.levels)}, ...), got {tuple(latents.shape)}")
        with torch.autocast(latents.device.type, enabled=False):
            bounded = self.bound(latents.movedim(1, -1).float())
            steps = torch.round(bounded)  # half to even, as the reference
            ids = ((steps.detach().long() + self.sizes // 2) * self.basis).sum(-1)
            codes = (bounded + (steps - bounded).detach()) / (self.sizes // 2)
        return codes.movedim(-1, 1).to(latents.dtype), ids

    def codes(self, ids: Tensor) -> Tensor:
        """Looks ids up.

        Args:
            ids: (B, ...) integers in [0, num_ids).

        Returns:
            codes (B, D, ...) float32 in [-1, 1].

        Raises:
            ValueError: not integers, or out of range.
        """
        if ids.dtype == torch.bool or ids.is_floating_point() or ids.is_complex():
            raise ValueError(f"ids must be integers, got {ids.dtype}")
        if ids.numel() and not (0 <= int(ids.min()) and int(ids.max()) < self.num_ids):
            raise ValueError(f"ids must be in [0, {self.num_ids}), got {int(ids.min())} to {int(ids.max())}")
        digits = ids.long().unsqueeze(-1) // self.basis % self.sizes
        half_width = self.sizes // 2
        return ((digits - half_width).float() / half_width).movedim(-1, 1)
