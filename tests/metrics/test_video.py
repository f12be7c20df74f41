"""Picture metrics: known values."""

from __future__ import annotations

import numpy as np
import pytest

from unimo.metrics.video import box_downsampled, colors_at, psnr_db


def test_psnr_of_a_uniform_error_is_known() -> None:
    dark = np.zeros((3, 8, 8, 3), np.uint8)
    assert psnr_db(dark + 255, dark) == pytest.approx(0.0)
    assert psnr_db(dark + 16, dark) == pytest.approx(20 * np.log10(255 / 16))
    assert psnr_db(dark, dark) > 140


def test_psnr_in_a_mask_sees_only_its_pixels() -> None:
    target = np.zeros((2, 8, 8, 3), np.uint8)
    copy, mask = target.copy(), np.zeros((2, 8, 8), bool)
    copy[:, :, :4], mask[:, :, 4:] = 99, True
    assert psnr_db(copy, target, mask) > 140
    assert psnr_db(copy, target, ~mask) == pytest.approx(20 * np.log10(255 / 99))
    assert np.isnan(psnr_db(copy, target, np.zeros_like(mask)))


def test_psnr_does_not_wrap_around() -> None:
    low, high = np.full((1, 4, 4, 3), 1, np.uint8), np.full((1, 4, 4, 3), 254, np.uint8)
    assert psnr_db(low, high) == psnr_db(high, low) == pytest.approx(20 * np.log10(255 / 253))


def test_psnr_is_symmetric_forgives_what_both_share_and_nothing_else() -> None:
    real = np.random.default_rng(0).integers(40, 200, (2, 8, 9, 3), np.uint8)
    drawn = real + np.random.default_rng(1).integers(0, 20, real.shape, np.uint8)
    value = psnr_db(drawn, real)
    for same in ((real, drawn), (drawn + 30, real + 30), (255 - drawn, 255 - real), (drawn[:, ::-1], real[:, ::-1])):
        assert psnr_db(*same) == pytest.approx(value)
    for other in (drawn + 10, 255 - drawn, drawn[:, ::-1]):
        assert psnr_db(other, real) < value - 1


def test_the_downsampled_copy_keeps_means_and_loses_detail() -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    copy = box_downsampled(frames, 16)
    assert copy.shape == frames.shape and copy.dtype == np.uint8
    assert abs(copy.mean() - frames.mean()) < 1 and copy.std() < 0.1 * frames.std()
    flat = np.full((1, 32, 32, 3), 77, np.uint8)
    np.testing.assert_array_equal(box_downsampled(flat), flat)


def test_colors_are_those_of_the_pixels_around_a_point() -> None:
    frames = np.zeros((2, 10, 12, 3), np.uint8)
    frames[1, 3:6, 6:9] = (10, 20, 30)
    points = np.array([[[7.5, 4.5], [12.0, 4.0]], [[7.5, 4.5], [-0.1, 4.0]]])
    colors = colors_at(frames, points)
    np.testing.assert_array_equal(colors[:, 0], [[0, 0, 0], [10, 20, 30]])
    assert np.isnan(colors[:, 1]).all()
    assert np.isnan(colors_at(frames, np.full((2, 1, 2), np.nan))).all()
