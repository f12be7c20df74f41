"""Errors of optical flow in pixels: torch tensors (..., 2) in, one number a pixel out, and how papers pool them."""

from __future__ import annotations

import torch
from torch import Tensor

KITTI_PX, KITTI_SHARE = 3.0, 0.05


def end_point_errors_px(predicted: Tensor, target: Tensor) -> Tensor:
    """End-point error |p - g| of each pixel. Nothing is aligned. Source: RAFT's evaluation.

    Args:
        predicted: (..., 2) pixels (x, y), as `flow_forward` (T-1, H, W, 2) of a clip.
        target: the same shape.

    Returns:
        (...) float64 pixels; papers print the mean over all pixels of all pictures, pooled.

    Raises:
        ValueError: shapes differ or do not end in 2.
    """
    if predicted.shape != target.shape or predicted.shape[-1:] != (2,):
        shapes = f"{tuple(predicted.shape)} and {tuple(target.shape)}"
        raise ValueError(f"need two flows (..., 2) of one shape, got {shapes}")
    return (predicted.double() - target.double()).norm(dim=-1)


def mean_epe_px(errors_px: Tensor, valid: Tensor | None = None) -> float:
    """Mean end-point error, pooled over all (valid) pixels; NaN without any. `valid`: bool of the errors' shape."""
    return float(_pooled(errors_px, valid).mean())


def share_below_px(errors_px: Tensor, limit_px: float = 1.0, valid: Tensor | None = None) -> float:
    """Share 0..1 of all (valid) pixels, pooled, whose error is strictly below a limit; L4P prints that of 1 pixel."""
    return float((_pooled(errors_px, valid) < limit_px).double().mean())


def kitti_outliers_percent(errors_px: Tensor, target: Tensor, valid: Tensor | None = None) -> float:
    """KITTI's F1-all: the percentage of (valid) pixels, pooled, off by more than 3 pixels and by more than 5 % of |g|.

    Args:
        errors_px: (...) of `end_point_errors_px`.
        target: (..., 2) the true flow.
        valid: (...) bool.
    """
    length = target.double().norm(dim=-1)
    outliers = (errors_px > KITTI_PX) & (errors_px > KITTI_SHARE * length)
    return 100 * float(_pooled(outliers.double(), valid).mean())


def _pooled(values: Tensor, valid: Tensor | None) -> Tensor:
    if valid is None:
        return values.flatten()
    if valid.shape != values.shape or valid.dtype != torch.bool:
        raise ValueError(f"need a bool mask of shape {tuple(values.shape)}, got {tuple(valid.shape)} {valid.dtype}")
    return values[valid]
