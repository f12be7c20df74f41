"""Scores of points followed in space (TAPVid-3D, Koppula et al. 2024): torch tensors in, numbers a clip out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

THRESHOLDS_PX = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class TrackScores:
    """Scores of clips (...), 0..1, 1 is best.

    Attributes:
        jaccard: (..., 5) true positives over (truly visible + false positives), a column a threshold.
        within: (..., 5) share of truly visible points within the threshold, seen by the prediction or not.
        occlusion_accuracy: (...) OA, the share of points whose visibility is right.
    """

    jaccard: Tensor
    within: Tensor
    occlusion_accuracy: Tensor

    @property
    def average_jaccard(self) -> Tensor:
        """(...) AJ (3D-AJ), the mean over thresholds."""
        return self.jaccard.mean(-1)

    @property
    def average_within(self) -> Tensor:
        """(...) APD, the mean over thresholds."""
        return self.within.mean(-1)


def tapvid3d_scores(
    predicted: Tensor,
    target: Tensor,
    predicted_visible: Tensor,
    target_visible: Tensor,
    focal_px: Tensor,
    thresholds_px: tuple[float, ...] = THRESHOLDS_PX,
) -> TrackScores:
    """TAPVid-3D's AJ, APD and OA with its median scaling.

    The prediction is multiplied by the ratio of the median distances from the camera (norms, not depths) of points that
    both call visible. A point is within threshold k if it is nearer to its truth than k · z / sqrt(fx fy), z its true
    depth: k pixels, seen face on. A false positive is called visible where it is hidden or not within the threshold.

    Args:
        predicted: (..., N, T, 3) camera axes, any scale.
        target: the same shape, metres. N and T may change places, in all arguments.
        predicted_visible: (..., N, T) bool.
        target_visible: (..., N, T) bool; what stands where it is False does not matter.
        focal_px: (..., 2) fx and fy.
        thresholds_px: k.

    Returns:
        Scores (...). Where both call nothing visible, no point is within; NaN where a share is one of nothing.

    Raises:
        ValueError: shapes do not fit.
    """
    shape = target.shape[:-1]
    if predicted.shape != target.shape or predicted_visible.shape != shape or target_visible.shape != shape:
        shapes = ", ".join(str(tuple(x.shape)) for x in (predicted, target, predicted_visible, target_visible))
        raise ValueError(f"need two (..., N, T, 3) and their visibilities (..., N, T), got {shapes}")
    predicted, target = predicted.double(), target.double()
    seen, true = predicted_visible.bool().flatten(-2), target_visible.bool().flatten(-2)
    both = seen & true
    ratio = _median(target.norm(dim=-1).flatten(-2), both) / _median(predicted.norm(dim=-1).flatten(-2), both)
    distance = (ratio[..., None, None, None] * predicted - target).norm(dim=-1).flatten(-2)
    pixel = target[..., 2].flatten(-2) / focal_px.double().prod(-1).sqrt()[..., None]
    near = torch.stack([distance < threshold * pixel for threshold in thresholds_px], dim=-2)
    right = near & true[..., None, :]
    visible = true.sum(-1)[..., None].double()
    hits, false = (right & seen[..., None, :]).sum(-1), (~right & seen[..., None, :]).sum(-1)
    return TrackScores(hits / (visible + false), right.sum(-1) / visible, (seen == true).double().mean(-1))


def _median(values: Tensor, keep: Tensor) -> Tensor:
    """Median over the last dimension of what is kept, the mean of the middle two; NaN without any."""
    ordered = torch.where(keep, values, torch.inf).sort(dim=-1).values
    count = keep.sum(-1, keepdim=True)
    middle = torch.cat([(count - 1).clamp_min(0) // 2, count // 2], dim=-1).clamp_max(values.shape[-1] - 1)
    return torch.where(count[..., 0] > 0, ordered.gather(-1, middle).mean(-1), torch.nan)
