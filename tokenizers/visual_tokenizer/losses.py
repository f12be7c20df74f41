"""Reconstruction losses of the visual tokenizer that need no downloaded network.

In: reconstruction and target (B, 3, T, H, W) in [-1, 1] and, if wanted, a weight for each pixel (B, T, H, W), such
as 4 on the person and 1 elsewhere. Out: named scalars; the caller weighs and sums them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def pixel_weights(mask: Tensor, person_weight: float) -> Tensor:
    """Weights (B, T, H, W) float32: `person_weight` where the mask is set, 1 elsewhere, divided by each clip's mean."""
    weights = 1 + (person_weight - 1) * mask.float()
    return weights / weights.mean(dim=(1, 2, 3), keepdim=True)


def reconstruction_losses(
    reconstruction: Tensor, target: Tensor, weights: Tensor | None = None, scales: int = 3
) -> dict[str, Tensor]:
    """L1, squared error, and the L1 of spatial and temporal differences at several scales.

    Args:
        reconstruction: (B, 3, T, H, W).
        target: (B, 3, T, H, W).
        weights: (B, T, H, W), one number a pixel; None counts all alike.
        scales: number of sizes (full, half, quarter, ...) at which differences are compared.

    Returns:
        scalars "l1", "l2", "structure" (mean over scales and axes of space) and "motion" (differences in time;
        0 for a single frame), float32.

    Raises:
        ValueError: shapes that do not fit.
    """
    if reconstruction.shape != target.shape or target.ndim != 5:
        raise ValueError(f"expected two (B, 3, T, H, W), got {tuple(reconstruction.shape)} and {tuple(target.shape)}")
    expected = (target.shape[0], *target.shape[2:])
    if weights is not None and weights.shape != expected:
        raise ValueError(f"weights must be {expected}, got {tuple(weights.shape)}")
    error = (reconstruction.float() - target.float()).transpose(1, 2)  # (B, T, 3, H, W)
    weight = torch.ones_like(error[:, :, :1]) if weights is None else weights.float().unsqueeze(2)
    l1 = (error.abs() * weight).mean()
    l2 = (error.square() * weight).mean()
    steps = (error[:, 1:] - error[:, :-1]).abs() * weight[:, 1:]
    motion = steps.mean() if steps.numel() else error.new_zeros(())
    return {"l1": l1, "l2": l2, "structure": _structure(error, weight, scales), "motion": motion}


def _structure(error: Tensor, weight: Tensor, scales: int) -> Tensor:
    """Mean absolute difference of neighbours; differences are linear, so those of the error compare the pictures'."""
    error, weight = error.flatten(0, 1), weight.flatten(0, 1)
    total = error.new_zeros(())
    for scale in range(scales):
        if scale:
            error, weight = F.avg_pool2d(error, 2), F.avg_pool2d(weight, 2)
        rows = ((error[..., 1:, :] - error[..., :-1, :]).abs() * weight[..., 1:, :]).mean()
        columns = ((error[..., 1:] - error[..., :-1]).abs() * weight[..., 1:]).mean()
        total = total + (rows + columns) / 2
    return total / scales
