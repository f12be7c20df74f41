"""BVH: any skeleton in, SMPL-X out, and the two are inverses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from unimo.body import JOINT_NAMES, load_body
from unimo.errors import InputError
from unimo.motion.bvh import parse_bvh, read_bvh, write_bvh
from unimo.motion.motion import Motion

_TWO_BONES = """HIERARCHY
ROOT hip
{
  OFFSET 0 1 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT knee
  {
    OFFSET 0 -2 0
    CHANNELS 3 Xrotation Zrotation Yrotation
    End Site
    {
      OFFSET 0 -1 0
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.025
0 0 0 0 0 0 0 0 0
1 2 3 90 0 0 0 90 0
"""


def _motion(frames: int = 12) -> Motion:
    random = np.random.default_rng(3)
    turning = np.linspace(0, 7, frames)[:, None] * np.array([0.0, 1.0, 0.0])
    return Motion(
        body_pose=random.normal(scale=0.4, size=(frames, 21, 3)),
        betas=random.normal(size=10),
        global_orient=turning,
        transl=random.normal(size=(frames, 3)),
        fps=29.97,
        axes="world",
    )


def test_reads_channel_orders_offsets_and_frame_rate() -> None:
    bvh = parse_bvh(_TWO_BONES)
    assert bvh.names == ("hip", "knee") and bvh.parents == (-1, 0) and bvh.fps == pytest.approx(40)
    assert np.allclose(bvh.end_sites[1], [0, -1, 0])
    rotations, positions = bvh.global_transforms()
    assert np.allclose(positions[0], [[0, 0, 0], [0, -2, 0]])
    # A quarter turn about z lays the bone, which points down, along +x; the knee then turns by another quarter.
    assert np.allclose(positions[1], [[1, 2, 3], [3, 2, 3]], atol=1e-9)
    assert np.allclose(rotations[1, 1], np.diag([-1, -1, 1]), atol=1e-9)


def test_a_joint_may_be_called_motion() -> None:
    bvh = parse_bvh(_TWO_BONES.replace("knee", "MOTION_knee").replace("\n", "\r\n"))
    assert bvh.names == ("hip", "MOTION_knee") and bvh.values.shape == (2, 9)


def test_channel_order_is_the_order_of_multiplication() -> None:
    text = _TWO_BONES.replace("1 2 3 90 0 0 0 90 0", "0 0 0 30 40 50 0 0 0")
    rotation = parse_bvh(text).local_transforms()[0][1, 0]

    def turn(axis: int, degrees: float) -> np.ndarray:
        vector = np.zeros(3)
        vector[axis] = np.radians(degrees)
        cross = np.array([[0, -vector[2], vector[1]], [vector[2], 0, -vector[0]], [-vector[1], vector[0], 0]])
        return torch.linalg.matrix_exp(torch.as_tensor(cross)).numpy()

    assert np.allclose(rotation, turn(2, 30) @ turn(0, 40) @ turn(1, 50), atol=1e-9)


def test_written_motion_reads_back_to_the_same_joints(tmp_path: Path) -> None:
    motion = _motion()
    write_bvh(tmp_path / "out.bvh", motion)
    bvh = read_bvh(tmp_path / "out.bvh")
    assert bvh.fps == pytest.approx(29.97, rel=1e-6) and len(bvh) == len(motion)
    positions = bvh.global_transforms()[1]
    order = [bvh.names.index(name) for name in JOINT_NAMES]
    expected = load_body("open").joints(
        torch.as_tensor(motion.rotations()), torch.as_tensor(motion.betas), torch.as_tensor(motion.transl)
    )
    assert np.abs(positions[:, order] - expected.numpy()).max() < 1e-4


def test_written_angles_do_not_jump_while_the_body_turns_round(tmp_path: Path) -> None:
    motion = _motion(60)
    still = Motion(np.zeros((60, 21, 3)), motion.betas, motion.global_orient, motion.transl, 30, "world")
    write_bvh(tmp_path / "out.bvh", still)
    steps = np.abs(np.diff(read_bvh(tmp_path / "out.bvh").values[:, 3:], axis=0))
    assert steps.max() < 10


def test_camera_motion_is_not_written(tmp_path: Path) -> None:
    motion = _motion()
    camera = Motion(motion.body_pose, motion.betas, motion.global_orient, motion.transl, 30, "camera")
    with pytest.raises(InputError, match="world frame"):
        write_bvh(tmp_path / "out.bvh", camera)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("MOTION", "NOTHING"), "no MOTION section"),
        (("Frames: 2", "Frames: 3"), "3 frames of 9 channels promised, 18 numbers found"),
        (("1 2 3 90", "1 nan 3 90"), "not finite"),
        (("1 2 3 90", "1 x 3 90"), "damaged"),
        (("Frame Time: 0.025", "Frame Time: 0"), "frame time"),
        (("Zrotation Yrotation\n    End", "Wrotation Yrotation\n    End"), "unknown channel 'Wrotation'"),
        (("OFFSET 0 -2 0", "OFFSET 0 -2 zero"), "zero"),
        (("HIERARCHY", "SKELETON"), "expected 'HIERARCHY'"),
        (("  }\n}\nMOTION", "MOTION"), "breaks off"),
    ],
)
def test_malformed_text_is_an_input_error(change: tuple[str, str], message: str) -> None:
    assert change[0] in _TWO_BONES
    with pytest.raises(InputError, match=message):
        parse_bvh(_TWO_BONES.replace(*change))


def test_missing_file_and_binary_file_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_bvh(tmp_path / "none.bvh")
    (tmp_path / "noise.bvh").write_bytes(b"\xff\xfe\x00\x80" * 10)
    with pytest.raises(InputError, match="not text"):
        read_bvh(tmp_path / "noise.bvh")
