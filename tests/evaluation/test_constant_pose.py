"""The constant pose: it is the best constant, and it survives its JSON form and the change of camera."""

from __future__ import annotations

import json

import numpy as np
import roma
import torch

from unimo.evaluation.constant_pose import ConstantPose, fit_constant_pose
from unimo.evaluation.pose_errors import clip_joints


def parts_of(headings: list[float], frames: int = 3) -> dict[str, torch.Tensor]:
    """Standing people turned by these angles about the camera's vertical axis, 3 m away."""
    count = len(headings)
    angles = torch.zeros(count, frames, 22, 3)
    turn = torch.tensor([[0.0, heading, 0.0] for heading in headings])
    upright = torch.tensor([torch.pi, 0.0, 0.0]).expand(count, 3)
    angles[:, :, 0] = roma.rotvec_composition([turn, upright])[:, None]
    transl = torch.tensor([0.0, 0.2, 3.0]).expand(count, frames, 3)
    return {"rotations": roma.rotvec_to_rotmat(angles), "betas": torch.zeros(count, frames, 10), "transl": transl}


def test_one_pose_is_found_exactly_and_a_minority_does_not_move_it() -> None:
    same = parts_of([0.4] * 5)
    errors = fit_constant_pose(same).errors(clip_joints(same), same["rotations"][:, :, 0])
    assert errors["mpjpe_mm"] < 5 and errors["root_orientation_deg"] < 3 and errors["root_translation_m"] < 0.01
    mixed = parts_of([0.4] * 4 + [0.4 + np.pi])
    constant = fit_constant_pose(mixed)
    errors = constant.clip_errors(clip_joints(mixed), mixed["rotations"][:, :, 0])
    assert errors["root_orientation_deg"][:4].max() < 3 and errors["root_orientation_deg"][4] > 170


def test_headings_all_around_leave_no_good_orientation_and_no_nan() -> None:
    turned = parts_of([i * np.pi / 4 for i in range(8)])
    errors = fit_constant_pose(turned, steps=40).errors(clip_joints(turned), turned["rotations"][:, :, 0])
    assert 80 < errors["root_orientation_deg"] < 100
    assert all(np.isfinite(value) for value in errors.values())


def test_json_keeps_the_constant() -> None:
    parts = parts_of([1.0, 2.0])
    constant = fit_constant_pose(parts, steps=5)
    again = ConstantPose.from_json(json.loads(json.dumps(constant.to_json())))
    joints, orientation = clip_joints(parts), parts["rotations"][:, :, 0]
    for key, value in constant.errors(joints, orientation).items():
        np.testing.assert_allclose(again.errors(joints, orientation)[key], value, rtol=1e-4, atol=1e-3)


def test_depth_scale_moves_only_the_pelvis_of_the_constant() -> None:
    parts = parts_of([0.0])
    joints, orientation = clip_joints(parts), parts["rotations"][:, :, 0]
    constant = ConstantPose(parts["rotations"][0, 0], parts["betas"][0, 0], orientation[0, 0], joints[0, 0, 0])
    plain = constant.clip_errors(joints, orientation)
    scaled = constant.clip_errors(joints, orientation, torch.tensor([1.5]))
    assert float(plain["root_translation_m"]) < 1e-5
    depth = float(joints[0, 0, 0, 2])
    np.testing.assert_allclose(float(scaled["root_translation_m"]), 0.5 * depth, rtol=1e-4)
    assert float(scaled["mpjpe_mm"]) == float(plain["mpjpe_mm"]) < 0.01
