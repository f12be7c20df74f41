"""Changes of frame: the J0 rule, camera ↔ world, the mirror; checked through forward kinematics."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from unimo.body import load_body
from unimo.body.names import JOINT_NAMES, LEFT_RIGHT
from unimo.errors import InputError
from unimo.motion.frames import (
    camera_to_world,
    foot_heights,
    joint_positions,
    mirror,
    pelvis_positions,
    rest_pelvis_of,
    transform,
    transform_root,
    world_to_camera,
)

FIXTURE = Path(__file__).parents[1] / "fixtures" / "metrics" / "smplx_world_to_camera.npz"


def cameras(frames: int) -> np.ndarray:
    time = np.linspace(0, 1, frames)
    poses = np.tile(np.eye(4), (frames, 1, 1))
    poses[:, :3, :3] = Rotation.from_euler(
        "xyz", np.stack([np.pi + 0.1 * time, 0.5 * time, 0.2 + 0 * time], 1)
    ).as_matrix()
    poses[:, :3, 3] = np.stack([time, 1.5 + 0 * time, 4 - time], axis=1)
    return poses


def to_world(points: np.ndarray, cam2world: np.ndarray) -> np.ndarray:
    return np.einsum("tij,tkj->tki", cam2world[:, :3, :3], points) + cam2world[:, None, :3, 3]


def test_the_rest_pelvis_rule_against_the_reference():
    with np.load(FIXTURE, allow_pickle=False) as data:
        w2c, rest = data["in_T_w2c"], data["in_pelvis_rest"]
        orient, transl = transform_root(
            data["in_global_orient_w"], data["in_transl_w"], w2c[:, :3, :3], w2c[:, :3, 3], rest
        )
        np.testing.assert_allclose(transl, data["out_transl_c"], rtol=1e-6, atol=1e-7)
        turned, expected = Rotation.from_rotvec(orient), Rotation.from_rotvec(data["out_global_orient_c"])
        assert (turned.inv() * expected).magnitude().max() < 1e-6
        assert np.abs(transl - data["out_transl_c_naive_WRONG"]).max() > 0.5


def test_every_joint_moves_rigidly_into_the_world_and_back(make_motion):
    motion = make_motion(6, cam2world=cameras(6))
    world = camera_to_world(motion)
    assert world.axes == "world" and world.extras is None
    np.testing.assert_allclose(joint_positions(world), to_world(joint_positions(motion), motion.cam2world), atol=1e-5)
    back = world_to_camera(world)
    assert back.axes == "camera"
    np.testing.assert_allclose(joint_positions(back), joint_positions(motion), atol=1e-5)
    np.testing.assert_allclose(pelvis_positions(motion), joint_positions(motion)[:, 0], atol=1e-6)


def test_without_a_camera_it_is_level_and_the_feet_stand_on_the_ground(make_motion):
    motion = make_motion(6)
    world = camera_to_world(motion)
    assert world.extras == {"world_is_assumed": True}
    joints, source = joint_positions(world), joint_positions(motion)
    body = load_body()
    skin = body.vertices(*(torch.from_numpy(v) for v in (world.rotations(), world.betas, world.transl)))[..., 1]
    assert float(skin.min()) == pytest.approx(0, abs=1e-4)
    assert np.allclose(foot_heights(world), skin.amin(1).numpy(), atol=1e-4)
    moved = joints - source * [1, -1, -1]
    np.testing.assert_allclose(moved, np.broadcast_to([0, moved[0, 0, 1], 0], moved.shape), atol=1e-5)
    # upright in the camera is upright in the world
    assert (joints[:, JOINT_NAMES.index("head"), 1] > joints[:, 0, 1]).all()
    np.testing.assert_allclose(joint_positions(world_to_camera(world)), source, atol=1e-5)


def test_shape_that_changes_over_time_moves_rigidly_too(make_motion):
    betas = np.random.default_rng(0).normal(size=(6, 10)) * 2
    motion = make_motion(6, betas=betas, cam2world=cameras(6))
    moved = joint_positions(camera_to_world(motion))
    np.testing.assert_allclose(moved, to_world(joint_positions(motion), motion.cam2world), atol=1e-5)


def test_one_rigid_map_for_all_frames(make_motion):
    motion = make_motion(4)
    turn, offset = Rotation.from_rotvec([0.3, -1, 0.2]).as_matrix(), np.array([1.0, 2, 3])
    moved = transform(motion, turn, offset, rest_pelvis_of(motion), "world")
    np.testing.assert_allclose(joint_positions(moved), joint_positions(motion) @ turn.T + offset, atol=1e-5)


def test_motions_already_there_are_returned_and_a_missing_camera_is_named(make_motion):
    camera, world = make_motion(2), make_motion(2, axes="world")
    assert world_to_camera(camera) is camera and camera_to_world(world) is world
    with pytest.raises(InputError, match="without cam2world"):
        world_to_camera(world)
    with pytest.raises(InputError, match="of the body 'smplx', not 'open'"):
        rest_pelvis_of(replace(camera, body="smplx"), load_body("open"))


@pytest.mark.parametrize("axes", ["camera", "world"])
def test_the_mirror_negates_x_and_swaps_sides(make_motion, axes):
    motion = make_motion(5, axes=axes, betas=np.zeros(10), cam2world=cameras(5))
    mirrored = mirror(motion)
    partner = np.arange(len(JOINT_NAMES))
    for left, right in LEFT_RIGHT:
        partner[left], partner[right] = right, left
    expected = joint_positions(motion)[:, partner] * [-1, 1, 1]
    np.testing.assert_allclose(joint_positions(mirrored), expected, atol=5e-4)
    np.testing.assert_allclose(pelvis_positions(mirrored), pelvis_positions(motion) * [-1, 1, 1], atol=1e-5)
    np.testing.assert_allclose(mirror(mirrored).rotations(), motion.rotations(), atol=1e-6)


def test_the_mirror_mirrors_the_camera_with_the_world(make_motion):
    intrinsics = np.array([[100.0, 0, 60], [0, 100, 64], [0, 0, 1]])
    motion = make_motion(5, cam2world=cameras(5), intrinsics=intrinsics)
    mirrored = mirror(motion, width=128)
    assert mirrored.intrinsics is not None and mirrored.intrinsics[0, 2] == 68
    expected = pelvis_positions(camera_to_world(motion)) * [-1, 1, 1]
    np.testing.assert_allclose(pelvis_positions(camera_to_world(mirrored)), expected, atol=1e-5)
