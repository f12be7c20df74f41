"""Errors of human motion in the world: paths, jitter and sliding feet (WHAM and GVHMR's global metrics).

Joints are (..., T, J, 3) metres in world axes. Every function returns a value a frame, so that the caller averages: the
field does so over all frames of all sequences together (`unimo.metrics.statistics.pooled_mean`). Alignments are solved
in float64, since W-MPJPE extrapolates from two frames.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unimo.geometry.alignment import apply_similarity, procrustes, umeyama

CHUNK_FRAMES = 100
SMPL_FOOT_VERTICES = (3216, 3387, 6617, 6787)
"""The four vertices of SMPL's 6890 that the field watches for sliding."""


def w_mpjpe_mm(predicted: Tensor, target: Tensor, chunk: int = CHUNK_FRAMES) -> Tensor:
    """World MPJPE: each chunk is moved onto the truth by the best similarity of its first two frames.

    mean_j |s R p_j + t − g_j| in mm over all joints, no root alignment; (s, R, t) by Umeyama with scale on the first
    two frames together. What drifts after them counts in full. A shorter last chunk is aligned in the same way.

    Args:
        predicted, target: (..., T, J, 3) metres.
        chunk: frames.

    Returns:
        (..., T) mm.
    """
    return _chunk_errors_mm(predicted, target, chunk, fitted=2)


def wa_mpjpe_mm(predicted: Tensor, target: Tensor, chunk: int = CHUNK_FRAMES) -> Tensor:
    """World-aligned MPJPE: as `w_mpjpe_mm`, but the similarity (with scale) is that of the whole chunk."""
    return _chunk_errors_mm(predicted, target, chunk, fitted=chunk)


def _chunk_errors_mm(predicted: Tensor, target: Tensor, chunk: int, fitted: int) -> Tensor:
    errors = []
    for ours, true in zip(predicted.double().split(chunk, dim=-3), target.double().split(chunk, dim=-3), strict=True):
        first, true_first = (side[..., :fitted, :, :].flatten(-3, -2) for side in (ours, true))
        moved = apply_similarity(ours.flatten(-3, -2), *umeyama(first, true_first)).view_as(ours)
        errors.append(1000 * (moved - true).norm(dim=-1).mean(dim=-1))
    return torch.cat(errors, dim=-1).to(predicted.dtype)


def rte_percent(predicted: Tensor, target: Tensor) -> Tensor:
    """Root trajectory error: |R p_t + t − g_t| as a share of the length of the true path, %.

    The whole path is aligned rigidly, without scale. The root is joint 0 in GVHMR and SMPL's `trans` in WHAM.

    Args:
        predicted, target: (..., T, 3) metres, the roots.

    Returns:
        (..., T) %; infinite or NaN where the true root never moves.
    """
    goal = target.double()
    distance = (procrustes(predicted.double(), goal, with_scale=False) - goal).norm(dim=-1)
    length = goal.diff(dim=-2).norm(dim=-1).sum(dim=-1, keepdim=True)
    return (100 * distance / length).to(predicted.dtype)


def jitter_10_m_per_s3(joints: Tensor, fps: float) -> Tensor:
    """Jitter: mean_j |Δ³p_j| · fps³ / 10, in units of 10 m/s³ as papers print it; no alignment, no truth.

    Motion at constant acceleration has none. WHAM takes all frames, GVHMR the valid ones (`joints[valid]`).

    Args:
        joints: (..., T, J, 3) metres.
        fps: frames a second.

    Returns:
        (..., T−3).
    """
    return joints.double().diff(n=3, dim=-3).norm(dim=-1).mean(dim=-1).mul(fps**3 / 10).to(joints.dtype)


def foot_sliding_mm(feet: Tensor, true_feet: Tensor, still_mm: float = 10.0) -> Tensor:
    """Foot sliding: predicted step, mm, of every point of a foot whose true step is below `still_mm`.

    In the world and unaligned; the field takes the vertices `SMPL_FOOT_VERTICES`. In camera coordinates a foot that
    stands moves with a camera that does.

    Args:
        feet, true_feet: (..., T, F, 3) metres.
        still_mm: a frame.

    Returns:
        (N,) mm a frame, the entries that stand, in the order of (..., frame, point).
    """
    step, true_step = (1000 * points.diff(dim=-3).norm(dim=-1) for points in (feet, true_feet))
    return step[true_step < still_mm]


def foot_slide_mm_per_frame(feet: Tensor, true_feet: Tensor, still_mm: float = 10.0) -> Tensor:
    """Mean of `foot_sliding_mm`, a scalar; NaN when no true foot stands."""
    return foot_sliding_mm(feet, true_feet, still_mm).mean()
