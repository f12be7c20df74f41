"""Sensor noise: its strength is the one asked for, it grows with the light, and one seed gives one noise."""

from __future__ import annotations

import numpy as np
import pytest

from unimo.synth.sensor import add_noise


def noise(level: int, sigma: float, seed: int = 0) -> np.ndarray:
    frames = np.full((2, 64, 64, 3), level, np.uint8)
    return add_noise(frames, sigma, np.random.default_rng(seed)).astype(float) - level


def test_strength_is_as_asked_at_mid_grey_and_grows_with_light():
    assert noise(127, 5.0).std() == pytest.approx(5.0, rel=0.03)
    assert abs(noise(127, 5.0).mean()) < 0.1
    assert noise(40, 5.0).std() < 0.9 * noise(127, 5.0).std() < 0.9 * noise(210, 5.0).std()


def test_one_seed_one_noise_and_frames_differ():
    assert np.array_equal(noise(127, 3.0, 1), noise(127, 3.0, 1))
    assert not np.array_equal(noise(127, 3.0, 1), noise(127, 3.0, 2))
    first, second = noise(127, 3.0)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.05


def test_no_noise_gives_the_frames_back_and_bad_input_is_refused():
    frames = np.zeros((1, 4, 4, 3), np.uint8)
    assert add_noise(frames, 0.0, np.random.default_rng(0)) is frames
    with pytest.raises(ValueError, match="sigma >= 0"):
        add_noise(frames, -1.0, np.random.default_rng(0))
    with pytest.raises(ValueError, match="uint8"):
        add_noise(frames.astype(float), 1.0, np.random.default_rng(0))
