"""Errors of surface normals in degrees: torch tensors in, angles and pooled scores out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

WITHIN_DEG = (11.25, 22.5, 30.0)


def normal_angles_deg(predicted: Tensor, target: Tensor) -> Tensor:
    """Angle between two normals: acos of their cosine, which lies in -1..1.

    Lengths do not matter, signs do: a normal that points the other way is 180° off. A normal of length zero is 90° off
    from any. Nothing is aligned. Source: the protocol of Sapiens and DAViD, which is that of DSINE. Computed in
    float64, since single precision errs by 0.03° near 0° and 180°.

    Args:
        predicted: (..., 3), both in the same axes.
        target: (..., 3).

    Returns:
        (...) float64 degrees, 0..180.

    Raises:
        ValueError: shapes differ or do not end in 3.
    """
    if predicted.shape != target.shape or predicted.shape[-1:] != (3,):
        raise ValueError(f"need two (..., 3) of one shape, got {tuple(predicted.shape)} and {tuple(target.shape)}")
    cosine = torch.cosine_similarity(predicted.double(), target.double(), dim=-1)
    return torch.rad2deg(torch.acos(cosine.clamp(-1, 1)))


def normal_scores(
    angles_deg: Tensor, valid: Tensor | None = None, within: Sequence[float] = WITHIN_DEG
) -> dict[str, float]:
    """The scores that papers print, pooled over all valid pixels of all pictures (not a mean of pictures).

    Args:
        angles_deg: any shape, of `normal_angles_deg`.
        valid: the same shape, bool; everything when omitted.
        within: angles whose shares are wanted.

    Returns:
        `mean_deg`, `median_deg` (of an even number the mean of the middle two), `rmse_deg`, and for each of `within`
        the share in percent that is strictly below it: `within_11.25_percent`, `within_22.5_percent`,
        `within_30_percent`. All NaN without valid pixels.

    Raises:
        ValueError: the mask has another shape.
    """
    if valid is not None and valid.shape != angles_deg.shape:
        raise ValueError(f"the mask {tuple(valid.shape)} is not of the angles' shape {tuple(angles_deg.shape)}")
    pooled = (angles_deg.flatten() if valid is None else angles_deg[valid]).double().sort().values
    count = len(pooled)
    scores = {
        "mean_deg": float(pooled.mean()),
        "median_deg": float(pooled[(count - 1) // 2 : count // 2 + 1].mean()) if count else math.nan,
        "rmse_deg": float(pooled.square().mean().sqrt()),
    }
    shares = {f"within_{limit:g}_percent": 100 * float((pooled < limit).double().mean()) for limit in within}
    return {**scores, **shares}
