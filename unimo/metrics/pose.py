"""Errors of human pose and motion in camera or root coordinates: tensors in, numbers out.

Joints are (..., T, J, 3) metres, rotations (..., 3, 3), both float tensors. Every function returns the error of each
frame (or clip), so that the caller decides how to average; the unit stands in the name. The field averages over all
frames of all sequences together: `unimo.metrics.statistics.pooled_mean`.

`pelvis` names the joints whose mean is moved to the origin before anything is compared; each benchmark has its own:

| benchmark | joints | pelvis |
|---|---|---|
| 3DPW (WHAM, GVHMR) | 14 of LSP, `LSP_HIPS` | mean of joints 2, 3 |
| RICH, EMDB (WHAM, GVHMR) | 24 of SMPL, `SMPL_HIPS` | mean of joints 1, 2 |
| 3DPW, Human3.6M (4D-Humans) | 14 of 44 keypoints, `HMR_SCORED` | keypoint 39, `HMR_PELVIS` |
| MotionGPT, SOLAMI, ours | 22 | joint 0 |

Frames without a valid ground truth are taken out by the caller: `joints[valid]` before a metric, as GVHMR does it
(Accel then takes the frames around a gap for neighbours), or `valid_triples` after one, which does not.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from unimo.geometry.alignment import procrustes

ROOT = (0,)
SMPL_HIPS = (1, 2)
LSP_HIPS = (2, 3)
HMR_PELVIS = (39,)
HMR_SCORED = (*range(25, 38), 43)
"""The 14 keypoints that 4D-Humans scores out of its 25 OpenPose and 19 further ones."""


def pelvis_position(joints: Tensor, pelvis: Sequence[int] = ROOT) -> Tensor:
    """Mean of the joints `pelvis`: (..., J, 3) → (..., 3)."""
    return joints[..., list(pelvis), :].mean(dim=-2)


def pelvis_aligned(joints: Tensor, pelvis: Sequence[int] | None = ROOT) -> Tensor:
    """Joints (..., J, 3) relative to `pelvis_position`; None leaves them where they are."""
    return joints if pelvis is None else joints - pelvis_position(joints, pelvis)[..., None, :]


def mpjpe_mm(
    predicted: Tensor, target: Tensor, pelvis: Sequence[int] | None = ROOT, scored: Sequence[int] | None = None
) -> Tensor:
    """Mean per-joint position error: 1000 · mean_j |(p_j − pelvis_p) − (g_j − pelvis_g)|, mm.

    Translation is forgotten, rotation and scale are not. Source: WHAM, GVHMR, 4D-Humans.

    Args:
        predicted, target: (..., J, 3) metres.
        pelvis: joints whose mean goes to the origin; None compares positions as they are.
        scored: joints that count; None takes all.

    Returns:
        (...) mm.
    """
    difference = pelvis_aligned(predicted, pelvis) - pelvis_aligned(target, pelvis)
    if scored is not None:
        difference = difference[..., list(scored), :]
    return 1000 * difference.norm(dim=-1).mean(dim=-1)


def pve_mm(predicted: Tensor, target: Tensor, pelvis: Tensor, true_pelvis: Tensor) -> Tensor:
    """Mean per-vertex error after moving both pelvises to the origin: vertices (..., V, 3), pelvises (..., 3) → (...).

    The pelvis is a joint (`pelvis_position`), as in the field's code, not a mean of vertices. The field's bodies are of
    SMPL's 6890 vertices, the true one of its own gender.
    """
    difference = (predicted - pelvis[..., None, :]) - (target - true_pelvis[..., None, :])
    return 1000 * difference.norm(dim=-1).mean(dim=-1)


def pa_mpjpe_mm(predicted: Tensor, target: Tensor) -> Tensor:
    """MPJPE after the best similarity transform of each frame (never a mirror image): (..., J, 3) → (...).

    All joints given take part in the alignment and in the mean. In float64, and right for any number of frames: the
    batch function that WHAM, GVHMR and MotionGPT share takes two or three frames for a matrix laid out the other way.
    """
    goal = target.double()
    return (1000 * (procrustes(predicted.double(), goal) - goal).norm(dim=-1).mean(dim=-1)).to(predicted.dtype)


def accel_mm_per_frame2(predicted: Tensor, target: Tensor, pelvis: Sequence[int] | None = ROOT) -> Tensor:
    """Accel: 1000 · mean_j |Δ²p_j − Δ²g_j| with Δ²x = x_{t−1} − 2 x_t + x_{t+1}; times fps² it is mm/s².

    Pelvis-aligned joints (WHAM, GVHMR) unless `pelvis` is None (MotionGPT, SOLAMI): then the root's acceleration counts
    too. What moves at constant velocity costs nothing.

    Args:
        predicted, target: (..., T, J, 3) metres.
        pelvis: as in `mpjpe_mm`.

    Returns:
        (..., T−2) mm/frame².
    """
    second = [pelvis_aligned(joints, pelvis).diff(n=2, dim=-3) for joints in (predicted, target)]
    return 1000 * (second[0] - second[1]).norm(dim=-1).mean(dim=-1)


def accel_m_per_s2(
    predicted: Tensor, target: Tensor, fps: float, pelvis: Sequence[int] | None = ROOT, trim: bool = False
) -> Tensor:
    """Accel as papers print it: `accel_mm_per_frame2` · fps² / 1000 (0.9 m/s² a mm/frame² at 30 fps, 0.576 at 24).

    WHAM and GVHMR take 30 fps whatever the video's. Their published numbers also differ in length: WHAM drops one more
    value at each end.

    Args:
        predicted, target: (..., T, J, 3) metres.
        fps: frames a second.
        pelvis: as in `mpjpe_mm`.
        trim: WHAM's variant, (..., T−4).

    Returns:
        (..., T−2) m/s².
    """
    errors = accel_mm_per_frame2(predicted, target, pelvis) * (fps**2 / 1000)
    return errors[..., 1:-1] if trim else errors


def acceleration_m_per_s2(joints: Tensor, fps: float) -> Tensor:
    """How hard one motion accelerates: mean_j |Δ²x_j| · fps²; (..., T, J, 3) → (..., T−2). Not an error."""
    return fps**2 * joints.diff(n=2, dim=-3).norm(dim=-1).mean(dim=-1)


def valid_triples(valid: Tensor) -> Tensor:
    """Which values of Accel rest on three visible frames: (..., T) bool → (..., T−2) bool."""
    return valid[..., 2:] & valid[..., 1:-1] & valid[..., :-2]


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


def joint_speed_m_per_s(joints: Tensor, fps: float) -> Tensor:
    """Mean speed of all joints between neighbouring frames: (..., T, J, 3) → (..., T−1)."""
    return fps * (joints[..., 1:, :, :] - joints[..., :-1, :, :]).norm(dim=-1).mean(dim=-1)
