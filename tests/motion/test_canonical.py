"""The canonical camera: the pelvis keeps its pixel, and un-scaling is exact."""

from __future__ import annotations

import numpy as np
import pytest

from unimo.errors import InputError
from unimo.motion.canonical import from_canonical, to_canonical

REST = np.array([0.003, -0.351, 0.012])


def pixel(motion):
    pelvis = motion.transl + REST
    return pelvis[:, :2] / pelvis[:, 2:] * motion.intrinsics[0, 0] + motion.intrinsics[:2, 2]


@pytest.mark.parametrize("focal", [60.0, 153.6, 400.0])
def test_round_trip_and_same_pixel(make_motion, focal):
    motion = make_motion(8)
    source = from_canonical(motion, 100, 128, 100 / 128, REST)
    np.testing.assert_allclose(source.transl, motion.transl, atol=1e-6)
    canonical = to_canonical(motion, focal, 128, 1.2, REST)
    back = from_canonical(canonical, focal, 128, 1.2, REST)
    np.testing.assert_allclose(back.transl, motion.transl, atol=1e-5)
    np.testing.assert_allclose(pixel(canonical), pixel(back), atol=1e-3)
    depth = (canonical.transl + REST)[:, 2] / (motion.transl + REST)[:, 2]
    np.testing.assert_allclose(depth, 1.2 * 128 / focal, rtol=1e-5)


def test_scaled_depth_keeps_no_camera_pose(make_motion):
    motion = make_motion(3, cam2world=np.tile(np.eye(4), (3, 1, 1)))
    assert to_canonical(motion, 100, 128, 1.2, REST).cam2world is None


def test_world_motions_and_bad_focal_lengths_are_refused(make_motion):
    with pytest.raises(InputError, match="world axes"):
        to_canonical(make_motion(3, axes="world"), 100, 128, 1.2, REST)
    with pytest.raises(InputError, match="must be positive"):
        to_canonical(make_motion(3), 0, 128, 1.2, REST)
