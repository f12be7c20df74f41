"""The square and back: points exactly, pictures where the points say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from unimo.errors import InputError
from unimo.media.letterbox import Letterbox

sizes = st.integers(16, 2000)


@settings(max_examples=100, deadline=None)
@given(sizes, sizes, st.sampled_from([64, 128, 512, 511]), st.integers(0, 2**32 - 1))
def test_points_are_mapped_exactly_and_back(height: int, width: int, side: int, seed: int) -> None:
    assume(max(height, width) / min(height, width) < side / 4)
    box = Letterbox(height, width, side)
    points = np.random.default_rng(seed).uniform(-100, 2100, (5, 4, 2))
    assert np.allclose(box.from_square(box.to_square(points)), points, atol=1e-8)
    assert np.allclose(box.to_square((width / 2, height / 2)), side / 2)
    corners = box.to_square([(0, 0), (width, height)])
    assert np.allclose(corners, [(box.pad_x, box.pad_y), (side - box.pad_x, side - box.pad_y)])
    assert min(box.pad_x, box.pad_y) == pytest.approx(0, abs=1e-9)


def test_projection_commutes_with_intrinsics() -> None:
    box = Letterbox(1920, 1080, 128)
    camera = np.array([[1500.0, 0, 540], [0, 1500, 960], [0, 0, 1]])
    point = np.array([0.3, -0.2, 4.0])
    square = box.intrinsics_to_square(camera)
    pixel, seen = camera @ point, square @ point
    assert np.allclose(box.to_square(pixel[:2] / pixel[2]), seen[:2] / seen[2])
    assert np.allclose(square[:2, 2], 64)
    assert np.allclose(box.intrinsics_from_square(square), camera)


def blob(height: int, width: int, x: float, y: float, sigma: float) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width] + 0.5
    value = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    return np.repeat(value.astype(np.uint8)[..., None], 3, 2)


def centroid(image: np.ndarray) -> np.ndarray:
    weight = image[..., 0].astype(float)
    rows, columns = np.mgrid[: weight.shape[0], : weight.shape[1]] + 0.5
    return np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()


@pytest.mark.parametrize(
    ("height", "width", "side"), [(480, 270, 128), (271, 480, 128), (90, 61, 128), (128, 128, 128)]
)
def test_pictures_follow_the_points(height: int, width: int, side: int) -> None:
    box = Letterbox(height, width, side)
    place = np.array([0.4 * width, 0.6 * height])
    image = blob(height, width, *place, sigma=max(height, width) / 20)
    square = box.apply(image[None])
    assert square.shape == (1, side, side, 3)
    assert np.allclose(centroid(square[0]), box.to_square(place), atol=0.05)
    back = box.invert(square)
    assert back.shape == (1, height, width, 3)
    assert np.allclose(centroid(back[0]), place, atol=0.05 / box.scale + 0.05)
    assert np.abs(back[0].astype(int) - image).mean() < 2


def test_bars_are_black_and_never_leak_back() -> None:
    box = Letterbox(97, 41, 64)
    grey = np.full((2, 97, 41, 3), 180, np.uint8)
    square = box.apply(grey)
    assert set(np.unique(square)) == {0, 180}
    assert np.all(square[:, :, 32] == 180) and np.all(square[:, :, 0] == 0)
    assert np.all(box.invert(square) == 180)


def test_downscaling_is_antialiased() -> None:
    checks = (np.indices((512, 512)).sum(0) % 2 * 255).astype(np.uint8)
    square = Letterbox(512, 512, 64).apply(np.repeat(checks[..., None], 3, 2))
    assert np.abs(square.astype(int) - 127).max() < 12


def test_square_of_the_right_size_is_untouched() -> None:
    image = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), dtype=np.uint8)
    box = Letterbox(64, 64, 64)
    assert np.array_equal(box.apply(image), image) and np.array_equal(box.invert(image), image)


def test_refusals() -> None:
    with pytest.raises(InputError, match="too narrow"):
        Letterbox(2000, 10, 64)
    with pytest.raises(InputError, match="at least 1"):
        Letterbox(0, 10, 64)
    with pytest.raises(InputError, match=r"uint8 \(..., 32, 32, 3\)"):
        Letterbox(32, 32, 64).apply(np.zeros((32, 31, 3), np.uint8))
    with pytest.raises(InputError, match="uint8"):
        Letterbox(32, 32, 64).invert(np.zeros((64, 64, 3), np.float32))
