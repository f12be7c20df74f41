"""Errors of cameras and of a scene's points against a truth of any frame and scale: torch tensors in and out.

Source: the evaluation of VGGT (Wang et al. 2025), which probes of video models follow.
"""

from __future__ import annotations

import roma
import torch
from torch import Tensor

from unimo.geometry.alignment import procrustes


def relative_pose_errors_deg(predicted: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Errors of the relative poses E_i E_j⁻¹ of all pairs of frames i < j.

    Scene and cameras may be moved rigidly and scaled, each side for itself. Rotation: the angle between both.
    Translation: the angle between both directions, taken without sign (0..90); 90 where one of them is zero.

    Args:
        predicted: (..., N, 4, 4) world to camera, rigid.
        target: the same shape.

    Returns:
        Rotation and translation errors (..., N (N - 1) / 2) float64, degrees; pairs (0, 1), (0, 2), ... (1, 2), ...

    Raises:
        ValueError: shapes differ or are not those of poses.
    """
    if predicted.shape != target.shape or predicted.dim() < 3 or predicted.shape[-2:] != (4, 4):
        shapes = f"{tuple(predicted.shape)} and {tuple(target.shape)}"
        raise ValueError(f"need two sets of poses (..., N, 4, 4) of one shape, got {shapes}")
    (ours, our_way), (true, true_way) = (_relative(side.double()) for side in (predicted, target))
    rotation = roma.rotmat_geodesic_distance(ours, true)
    cosine = torch.cosine_similarity(our_way, true_way, dim=-1).abs().clamp_max(1)
    return torch.rad2deg(rotation), torch.rad2deg(torch.acos(cosine))


def pose_auc(rotation_deg: Tensor, translation_deg: Tensor, limit_deg: int = 30) -> Tensor:
    """AUC@limit: the mean over thresholds 1, 2, ... limit degrees of the share of pairs below the threshold.

    A pair's error is the larger of its two. At the last threshold equality counts too, as in a histogram with `limit`
    bins; VGGSfM's variant of one bin more gives other values.

    Args:
        rotation_deg: (..., P).
        translation_deg: (..., P).
        limit_deg: 30 in most papers.

    Returns:
        (...) 0..1, 1 is best; NaN without pairs.
    """
    worst = torch.maximum(rotation_deg, translation_deg)
    limits = torch.arange(1, limit_deg + 1, dtype=worst.dtype, device=worst.device)
    below = worst[..., None] < limits
    below[..., -1] |= worst == limit_deg
    return below.double().mean((-1, -2))


def aligned_point_errors(predicted: Tensor, target: Tensor, with_scale: bool = True) -> Tensor:
    """Distances of points after one best alignment of all of them (Umeyama 1991, without mirroring).

    Args:
        predicted: (..., N, 3), any frame and scale.
        target: (..., N, 3).
        with_scale: a similarity; otherwise a rigid motion.

    Returns:
        (..., N) in the target's unit; papers print the mean.

    Raises:
        ValueError: shapes differ or are not those of points.
    """
    return (procrustes(predicted, target, with_scale=with_scale) - target).norm(dim=-1)


def _relative(world_to_camera: Tensor) -> tuple[Tensor, Tensor]:
    """Rotations (..., P, 3, 3) and translations (..., P, 3) from camera j to camera i."""
    count = world_to_camera.shape[-3]
    i, j = torch.triu_indices(count, count, offset=1, device=world_to_camera.device)
    rotation, offset = world_to_camera[..., :3, :3], world_to_camera[..., :3, 3]
    between = rotation[..., i, :, :] @ rotation[..., j, :, :].transpose(-1, -2)
    return between, offset[..., i, :] - (between @ offset[..., j, :, None])[..., 0]
