"""Still pictures of every kind that users bring, and what a bad one gets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unimo.errors import InputError
from unimo.media import images
from unimo.media.images import read_image, write_image

from .conftest import quadrants


def near(first: np.ndarray, second: np.ndarray, tolerance: int = 12) -> bool:
    inner = (slice(8, None, 30), slice(8, None, 30))
    return first.shape == second.shape and np.abs(first[inner].astype(int) - second[inner]).max() <= tolerance


def test_png_with_alpha_lies_over_white(tmp_path: Path) -> None:
    rgba = np.dstack([quadrants(), np.full((48, 64), 255, np.uint8)])
    rgba[:24, :32, 3] = 0
    rgba[24:, :32, 3] = 128
    Image.fromarray(rgba).save(tmp_path / "a.png")
    pixels = read_image(tmp_path / "a.png")
    assert pixels.dtype == np.uint8
    assert pixels[5, 5].tolist() == [255, 255, 255]
    assert pixels[40, 5].tolist() == [127, 127, 255]
    assert pixels[5, 60].tolist() == [0, 255, 0]


@pytest.mark.parametrize(
    ("tag", "undo"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: np.rot90(a, 2)),
        (6, lambda a: np.rot90(a, 1)),
        (8, lambda a: np.rot90(a, -1)),
    ],
)
def test_exif_rotation(tmp_path: Path, tag: int, undo) -> None:
    exif = Image.Exif()
    exif[0x0112] = tag
    stored = np.ascontiguousarray(undo(quadrants()))  # as the sensor saw it
    Image.fromarray(stored).save(tmp_path / "a.jpg", quality=95, subsampling=0, exif=exif)
    assert near(read_image(tmp_path / "a.jpg"), quadrants())


def test_grey_sixteen_bit_cmyk_palette(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 48 * 64).reshape(48, 64).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    grey = read_image(tmp_path / "deep.png")
    assert grey.shape == (48, 64, 3)
    assert np.abs(grey[..., 0].astype(float) - ramp / 257).max() <= 0.5

    Image.fromarray((ramp >> 8).astype(np.uint8)).save(tmp_path / "grey.png")
    assert np.array_equal(read_image(tmp_path / "grey.png")[..., 1], ramp >> 8)

    Image.fromarray(quadrants()).convert("CMYK").save(tmp_path / "print.jpg", quality=95, subsampling=0)
    assert near(read_image(tmp_path / "print.jpg"), quadrants(), 20)

    palette = Image.fromarray(quadrants()).quantize(8)
    palette.save(tmp_path / "palette.png", transparency=palette.getpixel((0, 0)))
    wanted = quadrants()
    wanted[:24, :32] = 255
    assert near(read_image(tmp_path / "palette.png"), wanted)


@pytest.mark.parametrize(("name", "exact"), [("new/a.png", True), ("a.jpg", False), ("a.webp", False)])
def test_written_pictures_come_back(tmp_path: Path, name: str, exact: bool) -> None:
    write_image(tmp_path / name, quadrants())
    assert near(read_image(tmp_path / name), quadrants(), 0 if exact else 20)


def test_write_refusals(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'.xyz'"):
        write_image(tmp_path / "a.xyz", quadrants())
    with pytest.raises(InputError, match="uint8"):
        write_image(tmp_path / "a.png", quadrants() / 255)
    assert not list(tmp_path.iterdir())


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_image(path)
    assert str(path) in str(caught.value) and "try: " in str(caught.value)
    return caught.value.what


def test_bad_files(tmp_path: Path) -> None:
    assert "no such image file" in refusal(tmp_path / "none.png")
    assert "folder, not an image" in refusal(tmp_path)
    (tmp_path / "text.png").write_text("this is no picture\n" * 20)
    assert "not an image that can be read" in refusal(tmp_path / "text.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:3000])
    assert "damaged" in refusal(tmp_path / "cut.png")
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    assert "1×1 pixels: too small, the minimum is 16×16" in refusal(tmp_path / "dot.png")
    Image.new("F", (32, 32)).save(tmp_path / "float.tiff")
    assert "range is not stated" in refusal(tmp_path / "float.tiff")


def test_decompression_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("1", (13400, 13400)).save(tmp_path / "bomb.png")
    assert "million pixels" in refusal(tmp_path / "bomb.png")
    Image.new("RGB", (64, 64)).save(tmp_path / "small.png")
    monkeypatch.setattr(images, "MAX_PIXELS", 64 * 64 - 1)
    assert "million pixels" in refusal(tmp_path / "small.png")
