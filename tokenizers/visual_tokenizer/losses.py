"""Training losses of the visual tokenizer, on wavelet coefficients; they need no downloaded network.

In: coefficients (B, 192, K', H/4, W/4) as `haar_patch` makes them, and a weight for each block of pixels. Out: named
scalars; the caller weighs and sums them. The squared error of coefficients is that of pixels; their absolute error
compares edges and movement at two scales, because every band but the first is a difference of pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_COLOURS = 3
_BANDS = 64


def block_weights(mask: Tensor, person_weight: float) -> Tensor:
    """Weight of each 4 x 4 x 4 block, so that the person counts more than the background.

    Args:
        mask: (B, T, H, W) bool, the person's pixels, T = 1 + 4n.
        person_weight: weight of a person's pixel; other pixels weigh 1.

    Returns:
        (B, 1 + n, H/4, W/4) float32, divided by each clip's mean.
    """
    weights = 1 + (person_weight - 1) * mask.float()
    weights = torch.cat([weights[:, :1].expand(-1, 3, -1, -1), weights], dim=1)
    weights = F.avg_pool3d(weights.unsqueeze(1), 4).squeeze(1)
    return weights / weights.mean(dim=(1, 2, 3), keepdim=True)


def wavelet_losses(coefficients: Tensor, target: Tensor, weights: Tensor | None = None) -> dict[str, Tensor]:
    """Differences of two videos' coefficients.

    Args:
        coefficients: (B, 192, K', H/4, W/4).
        target: the same shape.
        weights: (B, K', H/4, W/4); None counts all blocks alike.

    Returns:
        float32 scalars: "l2", the weighted mean squared error of the pixels, and "l1", the weighted mean absolute
        error of the block means plus that of the differences, summed over bands and halved.

    Raises:
        ValueError: shapes that do not fit.
    """
    if coefficients.shape != target.shape or target.ndim != 5 or target.shape[1] != _BANDS * _COLOURS:
        raise ValueError(f"expected two (B, 192, K, h, w), got {tuple(coefficients.shape)} and {tuple(target.shape)}")
    expected = (target.shape[0], *target.shape[2:])
    if weights is not None and weights.shape != expected:
        raise ValueError(f"weights must be {expected}, got {tuple(weights.shape)}")
    error = coefficients.float() - target.float()
    weight = 1.0 if weights is None else weights.float().unsqueeze(1)
    l2 = (error.square() * weight).sum(1).mean() * (_BANDS / (_BANDS * _COLOURS))
    l1 = (error.abs() * weight).sum(1).mean() / (2 * _COLOURS)
    return {"l2": l2, "l1": l1}


def code_spread(latents: Tensor) -> Tensor:
    """How far the batch's latents are from using all ids alike: 0 when their bounded values are centred, uncorrelated
    and as wide as a uniform distribution on [-1, 1].

    Args:
        latents: (B, D, ...) before quantisation.

    Returns:
        float32 scalar. Its gradient keeps channels from saturating or going unused.
    """
    bounded = torch.tanh(latents.float()).movedim(1, -1).flatten(0, -2)
    mean = bounded.mean(0)
    covariance = (bounded - mean).T @ (bounded - mean) / len(bounded)
    uniform = torch.eye(len(mean), device=mean.device) / 3
    return mean.square().mean() + (3 * (covariance - uniform)).square().mean()
