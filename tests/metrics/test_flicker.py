"""Temporal measures: known values, and what must not count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unimo.metrics.flicker import flicker_error, temporal_flickering

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures" / "metrics" / "vbench_no_model_parts.npz"


def moving_square(steps: int = 6) -> np.ndarray:
    frames = np.full((steps, 24, 32, 3), 40, np.uint8)
    for index in range(steps):
        frames[index, 8:16, 3 * index : 3 * index + 8] = (200, 120, 90)
    return frames


def test_temporal_flickering_of_known_videos() -> None:
    frames = np.zeros((3, 4, 4, 3), np.uint8)
    assert temporal_flickering(frames) == 1
    frames[1] = 255
    assert temporal_flickering(frames) == 0
    frames[1:] = 51
    assert temporal_flickering(frames) == pytest.approx(1 - (0.2 + 0) / 2)
    assert np.isnan(temporal_flickering(frames[:1]))


def test_temporal_flickering_is_vbenchs() -> None:
    with np.load(FIXTURE, allow_pickle=False) as reference:
        # the reference averages in single precision
        assert temporal_flickering(reference["in_video"]) == pytest.approx(
            float(reference["out_temporal_flickering"]), abs=2e-9
        )


def test_flicker_error_of_known_videos() -> None:
    real = np.full((3, 4, 4, 3), 100, np.uint8)
    ours = real.copy()
    ours[1] += 51
    assert flicker_error(ours, real) == pytest.approx(0.2)  # up in one pair, down in the next
    ours[2] += 51
    assert flicker_error(ours, real) == pytest.approx(0.1)
    opposite = np.zeros((2, 4, 4, 3), np.uint8)
    opposite[1] = 255
    assert flicker_error(opposite, opposite[::-1]) == 2


def test_real_motion_and_steady_errors_cost_nothing() -> None:
    real = moving_square()
    assert temporal_flickering(real) < 1
    assert flicker_error(real, real) == 0
    assert flicker_error(real + 30, real) == 0
    pattern = np.random.default_rng(0).integers(0, 40, real.shape[1:], dtype=np.uint8)
    assert flicker_error(real + pattern, real) == 0


def test_a_still_video_is_smooth_but_not_right() -> None:
    real = moving_square()
    still = np.repeat(real[:1], len(real), 0)
    assert temporal_flickering(still) == 1 > temporal_flickering(real)
    assert flicker_error(still, real) == pytest.approx(1 - temporal_flickering(real))


def test_more_flicker_is_a_larger_error_and_time_may_run_backwards() -> None:
    real, rng = moving_square(), np.random.default_rng(0)
    noise = rng.normal(size=real.shape)
    videos = [(real + strength * noise).round().clip(0, 255).astype(np.uint8) for strength in (1, 4, 16)]
    errors = [flicker_error(video, real) for video in videos]
    assert 0 < errors[0] < errors[1] < errors[2]
    assert flicker_error(videos[1][::-1], real[::-1]) == pytest.approx(errors[1])
    assert flicker_error(real, videos[1]) == pytest.approx(errors[1])


def test_flicker_in_a_mask_counts_pixels_of_either_frame() -> None:
    real = np.full((2, 4, 4, 3), 100, np.uint8)
    ours, mask = real.copy(), np.zeros((2, 4, 4), bool)
    ours[1, :2] = 151
    mask[0, 0] = mask[1, 3] = True
    assert flicker_error(ours, real, mask) == pytest.approx(0.1)
    assert flicker_error(ours, real, mask & False | (np.arange(4) == 3)[None, :, None]) == 0
    assert np.isnan(flicker_error(ours, real, np.zeros_like(mask)))
    assert np.isnan(flicker_error(ours[:1], real[:1]))


def test_videos_of_other_shapes_are_refused() -> None:
    real = moving_square()
    with pytest.raises(ValueError, match="one shape"):
        flicker_error(real[1:], real)
    with pytest.raises(ValueError, match="one shape"):
        flicker_error(real[0], real[0])
