"""Errors of alpha mattes on the scales of Robust Video Matting: torch tensors in, one number a frame out.

Alphas are (..., H, W) in 0..1; frames of a clip are the third dimension from the end. 0 is best everywhere. The scales
stand in the names: papers mix them (VideoMatte is printed times 1000, photographs as they are). Nothing is aligned.
Source: the evaluation scripts of Robust Video Matting (Lin et al. 2022) for the formulas.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.ndimage import label
from torch import Tensor
from torch.nn import functional

SIGMA, STEP = 1.4, 0.1
_SMALLEST_WEIGHT, _DEAD_ZONE = 1e-2, 0.15


def mad_x1000(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of a frame, times 1000.

    Args:
        predicted: (..., H, W) in 0..1.
        target: the same shape.

    Returns:
        (...) float64.

    Raises:
        ValueError: shapes differ.
    """
    _check(predicted, target)
    return 1000 * (predicted.double() - target.double()).abs().mean((-1, -2))


def mse_x1000(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference of a frame, times 1000; as `mad_x1000`."""
    _check(predicted, target)
    return 1000 * (predicted.double() - target.double()).square().mean((-1, -2))


def dtssd_x100(predicted: Tensor, target: Tensor) -> Tensor:
    """Change over time that the truth does not have: 100 sqrt(mean ((p[t] - p[t-1]) - (g[t] - g[t-1]))²).

    Args:
        predicted: (..., T, H, W) in 0..1.
        target: the same shape.

    Returns:
        (..., T) float64; the first frame is 0, and counts in the mean over frames that is reported.

    Raises:
        ValueError: shapes differ, or there is no time.
    """
    _check(predicted, target, dimensions=3)
    changes = (predicted.double() - target.double()).diff(dim=-3)
    values = 100 * changes.square().mean((-1, -2)).sqrt()
    return functional.pad(values, (1, 0))


def gradient_error_per_1000(predicted: Tensor, target: Tensor, stretch: bool, sigma: float = SIGMA) -> Tensor:
    """Grad of a frame: sum over pixels of (|∇p| - |∇g|)², divided by 1000.

    ∇ is a Gaussian derivative whose weights have length 1, with the border repeated. It is a sum: larger pictures give
    larger values, so compare only at one resolution.

    Args:
        predicted: (..., H, W) in 0..1.
        target: the same shape.
        stretch: bring each alpha of each frame to 0..1 by its own least and largest value first, as the script for
            low resolution does and that for high resolution does not. A constant frame becomes 0.
        sigma: of the Gaussian, pixels.

    Returns:
        (...) float64.

    Raises:
        ValueError: shapes differ.
    """
    _check(predicted, target)
    sides = (side.double() for side in (predicted, target))
    ours, true = (_gradient_magnitude(_stretched(side) if stretch else side, sigma) for side in sides)
    return (ours - true).square().sum((-1, -2)) / 1000


def connectivity_error_per_1000(predicted: Tensor, target: Tensor, step: float = STEP) -> Tensor:
    """Conn of a frame: sum over pixels of |φ(p) - φ(g)|, divided by 1000.

    At each threshold 0, `step`, ... 1 the source region is the largest 4-connected region where both alphas reach it. A
    pixel's level l is the last threshold before it falls out; φ(a) = 1 - (a - l) where a - l is at least 0.15, else 1.
    A sum, as `gradient_error_per_1000`. Compared in single precision, like 8-bit alphas read from files.

    Args:
        predicted: (..., H, W) in 0..1.
        target: the same shape.
        step: between thresholds.

    Returns:
        (...) float64.

    Raises:
        ValueError: shapes differ.
    """
    _check(predicted, target)
    batch = predicted.shape[:-2]
    sides = (side.detach().cpu().float().reshape(-1, *side.shape[-2:]).numpy() for side in (predicted, target))
    values = [_connectivity(ours, true, step) for ours, true in zip(*sides, strict=True)]
    return torch.tensor(values, dtype=torch.float64, device=predicted.device).reshape(batch)


def _connectivity(ours: np.ndarray, true: np.ndarray, step: float) -> float:
    thresholds = np.arange(0, 1 + step, step).astype(np.float32)
    level = np.ones_like(true)
    inside = np.ones(true.shape, bool)
    for before, threshold in zip(thresholds[:-1], thresholds[1:], strict=True):
        source = _largest_region((true >= threshold) & (ours >= threshold))
        level[inside & ~source] = before
        inside &= source
    phi = [1 - np.where(side - level >= np.float32(_DEAD_ZONE), side - level, 0) for side in (ours, true)]
    return float(np.abs(phi[0] - phi[1]).sum(dtype=np.float64)) / 1000


def _largest_region(mask: np.ndarray) -> np.ndarray:
    regions = np.zeros(mask.shape, np.int32)
    if label(mask, output=regions) == 0:  # without a structure: the four neighbours
        return np.zeros_like(mask)
    return regions == np.bincount(regions.ravel())[1:].argmax() + 1


def _stretched(alpha: Tensor) -> Tensor:
    least, largest = alpha.amin((-1, -2), keepdim=True), alpha.amax((-1, -2), keepdim=True)
    return torch.where(largest > least, (alpha - least) / (largest - least), 0.0)


def _gradient_magnitude(alpha: Tensor, sigma: float) -> Tensor:
    derivative = _derivative_filter(sigma).to(alpha.device)
    edge = derivative.shape[-1] // 2
    pictures = functional.pad(alpha.reshape(-1, 1, *alpha.shape[-2:]), [edge] * 4, mode="replicate")
    both = functional.conv2d(pictures, torch.stack([derivative, derivative.T])[:, None])
    return both.square().sum(1).sqrt().reshape(alpha.shape)


def _derivative_filter(sigma: float) -> Tensor:
    """Gaussian down, its derivative across; as wide as the Gaussian stays above a hundredth."""
    half = math.ceil(sigma * math.sqrt(-2 * math.log(math.sqrt(2 * math.pi) * sigma * _SMALLEST_WEIGHT)))
    place = torch.arange(-half, half + 1, dtype=torch.float64)
    gaussian = torch.exp(-place.square() / (2 * sigma**2))
    weights = torch.outer(gaussian, place * gaussian)
    return weights / weights.norm()


def _check(predicted: Tensor, target: Tensor, dimensions: int = 2) -> None:
    if predicted.shape != target.shape or predicted.dim() < dimensions:
        shapes = f"{tuple(predicted.shape)} and {tuple(target.shape)}"
        wanted = "(..., T, H, W)" if dimensions == 3 else "(..., H, W)"
        raise ValueError(f"need two alphas {wanted} of one shape, got {shapes}")
