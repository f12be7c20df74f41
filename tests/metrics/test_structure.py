"""SSIM, multi-scale SSIM, GMSD and sharpness: the numbers of other implementations, and what must hold anyway."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from unimo.metrics.structure import gmsd, ms_ssim, sharpness_ratio, ssim

Measure = Callable[..., Any]


def pictures() -> tuple[np.ndarray, np.ndarray]:
    """Ours and real, (2, 192, 176, 3): whole-number arithmetic, so that they are the same everywhere."""
    t, y, x, c = np.ogrid[:2, :192, :176, :3]
    real = (3 * x + 2 * y + 40 * ((x // 16 + y // 12) % 3) + 17 * c + 29 * t) % 256
    ours = real // 2 + 60 + (x * y + 5 * c) % 23
    return ours.astype(np.uint8), real.astype(np.uint8)


def scene() -> np.ndarray:
    """A smooth random video (3, 64, 72, 3) with edges."""
    noise = np.random.default_rng(0).normal(size=(3, 64, 72, 3))
    smooth = gaussian_filter(noise, (0, 3, 3, 0))
    return np.where(smooth > 0, 180 + 300 * smooth, 60 + 300 * smooth).clip(0, 255).astype(np.uint8)


def blurred(frames: np.ndarray, sigma: float) -> np.ndarray:
    return gaussian_filter(frames.astype(np.float64), (0, sigma, sigma, 0)).round().astype(np.uint8)


def noisy(frames: np.ndarray, sigma: float) -> np.ndarray:
    noise = np.random.default_rng(1).normal(size=frames.shape)
    return (frames + sigma * noise).round().clip(0, 255).astype(np.uint8)


def test_ssim_is_that_of_scikit_image() -> None:
    ours, real = pictures()
    # scikit-image 0.26.0: structural_similarity(gaussian_weights=True, use_sample_covariance=False, channel_axis=-1)
    assert ssim(ours, real) == pytest.approx(0.6910216334619459, abs=1e-9)
    assert ssim(ours / 255, real / 255, data_range=1.0) == pytest.approx(0.691021633461946, abs=1e-9)
    mask = np.zeros(ours.shape[:3], bool)
    mask[0, :50, 100:] = mask[1, 90:, :30] = True
    assert ssim(ours, real, mask) == pytest.approx(0.6893301820745469, abs=1e-9)


@pytest.mark.parametrize(
    ("scales", "expected"), [(1, 0.6910234), (2, 0.7678307), (3, 0.7909252), (4, 0.7981553), (5, 0.8000789)]
)
def test_ms_ssim_is_that_of_pytorch_msssim(scales: int, expected: float) -> None:
    # pytorch-msssim 1.0.0 with the first weights scaled to sum 1; its Gaussian is single precision
    assert ms_ssim(*pictures(), scales) == pytest.approx(expected, abs=5e-6)


def test_gmsd_is_that_of_piq() -> None:
    # piq 0.8.0; it divides by n where the authors divide by n - 1
    assert gmsd(*pictures()) == pytest.approx(0.067292266, rel=1e-4)


def test_ssim_of_flat_pictures_is_the_luminance_factor() -> None:
    dark, light = np.full((2, 16, 16, 3), 50, np.uint8), np.full((2, 16, 16, 3), 100, np.uint8)
    c1 = 2.55**2
    assert ssim(dark, light) == pytest.approx((2 * 50 * 100 + c1) / (50**2 + 100**2 + c1))
    assert ms_ssim(dark, light, 1) == pytest.approx(ssim(dark, light))


def test_the_negative_of_a_picture_is_unlike_it() -> None:
    real = scene()
    assert ssim(255 - real, real) < 0.2
    assert 0 <= ms_ssim(255 - real, real) < 0.2


def test_gmsd_of_one_edge_is_known() -> None:
    real = np.zeros((1, 8, 8, 3), np.uint8)
    real[:, :, 4:] = 90
    # at half size 4×4 the edge is seen from the columns 1 and 2, and black beyond the border from the right and ends
    steps = np.array([[0, 60, 60, 60], [0, 90, 90, 90], [0, 90, 90, 90], [0, 60, 60, 60]], float)
    steps_y = np.zeros((4, 4))
    steps_y[[0, 3]] = [0, 30, 60, 60]
    squares = steps**2 + steps_y**2
    assert gmsd(np.zeros_like(real), real) == pytest.approx((170 / (squares + 170)).std(ddof=1))


@pytest.mark.parametrize(("measure", "best"), [(ssim, 1.0), (ms_ssim, 1.0), (gmsd, 0.0), (sharpness_ratio, 1.0)])
def test_identical_videos_have_the_perfect_value(measure: Measure, best: float) -> None:
    real = scene()
    assert measure(real, real) == best
    assert measure(real.copy(), real) == best


@pytest.mark.parametrize(("worse", "strengths"), [(blurred, (0.7, 1.5, 3.0)), (noisy, (4, 12, 36))])
@pytest.mark.parametrize(("measure", "sign"), [(ssim, 1), (ms_ssim, 1), (gmsd, -1)])
def test_more_damage_is_a_worse_value(measure: Measure, sign: int, worse: Measure, strengths: Sequence[float]) -> None:
    real = scene()
    values = [sign * measure(frames, real) for frames in (real, *(worse(real, strength) for strength in strengths))]
    assert all(better > following + 1e-3 for better, following in zip(values, values[1:], strict=False))


def test_sharpness_falls_by_blur_and_rises_by_noise() -> None:
    real = scene()
    blur = [sharpness_ratio(blurred(real, sigma), real) for sigma in (0.7, 1.5, 3.0)]
    noise = [sharpness_ratio(noisy(real, sigma), real) for sigma in (5, 10, 20)]
    assert 1 > blur[0] > blur[1] > blur[2] > 0
    assert 1 < noise[0] < noise[1] < noise[2]


def test_sharpness_is_the_square_of_contrast_and_forgets_brightness() -> None:
    real = scene() // 4 * 2
    assert sharpness_ratio(real // 2, real) == pytest.approx(0.25)
    assert sharpness_ratio(real + 90, real) == pytest.approx(1.0)
    assert np.isnan(sharpness_ratio(real, np.full_like(real, 7)))


def test_sharpness_in_a_mask_sees_only_its_pixels() -> None:
    real = scene()
    ours, mask = real.copy(), np.zeros(real.shape[:3], bool)
    ours[:, :, :36], mask[:, :, 40:] = 7, True
    assert sharpness_ratio(ours, real, mask) == pytest.approx(1.0)
    assert sharpness_ratio(ours, real) < 0.9
    assert np.isnan(sharpness_ratio(ours, real, np.zeros_like(mask)))


def test_ssim_in_a_mask_sees_only_windows_around_its_pixels() -> None:
    real = scene()
    ours, mask = real.copy(), np.zeros(real.shape[:3], bool)
    ours[:, :, :30], mask[:, :, 36:] = 255 - ours[:, :, :30], True
    assert ssim(ours, real, mask) == pytest.approx(1.0)
    assert ssim(ours, real, ~mask) < ssim(ours, real) < 0.9
    assert np.isnan(ssim(ours, real, np.zeros_like(mask)))


@pytest.mark.parametrize("measure", [ssim, ms_ssim, gmsd])
def test_sides_may_be_exchanged(measure: Measure) -> None:
    drawn, real = pictures()
    assert measure(real, drawn) == pytest.approx(measure(drawn, real))


@pytest.mark.parametrize("measure", [ssim, ms_ssim])
def test_brightness_is_part_of_similarity(measure: Measure) -> None:
    drawn, real = pictures()
    assert abs(measure(drawn // 2 + 100, real) - measure(drawn // 2, real)) > 0.01


@pytest.mark.parametrize("measure", [ssim, ms_ssim, gmsd, sharpness_ratio])
def test_mirrors_and_the_order_of_frames_do_not_matter(measure: Measure) -> None:
    real = scene()
    ours = noisy(blurred(real, 1.0), 4)
    value = measure(ours, real)
    assert measure(ours[::-1], real[::-1]) == pytest.approx(value)
    if measure is not sharpness_ratio:  # its steps start at the upper left pixel
        assert measure(ours[:, :, ::-1], real[:, :, ::-1]) == pytest.approx(value)
        assert measure(ours.transpose(0, 2, 1, 3), real.transpose(0, 2, 1, 3)) == pytest.approx(value)


@pytest.mark.parametrize("measure", [ssim, ms_ssim, gmsd])
def test_a_batch_is_the_mean_of_its_frames(measure: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    real = scene()
    ours = noisy(real, 10)
    whole = measure(ours, real)
    assert whole == pytest.approx(np.mean([measure(a, b) for a, b in zip(ours, real, strict=True)]))
    assert measure(ours[None], real[None]) == pytest.approx(whole)
    monkeypatch.setattr("unimo.metrics.structure._PIXELS_AT_ONCE", 1)
    assert measure(ours, real) == pytest.approx(whole)


def test_a_mask_fits_frames_taken_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    real = scene()
    ours, mask = noisy(real, 10), scene()[..., 0] > 128
    before = ssim(ours, real, mask), sharpness_ratio(ours, real, mask)
    monkeypatch.setattr("unimo.metrics.structure._PIXELS_AT_ONCE", 1)
    assert (ssim(ours, real, mask), sharpness_ratio(ours, real, mask)) == pytest.approx(before)


def test_wrong_shapes_and_small_pictures_are_refused() -> None:
    real = np.zeros((2, 43, 60, 3), np.uint8)
    for measure in (ssim, ms_ssim, gmsd, sharpness_ratio):
        with pytest.raises(ValueError, match="of one shape"):
            measure(real[:1], real)
    with pytest.raises(ValueError, match="at least 44×44"):
        ms_ssim(real, real)
    with pytest.raises(ValueError, match="at least 11×11"):
        ssim(real[:, :10], real[:, :10])
    with pytest.raises(ValueError, match="1 to 5"):
        ms_ssim(real, real, 6)
