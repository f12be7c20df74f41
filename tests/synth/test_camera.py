"""Kinds of cameras: each moves as its name says and keeps the person in the picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from unimo.media.images import write_image
from unimo.motion.frames import camera_to_world, joint_positions
from unimo.synth.gait import gait_library
from unimo.synth.scene import Scene, SceneConfig, SceneSampler

CONFIG = SceneConfig(side=64, frames=9)
SEEDS = range(30)


@pytest.fixture(scope="module")
def library():
    return gait_library(4, seconds=3.0)


@pytest.fixture(scope="module")
def scenes(library) -> dict[str, list[Scene]]:
    kinds = ("default", "still", "pan", "orbit", "mixed")
    samplers = {kind: SceneSampler(library, replace(CONFIG, camera=kind)) for kind in kinds}
    return {kind: [sampler.sample(seed) for seed in SEEDS] for kind, sampler in samplers.items()}


def turned(scene: Scene) -> float:
    """Degrees between the first and the last viewing direction."""
    forward = scene.motion.cam2world[[0, -1], :3, 2]
    return float(np.degrees(np.arccos(np.clip(forward[0] @ forward[1], -1.0, 1.0))))


def wander(scene: Scene) -> float:
    """Metres that the camera's place spans."""
    return float(np.linalg.norm(np.ptp(scene.motion.cam2world[:, :3, 3], axis=0)))


def test_people_stay_in_the_picture(scenes):
    for kind, group in scenes.items():
        assert np.mean([scene.in_frame for scene in group]) >= 0.95, kind
        inside = [(scene.keypoints2d > 0).all() and (scene.keypoints2d < 64).all() for scene in group]
        assert np.mean(inside) >= 0.95, kind
        assert min(scene.height_fraction for scene in group) > 0.45, kind


def test_still_stands_and_pan_turns_on_the_spot(scenes):
    assert max(np.ptp(scene.motion.cam2world, axis=0).max() for scene in scenes["still"]) == 0
    assert max(wander(scene) for scene in scenes["pan"]) < 1e-9
    assert np.median([turned(scene) for scene in scenes["pan"]]) > 5
    assert np.median([np.ptp(scene.keypoints2d[:, 0, 0]) for scene in scenes["pan"]]) > 0.1 * 64  # drifts through


def test_orbit_goes_round_the_person_at_one_distance(scenes):
    angles = np.array([turned(scene) for scene in scenes["orbit"]])
    assert angles.min() > 15 and angles.max() < 125 and np.ptp(angles) > 50
    for scene in scenes["orbit"]:
        pelvis = joint_positions(camera_to_world(scene.motion))[:, 0]
        distance = np.linalg.norm(scene.motion.cam2world[:, :3, 3] - pelvis, axis=1)
        assert np.ptp(distance) < 0.25 * distance.mean()
        assert wander(scene) > 0.4
        steps = np.linalg.norm(np.diff(scene.motion.cam2world[:, :3, 3], axis=0), axis=1)
        assert steps.max() < 1.5 * steps.min()  # no jerks


def test_cameras_are_above_the_floor_and_upright(scenes):
    for kind in ("pan", "orbit"):
        for scene in scenes[kind]:
            assert scene.motion.cam2world[:, 1, 3].min() > 0.3
            assert scene.motion.cam2world[:, 1, 1].max() < -0.8  # the picture's down is the world's down
            rotation = scene.motion.cam2world[:, :3, :3]
            assert np.abs(rotation.transpose(0, 2, 1) @ rotation - np.eye(3)).max() < 1e-6


def test_mixed_is_each_of_the_kinds_and_the_same_scene_as_that_kind(scenes):
    assert {scene.camera_kind for scene in scenes["mixed"]} == {"default", "still", "pan", "orbit"}
    for mixed in scenes["mixed"]:
        alone = scenes[mixed.camera_kind][mixed.seed]
        assert np.array_equal(mixed.motion.cam2world, alone.motion.cam2world)
        assert np.array_equal(mixed.keypoints2d, alone.keypoints2d)


def test_photographs_stand_behind_cameras_that_do_not_turn(library, tmp_path):
    write_image(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    sampler = SceneSampler(library, replace(CONFIG, camera="mixed", images=str(tmp_path)))
    for seed in SEEDS:
        scene = sampler.sample(seed)
        assert bool(scene.images) == (scene.camera_kind in ("default", "still"))
        assert not scene.images or np.ptp(scene.motion.cam2world, axis=0).max() == 0
