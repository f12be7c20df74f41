"""Errors of predicted motion over a set of clips, in the units users read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from unimo.body import load_body
from unimo.body.names import JOINT_NAMES
from unimo.metrics.pose import (
    accel_mm_per_frame2,
    mpjpe_mm,
    pa_mpjpe_mm,
    pve_mm,
    rotation_error_deg,
    translation_error_m,
)


def clip_joints(parts: Mapping[str, Tensor], body: str = "open") -> Tensor:
    """`rotations (N,T,22,3,3)`, `betas (N,T,10)`, `transl (N,T,3)` → joints (N,T,22,3) metres."""
    flat = [parts[key].flatten(0, 1) for key in ("rotations", "betas", "transl")]
    return load_body(body).joints(*flat).unflatten(0, parts["betas"].shape[:2])  # type: ignore[arg-type]


def clip_vertices(parts: Mapping[str, Tensor], body: str = "open", index: Tensor | None = None) -> Tensor:
    """As `clip_joints`: vertices (N,T,V,3) metres, or those of `index` only."""
    flat = [parts[key].flatten(0, 1) for key in ("rotations", "betas", "transl")]
    vertices = load_body(body).vertices(*flat, index=index)  # type: ignore[arg-type]
    return vertices.unflatten(0, parts["betas"].shape[:2])


def clip_pve_mm(
    predicted: Mapping[str, Tensor], truth: Mapping[str, Tensor], body: str = "open", index: Tensor | None = None
) -> Tensor:
    """PVE over the vertices `index` (default all), each clip's mean (N,); both sides as `clip_joints` takes them."""
    joints, true_joints = clip_joints(predicted, body), clip_joints(truth, body)
    errors = []
    for row in range(len(joints)):  # a clip at a time: all vertices of many clips fill the memory
        mine, true = (
            clip_vertices({key: value[row : row + 1] for key, value in side.items()}, body, index)[0]
            for side in (predicted, truth)
        )
        errors.append(pve_mm(mine, true, joints[row, :, 0], true_joints[row, :, 0]).mean())
    return torch.stack(errors)


def pose_errors(predicted: Mapping[str, Tensor], truth: Mapping[str, Tensor], body: str = "open") -> dict[str, Tensor]:
    """Errors of each clip, every value (N,): the mean over its frames. Both sides as `clip_joints` takes them."""
    joints, true_joints = clip_joints(predicted, body), clip_joints(truth, body)
    orientation = rotation_error_deg(predicted["rotations"][:, :, 0], truth["rotations"][:, :, 0])
    return {
        "mpjpe_mm": mpjpe_mm(joints, true_joints).mean(1),
        "pa_mpjpe_mm": pa_mpjpe_mm(joints, true_joints).mean(1),
        "accel_mm_per_frame2": accel_mm_per_frame2(joints, true_joints).mean(1),
        "root_orientation_deg": orientation.mean(1),
        "root_translation_m": translation_error_m(joints[:, :, 0], true_joints[:, :, 0]).mean(1),
    }


def joint_errors_mm(predicted: Mapping[str, Tensor], truth: Mapping[str, Tensor], body: str = "open") -> Tensor:
    """The distance of every joint, pelvises (joint 0) at the origin, as MPJPE has it before any mean: (N,T,22)."""
    joints, true_joints = (clip_joints(side, body) for side in (predicted, truth))
    difference = (joints - joints[:, :, :1]) - (true_joints - true_joints[:, :, :1])
    return 1000 * difference.norm(dim=-1)


def by_joint_and_time(errors: Tensor) -> dict[str, Any]:
    """Errors (N,T,22) mm → `by_joint_mm` (by name; the pelvis, which aligns, is 0) and `by_time_mm` (T numbers)."""
    by_joint = dict(zip(JOINT_NAMES, errors.mean((0, 1)).tolist(), strict=True))
    return {"by_joint_mm": by_joint, "by_time_mm": errors.mean((0, 2)).tolist()}


def mpjpe_hips_mm(predicted: Mapping[str, Tensor], truth: Mapping[str, Tensor], body: str = "open") -> Tensor:
    """MPJPE of the 22 joints (N,), the middle of both hips (joints 1 and 2) at the origin, as for RICH and EMDB."""
    sides = (clip_joints(side, body) for side in (predicted, truth))
    joints, true_joints = (side - side[:, :, 1:3].mean(2, keepdim=True) for side in sides)
    return 1000 * (joints - true_joints).norm(dim=-1).mean((1, 2))


def with_accel_per_second(errors: Mapping[str, Tensor], fps: float) -> dict[str, Tensor]:
    """Adds `accel_m_per_s2`, which unlike mm/frame² does not depend on the frame rate's unit."""
    return {**errors, "accel_m_per_s2": errors["accel_mm_per_frame2"] * fps**2 / 1000}
