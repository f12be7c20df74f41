"""Windows of mocap: mirroring is a reflection, time is resampled and not relabelled, the odds follow the request."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from unimo.body.names import LEFT_RIGHT
from unimo.errors import InputError
from unimo.motion.frames import joint_positions
from unimo.motion.library import NamedMotion
from unimo.synth.gait import gait_library
from unimo.synth.puppet import load_puppet
from unimo.synth.windows import Window, WindowSampler


@pytest.fixture(scope="module")
def library():
    return gait_library(3, seconds=3.0)


def draw(library, seed: int = 0, mirror: float = 0.0, frames: int = 9, speed=(1.0, 1.0)) -> Window:
    return WindowSampler(library, 0.5, speed, 0.0).draw(np.random.Generator(np.random.PCG64(seed)), frames, mirror)


def joints_of(window: Window) -> np.ndarray:
    puppet = load_puppet(window.body)
    rotations = Rotation.from_rotvec(window.pose.reshape(-1, 3)).as_matrix().reshape(*window.pose.shape, 3)
    return puppet.pose(rotations, puppet.rest_joints(window.betas))[1] + window.pelvis[:, None]


def test_mirror_reflects_positions_and_exchanges_sides(library):
    plain, mirrored = joints_of(draw(library)), joints_of(draw(library, mirror=1.0))
    partner = np.arange(22)
    for left, right in LEFT_RIGHT:
        partner[left], partner[right] = right, left
    assert np.abs(mirrored[:, partner] * [-1, 1, 1] - plain).max() < 0.01  # the body is symmetric to a few millimetres


def test_mirror_is_exact_for_the_pelvis_and_twice_is_once(library):
    plain, mirrored = draw(library), draw(library, mirror=1.0)
    assert (plain.mirrored, mirrored.mirrored) == (False, True)
    assert np.array_equal(mirrored.pelvis, plain.pelvis * [-1, 1, 1])
    for left, right in LEFT_RIGHT:  # an axial vector keeps x and turns y and z over
        assert np.allclose(mirrored.pose[:, left], plain.pose[:, right] * [1, -1, -1], atol=1e-12)
        assert np.allclose(mirrored.pose[:, right], plain.pose[:, left] * [1, -1, -1], atol=1e-12)
    assert np.allclose(mirrored.pose[:, 0], plain.pose[:, 0] * [1, -1, -1], atol=1e-12)


def test_speed_scales_velocities(library):
    straight = library[0].motion
    frames = np.arange(len(straight))
    transl = (np.stack([0.03 * frames, 0 * frames + 0.9, 0.01 * frames], axis=1)).astype(np.float32)  # metres a frame
    steady = [NamedMotion("steady", "s", replace(straight, transl=transl))]
    for speed in (0.5, 1.0, 1.7):
        window = draw(steady, speed=(speed, speed))
        velocity = np.diff(window.pelvis, axis=0) / (0.5 / 8)
        assert np.abs(velocity - speed * straight.fps * np.array([0.03, 0.0, 0.01])).max() < 1e-3


def test_the_text_of_a_motion_goes_along(library):
    assert draw([replace(library[0], text="walks ahead")]).text == "walks ahead"
    assert draw(library).text == ""


def test_frames_lie_on_the_clock_of_the_source(library):
    window = draw(library, frames=16)  # 0.5 s at 30 fps: a step is one source frame, between source frames
    entry = next(entry for entry in library if entry.name == window.name)
    source = joint_positions(entry.motion)
    at = window.start * entry.motion.fps + np.arange(16)
    low = np.floor(at).astype(int)
    between = source[low] + (at - low)[:, None, None] * (source[low + 1] - source[low])
    assert np.abs(joints_of(window) - between).max() < 0.01


def test_speed_stretches_time(library):
    slow, fast = (draw(library, speed=(s, s)) for s in (0.5, 1.5))
    travelled = [np.linalg.norm(w.pelvis[-1] - w.pelvis[0]) for w in (slow, fast)]
    assert travelled[1] > 2 * travelled[0]


def test_rarity_evens_out_subjects(library):
    motion = library[0].motion
    uneven = [NamedMotion(f"a{i}", "a", motion) for i in range(9)] + [NamedMotion("b", "b", motion)]
    rng = np.random.Generator(np.random.PCG64(0))
    share = {}
    for rarity in (0.0, 1.0):
        sampler = WindowSampler(uneven, 0.5, (1.0, 1.0), rarity)
        share[rarity] = np.mean([sampler.draw(rng, 3, 0.0).subject == "b" for _ in range(300)])
    assert share[0.0] < 0.2 and 0.4 < share[1.0] < 0.6


def test_camera_motions_are_refused(library):
    wrong = [NamedMotion("x", "x", replace(library[0].motion, axes="camera"))]
    with pytest.raises(InputError, match="'x' is not in world axes"):
        WindowSampler(wrong, 0.5, (1.0, 1.0), 0.0)


def test_gait_walks_forward_at_a_human_speed(library):
    for entry in library:
        joints = joint_positions(entry.motion)
        velocity = np.diff(joints[:, 0], axis=0) * entry.motion.fps
        facing = entry.motion.rotations()[1:, 0, :, 2]
        forward = (velocity * facing).sum(axis=-1)
        assert 0.5 < forward.mean() < 2.0 and np.mean(forward > 0) > 0.95
        assert abs(joints[:, [10, 11], 1].min(axis=1).max()) < 0.1
