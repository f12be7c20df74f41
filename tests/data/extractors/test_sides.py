"""Frames in which left and right are mistaken are mended; those in which a person really turns or crosses are not."""

from __future__ import annotations

import numpy as np

from unimo.data.extractors.mediapipe_process import LandmarkTrack
from unimo.data.extractors.sides import LEFT, RIGHT, mend_sides

FRAMES, FPS = 30, 15.0


def walk(width: np.ndarray) -> LandmarkTrack:
    """A person 400 pixels tall whose left side is `width` (T,) pixels to the right of the right one."""
    heights = np.linspace(50, 450, 33)
    image = np.stack([np.tile(300.0, (FRAMES, 33)), np.tile(heights, (FRAMES, 1))], -1)
    for left, right in zip(LEFT, RIGHT, strict=True):
        image[:, right, 1] = image[:, left, 1]
        image[:, left, 0] += width / 2
        image[:, right, 0] -= width / 2
    world = np.random.default_rng(0).normal(size=(FRAMES, 33, 3))
    visibility = np.tile(np.linspace(0, 1, 33), (FRAMES, 1)).astype(np.float32)
    return LandmarkTrack(np.arange(FRAMES), world, image, visibility)


def mistaken(track: LandmarkTrack, frames: np.ndarray) -> LandmarkTrack:
    """MediaPipe's mistake: names of the sides changed, front for back."""
    order = np.arange(33)
    order[[*LEFT, *RIGHT]] = [*RIGHT, *LEFT]
    world, image, visibility = track.world.copy(), track.image.copy(), track.visibility.copy()
    world[frames] = world[frames][:, order] * [1, 1, -1]
    image[frames], visibility[frames] = image[frames][:, order], visibility[frames][:, order]
    return LandmarkTrack(track.frames, world, image, visibility)


def test_mistaken_frames_are_mended() -> None:
    true = walk(np.full(FRAMES, 90.0))
    frames = np.array([4, 5, 6, 12, 20, 21, 28])
    mended, changed = mend_sides(mistaken(true, frames), FPS)
    assert np.flatnonzero(changed).tolist() == frames.tolist()
    for name in ("world", "image", "visibility"):
        assert np.allclose(getattr(mended, name), getattr(true, name)), name


def test_a_turn_is_left_alone() -> None:
    """From front to back: the sides pass each other, nothing jumps."""
    true = walk(90 * np.cos(np.linspace(0, np.pi, FRAMES)))
    mended, changed = mend_sides(true, FPS)
    assert not changed.any() and np.array_equal(mended.image, true.image)


def test_the_sides_that_most_frames_say_are_kept() -> None:
    true = walk(np.full(FRAMES, 90.0))
    _, changed = mend_sides(mistaken(true, np.arange(8, FRAMES)), FPS)
    assert np.flatnonzero(changed).tolist() == list(range(8))


def test_a_single_frame_stays() -> None:
    whole = walk(np.full(FRAMES, 90.0))
    one = LandmarkTrack(whole.frames[:1], whole.world[:1], whole.image[:1], whole.visibility[:1])
    assert not mend_sides(one, FPS)[1].any()
