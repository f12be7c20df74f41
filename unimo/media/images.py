"""Image files ↔ arrays.

In: any still image that Pillow reads. Out: uint8 RGB arrays (H, W, 3), as the picture is meant to be seen: EXIF
rotation applied, transparency laid over white, 16-bit and CMYK brought to 8-bit RGB. Of an animated file the first
frame is read. Colour profiles are not applied: values are taken as sRGB.
"""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from unimo.errors import InputError
from unimo.files import atomic_write
from unimo.media.checks import check_file, check_size

MAX_PIXELS = 178_956_970
"""Largest picture that is decoded (537 MB as RGB); beyond it a file is taken for a decompression bomb."""

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


def read_image(path: str | Path) -> np.ndarray:
    """Reads one picture.

    Args:
        path: PNG, JPEG, WebP, TIFF, BMP, GIF or whatever else Pillow reads.

    Returns:
        uint8 (H, W, 3) RGB.

    Raises:
        InputError: missing, a folder, unreadable, damaged, smaller than 16×16 or larger than `MAX_PIXELS`.
    """
    path = check_file(path, "image")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is checked below
            with Image.open(path) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise Image.DecompressionBombError
                check_size(image.width, image.height, path, "image")
                pixels = _to_rgb(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:
        fix = "make it smaller first; 2000 pixels on the long side are plenty"
        raise InputError(f"the image has more than {MAX_PIXELS // 10**6} million pixels", str(path), fix) from error
    except Image.UnidentifiedImageError as error:
        fix = "give a PNG or JPEG file; convert HEIC and raw photographs first (for a video: `unimo capture --video`)"
        raise InputError("this file is not an image that can be read", str(path), fix) from error
    except (OSError, ValueError, SyntaxError, EOFError, struct.error) as error:
        fix = "copy or download it again, or save it as a PNG with another program"
        raise InputError(f"the image is damaged or of an unknown kind ({error})", str(path), fix) from error
    return pixels


def write_image(path: str | Path, image: np.ndarray) -> None:
    """Writes one picture, whole or not at all.

    Args:
        path: ends in .png (lossless), .jpg/.jpeg (quality 95) or .webp (quality 95).
        image: uint8 (H, W, 3) RGB.

    Raises:
        InputError: unknown suffix, or an array of another type or shape.
    """
    path = Path(path)
    file_format = _FORMATS.get(path.suffix.lower())
    if file_format is None:
        raise InputError(f"cannot write an image as '{path.suffix}'", str(path), f"use one of {', '.join(_FORMATS)}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} {image.shape}"
        raise InputError(f"an image must be uint8 (H, W, 3), not {found}", str(path), "convert the array first")
    with atomic_write(path) as temporary:
        Image.fromarray(np.ascontiguousarray(image)).save(temporary, format=file_format, quality=95)


def _to_rgb(image: Image.Image) -> np.ndarray:
    """Brings a picture of any Pillow mode to uint8 RGB (H, W, 3), transparency over white."""
    if image.mode == "F":
        raise ValueError("floating-point pixels, whose range is not stated in the file")
    if image.mode.startswith("I"):
        # Pillow's own conversion clips at 255 instead of scaling
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("32-bit integer pixels, whose range is not stated in the file")
        return np.repeat(((values + 128) // 257).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode in ("RGBa", "La"):
        image = image.convert(image.mode.upper())  # premultiplied alpha has no other conversion
    if "A" in image.getbands() or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        image.alpha_composite(layer)
    return np.array(image.convert("RGB"))
