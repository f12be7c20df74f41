"""Errors of depth maps, as they are or after one scale and shift of the clip's disparity: torch tensors in and out.

Depth is z in metres, (..., H, W); frames of a clip are the third dimension from the end, whatever stands before them is
a batch. Every score is one number a frame; `mean_of_frames` is how papers reduce them. Computed in float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

NEAREST_M = 1e-3
"""Depth below which ground truth does not count, and to which predictions are clipped."""
LEAST_DISPARITY = 1e-3
_SAFE_DEPTH_M = 1e-8


def valid_depth(target: Tensor, max_depth_m: float, nearest_m: float = NEAREST_M) -> Tensor:
    """Pixels that are scored, bool: `nearest_m` < depth < `max_depth_m`, so neither holes (0, NaN) nor sky."""
    return (target > nearest_m) & (target < max_depth_m)


def depth_rmse_m(predicted: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Root mean square error of a frame: sqrt(mean (p - g)²) over its valid pixels.

    Nothing is aligned. Source: metric depth of Sapiens and DAViD, `rmse_linear` of DepthCrafter.

    Args:
        predicted: (..., H, W) metres.
        target: the same shape, metres.
        valid: (..., H, W) bool.

    Returns:
        (...) metres, NaN for frames without valid pixels.

    Raises:
        ValueError: shapes differ.
    """
    _check(predicted, target, valid)
    return _frame_means((predicted.double() - target.double()).square(), valid).sqrt()


def abs_rel(predicted: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Absolute relative error of a frame: mean |p - g| / g over its valid pixels; without unit.

    Arguments, result and errors as in `depth_rmse_m`. Both depths may be multiplied by one number, only one may not.
    """
    _check(predicted, target, valid)
    predicted, target = predicted.double(), target.double()
    return _frame_means((predicted - target).abs() / target, valid)


def share_within_ratio(predicted: Tensor, target: Tensor, valid: Tensor, ratio: float = 1.25) -> Tensor:
    """δ of a frame: the share of its valid pixels with max(p / g, g / p) < `ratio`, strictly.

    δ1, δ2 and δ3 of the literature have 1.25, 1.25² and 1.25³. Arguments and errors as in `depth_rmse_m`.

    Returns:
        (...) 0..1, 1 is best, NaN for frames without valid pixels.
    """
    _check(predicted, target, valid)
    predicted, target = predicted.double(), target.double()
    return _frame_means((torch.maximum(predicted / target, target / predicted) < ratio).double(), valid)


def mean_of_frames(values: Tensor) -> Tensor:
    """(..., T) scores of frames → (...) their mean over frames that have one; not over pixels. NaN without any."""
    return values.nanmean(dim=-1)


def fit_disparity(disparity: Tensor, depth: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and shift of a whole clip: least squares of 1 / depth on predicted disparity over all its valid pixels.

    Source: L4P and DepthCrafter's benchmark, which also adds 1e-8 to the depth.

    Args:
        disparity: (..., T, H, W) predicted, any unit.
        depth: the same shape, true, metres.
        valid: the same shape, bool.

    Returns:
        Scale and shift (...), 1 / metre; a disparity that is constant gets scale 0. NaN without valid pixels.

    Raises:
        ValueError: shapes differ.
    """
    _check(disparity, depth, valid)
    weights = valid.double().flatten(-3)
    x = _kept(disparity.double(), valid).flatten(-3)
    y = _kept(1 / (depth.double() + _SAFE_DEPTH_M), valid).flatten(-3)
    count = weights.sum(-1)
    mean_x, mean_y = x.sum(-1) / count, y.sum(-1) / count
    away = (x - mean_x[..., None]) * weights
    spread = away.square().sum(-1)
    # of a constant disparity rounding leaves some spread
    still = spread <= count * (1e-12 * mean_x).square()
    scale = torch.where(still, 0.0, (away * y).sum(-1) / torch.where(still, 1.0, spread))
    scale = torch.where(count > 0, scale, torch.nan)
    return scale, mean_y - scale * mean_x


def align_disparity(
    disparity: Tensor,
    target: Tensor,
    max_depth_m: float,
    nearest_m: float = NEAREST_M,
    least_disparity: float = LEAST_DISPARITY,
) -> tuple[Tensor, Tensor, Tensor]:
    """Depth that a clip's predicted disparity gives after the best scale and shift of the whole clip.

    The prediction is clipped from below, fitted (`fit_disparity`, valid pixels of `valid_depth`), clipped from below
    again, inverted, and clipped to `nearest_m`..`max_depth_m`: L4P's protocol, as DepthCrafter's benchmark runs it.
    So scale and shift of a prediction do not matter, as long as it stays above `least_disparity`.

    Args:
        disparity: (..., T, H, W) predicted, any unit, larger is nearer.
        target: the same shape, true depth in metres.
        max_depth_m: of the data set.
        nearest_m: see `valid_depth`.
        least_disparity: of the prediction before the fit and after it.

    Returns:
        Depth (..., T, H, W), metres, float64, for the scores above with the same `valid_depth`; scale and shift (...).

    Raises:
        ValueError: shapes differ.
    """
    disparity = disparity.double().clamp_min(least_disparity)
    scale, shift = fit_disparity(disparity, target, valid_depth(target, max_depth_m, nearest_m))
    aligned = scale[..., None, None, None] * disparity + shift[..., None, None, None]
    return (1 / aligned.clamp_min(least_disparity)).clamp(nearest_m, max_depth_m), scale, shift


def _frame_means(values: Tensor, valid: Tensor) -> Tensor:
    """Means over the valid pixels of each frame; 0 / 0 is NaN."""
    return _kept(values, valid).sum((-1, -2)) / valid.sum((-1, -2))


def _kept(values: Tensor, valid: Tensor) -> Tensor:
    # a product with the mask would keep NaN and infinity alive
    return torch.where(valid, values, 0.0)


def _check(one: Tensor, two: Tensor, valid: Tensor) -> None:
    if not one.shape == two.shape == valid.shape or valid.dtype != torch.bool:
        shapes = f"{tuple(one.shape)}, {tuple(two.shape)} and {tuple(valid.shape)} {valid.dtype}"
        raise ValueError(f"need two depths and a bool mask of one shape (..., H, W), got {shapes}")
