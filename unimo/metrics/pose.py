"""Errors of human pose and motion: arrays in, numbers out.

Joints are (..., T, J, 3) metres with joint 0 the pelvis, rotations (..., 3, 3), both float tensors. Every function
returns the error of each frame (or clip), so that the caller decides how to average; the unit stands in the name.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unimo.geometry.alignment import procrustes


def mpjpe_mm(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean per-joint position error after moving both pelvises (joint 0) to the origin: (..., J, 3) → (...)."""
    difference = (predicted - predicted[..., :1, :]) - (target - target[..., :1, :])
    return 1000 * difference.norm(dim=-1).mean(dim=-1)


def pve_mm(predicted: Tensor, target: Tensor, pelvis: Tensor, true_pelvis: Tensor) -> Tensor:
    """Mean per-vertex error after moving both pelvises to the origin: vertices (..., V, 3), pelvises (..., 3) → (...).

    The pelvis is the joint, as in the field's code, not a mean of vertices.
    """
    difference = (predicted - pelvis[..., None, :]) - (target - true_pelvis[..., None, :])
    return 1000 * difference.norm(dim=-1).mean(dim=-1)


def pa_mpjpe_mm(predicted: Tensor, target: Tensor) -> Tensor:
    """MPJPE after the best similarity transform of each frame (never a mirror image): (..., J, 3) → (...)."""
    goal = target.double()
    return (1000 * (procrustes(predicted.double(), goal) - goal).norm(dim=-1).mean(dim=-1)).to(predicted.dtype)


def accel_mm_per_frame2(predicted: Tensor, target: Tensor) -> Tensor:
    """Error of the second difference of pelvis-aligned joints: (..., T, J, 3) → (..., T−2); times fps² it is mm/s²."""

    def second(joints: Tensor) -> Tensor:
        joints = joints - joints[..., :1, :]
        return joints[..., 2:, :, :] - 2 * joints[..., 1:-1, :, :] + joints[..., :-2, :, :]

    return 1000 * (second(predicted) - second(target)).norm(dim=-1).mean(dim=-1)


def rotation_error_deg(predicted: Tensor, target: Tensor) -> Tensor:
    """Angle between rotations, degrees in 0..180: (..., 3, 3) → (...).

    By sine and cosine together: either alone loses half the digits near 0° or 180°, and its gradient is NaN there.
    """
    turn = predicted.transpose(-1, -2) @ target
    sine = (turn - turn.transpose(-1, -2)).flatten(-2).norm(dim=-1) / 8**0.5
    cosine = (turn.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
    return torch.rad2deg(torch.atan2(sine, cosine))


def translation_error_m(predicted: Tensor, target: Tensor) -> Tensor:
    """Distance of two pelvis positions, metres: (..., 3) → (...)."""
    return (predicted - target).norm(dim=-1)


def drift_mm(predicted: Tensor, target: Tensor) -> Tensor:
    """How far the pelvis has drifted at the last frame, the first frame's offset taken off: (..., T, 3) → (...)."""
    end = (predicted[..., -1, :] - predicted[..., 0, :]) - (target[..., -1, :] - target[..., 0, :])
    return 1000 * end.norm(dim=-1)


def foot_slide_mm_per_frame(feet: Tensor, true_feet: Tensor, still_mm: float = 10.0) -> Tensor:
    """How far feet move that should stand: mean predicted step where the true step is below `still_mm`.

    Foot joints (..., T, F, 3) metres → scalar; NaN when no true foot stands. The field takes foot vertices in the
    world; in camera coordinates a foot that stands moves with a camera that does.
    """
    step, true_step = (1000 * points.diff(dim=-3).norm(dim=-1) for points in (feet, true_feet))
    return step[true_step < still_mm].mean()


def joint_speed_m_per_s(joints: Tensor, fps: float) -> Tensor:
    """Mean speed of all joints between neighbouring frames: (..., T, J, 3) → (..., T−1)."""
    return fps * (joints[..., 1:, :, :] - joints[..., :-1, :, :]).norm(dim=-1).mean(dim=-1)


def codebook_use(ids: Tensor, size: int) -> float:
    """Share of the codebook's `size` entries that occur among `ids` (any shape), pooled."""
    return ids.unique().numel() / size
