"""BVH export, read back by the reader: joint positions, frame time, either frame, changing shape."""

from __future__ import annotations

import numpy as np
import pytest

from unimo.body import JOINT_NAMES
from unimo.motion.bvh import read_bvh
from unimo.motion.bvh_export import export_bvh
from unimo.motion.frames import camera_to_world, joint_positions


def positions_by_name(path):
    bvh = read_bvh(path)
    _, positions = bvh.global_transforms()
    return positions[:, [bvh.names.index(name) for name in JOINT_NAMES]]


@pytest.mark.parametrize("axes", ["camera", "world"])
@pytest.mark.parametrize("fps", [15, 30000 / 1001])
def test_joints_come_back_within_a_millimetre(make_motion, tmp_path, axes, fps):
    motion = make_motion(20, axes=axes, fps=fps)
    export_bvh(tmp_path / "motion.bvh", motion)
    expected = joint_positions(camera_to_world(motion))
    np.testing.assert_allclose(positions_by_name(tmp_path / "motion.bvh"), expected, atol=1e-3)
    assert read_bvh(tmp_path / "motion.bvh").fps == pytest.approx(fps, rel=1e-5)


def test_large_and_locked_rotations_are_kept(make_motion, tmp_path):
    pose = np.random.default_rng(0).normal(size=(30, 21, 3)) * 2
    pose[:, 4] = [0, np.pi / 2, 0]
    motion = make_motion(30, axes="world", body_pose=pose)
    export_bvh(tmp_path / "motion.bvh", motion)
    np.testing.assert_allclose(positions_by_name(tmp_path / "motion.bvh"), joint_positions(motion), atol=1e-3)


def test_the_pelvis_keeps_its_path_when_the_shape_changes(make_motion, tmp_path):
    motion = make_motion(4, axes="world", betas=np.random.default_rng(1).normal(size=(4, 10)) * 2)
    export_bvh(tmp_path / "motion.bvh", motion)
    exported = positions_by_name(tmp_path / "motion.bvh")
    np.testing.assert_allclose(exported[:, 0], joint_positions(motion)[:, 0], atol=1e-4)
