"""`Motion`: what it refuses, cutting, and resampling."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation, Slerp

from unimo.errors import InputError
from unimo.motion.motion import Motion


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("transl", np.zeros((4, 2)), r"transl has shape \(4, 2\), expected \(T, 3\)"),
        ("transl", np.zeros((0, 3)), "at least one frame"),
        ("body_pose", np.zeros((4, 63)), r"body_pose has shape \(4, 63\), expected \(4, 21, 3\)"),
        ("body_pose", np.full((4, 21, 3), np.nan), "body_pose holds a value that is NaN"),
        ("betas", np.zeros((3, 10)), r"betas has shape \(3, 10\), expected \(4, 10\)"),
        ("global_orient", [["a", "b", "c"]] * 4, "global_orient is not an array of numbers"),
        ("fps", 0, "fps must be a positive number"),
        ("fps", float("nan"), "fps must be a positive number"),
        ("fps", "fast", "fps must be a number"),
        ("axes", "z-up", "unknown axes"),
        ("body", "smpl", "unknown body"),
        ("intrinsics", np.zeros((3, 3)), "focal lengths"),
        ("cam2world", np.tile(2 * np.eye(4), (4, 1, 1)), "not a rigid transform"),
        ("cam2world", np.tile(np.diag([-1.0, 1, 1, 1]), (4, 1, 1)), "not a rigid transform"),
        ("extras", [1], "extras must be a dictionary"),
    ],
)
def test_malformed_fields_are_named(make_motion, field, value, message):
    motion = make_motion(4)
    with pytest.raises(InputError, match=message):
        replace(motion, **{field: value})


def test_the_first_bad_frame_is_named(make_motion):
    transl = make_motion(4).transl.copy()
    transl[2, 1] = np.inf
    with pytest.raises(InputError, match="frame 2"):
        make_motion(4, transl=transl)


def test_one_shape_row_is_repeated_and_arrays_are_float32(make_motion):
    motion = make_motion(5, betas=np.arange(10.0))
    assert motion.betas.shape == (5, 10)
    assert {array.dtype for array in (motion.body_pose, motion.betas, motion.global_orient, motion.transl)} == {
        np.dtype(np.float32)
    }


def test_a_slice_cuts_every_array_and_a_step_lowers_the_frame_rate(make_motion):
    motion = make_motion(10, cam2world=np.tile(np.eye(4), (10, 1, 1)))
    cut = motion[2:9:3]
    assert (len(cut), cut.fps) == (3, 10)
    np.testing.assert_array_equal(cut.transl, motion.transl[2:9:3])
    assert cut.cam2world is not None and len(cut.cam2world) == 3
    with pytest.raises(InputError, match="none of the 10 frames"):
        motion[10:]
    with pytest.raises(InputError, match="step -1"):
        motion[::-1]


def test_rotations_round_trip_through_matrices(make_motion):
    motion = make_motion(6)
    again = Motion.from_rotations(motion.rotations(), motion.betas, motion.transl, 30)
    np.testing.assert_allclose(again.rotations(), motion.rotations(), atol=1e-6)


def test_resampling_keeps_time_and_slerps(make_motion):
    motion = make_motion(31)
    other = motion.resample(24)
    assert len(other) == 25 and other.duration == pytest.approx(motion.duration)
    np.testing.assert_allclose(
        other.transl[:, 0], np.interp(np.arange(25) / 24, np.arange(31) / 30, motion.transl[:, 0]), atol=1e-6
    )
    for joint in (0, 5):
        path = motion.axis_angles()[:, joint].astype(np.float64)
        expected = Slerp(np.arange(31) / 30, Rotation.from_rotvec(path))(np.minimum(np.arange(25) / 24, 1.0))
        np.testing.assert_allclose(other.rotations()[:, joint], expected.as_matrix(), atol=1e-6)


def test_slerp_takes_the_short_way_over_the_half_turn():
    orient = np.array([[0, np.pi - 0.1, 0], [0, -np.pi + 0.1, 0]])
    motion = Motion(np.zeros((2, 21, 3)), np.zeros(10), orient, np.zeros((2, 3)), 10).resample(20)
    np.testing.assert_allclose(np.abs(motion.global_orient[1]), [0, np.pi, 0], atol=1e-6)


def test_doubling_the_rate_keeps_the_source_frames(make_motion):
    motion = make_motion(9, cam2world=np.tile(np.eye(4), (9, 1, 1)))
    double = motion.resample(60)
    assert len(double) == 17 and double.cam2world is not None
    np.testing.assert_allclose(double.rotations()[::2], motion.rotations(), atol=1e-6)
    assert len(make_motion(1).resample(24)) == 1
