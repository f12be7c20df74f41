"""Pictures of any shape ↔ the model's square, and points in them.

In: uint8 frames (..., H, W, 3), or points in source pixels. Out: frames (..., side, side, 3) with the picture
centred between black bars, or points in pixels of the square; and back. One scale for both axes and the picture's
centre at the square's centre, so that a focal length of f source pixels is exactly f·scale in the square. Pixel
centres are index + 0.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from unimo.errors import InputError

_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Letterbox:
    """The map square = source · scale + (pad_x, pad_y), for pictures and for points.

    Only square pixels that the picture covers wholly are painted: where a bar ends inside a pixel, that pixel stays
    black (less than one pixel on each side). Points are mapped exactly, whatever the sizes.

    Args:
        src_h, src_w: height and width of the source in pixels.
        side: side of the square in pixels.

    Raises:
        InputError: a size below one, or a source so narrow that nothing of it is left in the square.
    """

    src_h: int
    src_w: int
    side: int

    def __post_init__(self) -> None:
        if min(self.src_h, self.src_w, self.side) < 1:
            raise InputError(f"sizes must be at least 1 pixel, not {self.src_h}×{self.src_w} into {self.side}")
        if min(self._content()[2:]) < 1:
            what = f"a picture of {self.src_w}×{self.src_h} pixels is too narrow for a square of {self.side}"
            raise InputError(what, None, "crop it around the person first")

    @property
    def scale(self) -> float:
        """Square pixels per source pixel, the same along x and y."""
        return self.side / max(self.src_h, self.src_w)

    @property
    def pad_x(self) -> float:
        """Where the source's left edge stands in the square, in pixels (a fraction is possible)."""
        return (self.side - self.src_w * self.scale) / 2

    @property
    def pad_y(self) -> float:
        """Where the source's upper edge stands in the square, in pixels (a fraction is possible)."""
        return (self.side - self.src_h * self.scale) / 2

    def to_square(self, points: ArrayLike) -> np.ndarray:
        """Maps points (..., 2) in source pixels (x, y) to pixels of the square, float64."""
        return np.asarray(points, np.float64) * self.scale + (self.pad_x, self.pad_y)

    def from_square(self, points: ArrayLike) -> np.ndarray:
        """Maps points (..., 2) in pixels of the square (x, y) to source pixels, float64; the inverse of `to_square`."""
        return (np.asarray(points, np.float64) - (self.pad_x, self.pad_y)) / self.scale

    def intrinsics_to_square(self, intrinsics: np.ndarray) -> np.ndarray:
        """Maps camera matrices (..., 3, 3) of the source, in pixels, to those of the square, float64."""
        forward = np.array([[self.scale, 0, self.pad_x], [0, self.scale, self.pad_y], [0, 0, 1]])
        return forward @ np.asarray(intrinsics, np.float64)

    def intrinsics_from_square(self, intrinsics: np.ndarray) -> np.ndarray:
        """Maps camera matrices (..., 3, 3) of the square to those of the source, float64."""
        scale = self.scale
        inverse = np.array([[1 / scale, 0, -self.pad_x / scale], [0, 1 / scale, -self.pad_y / scale], [0, 0, 1]])
        return inverse @ np.asarray(intrinsics, np.float64)

    def apply(self, frames: np.ndarray) -> np.ndarray:
        """Resizes (antialiased) and pads: uint8 (..., src_h, src_w, 3) → uint8 (..., side, side, 3).

        Raises:
            InputError: frames of another size or type.
        """
        self._check(frames, self.src_h, self.src_w)
        left, top, width, height = self._content()
        box = (
            max((left - self.pad_x) / self.scale, 0.0),
            max((top - self.pad_y) / self.scale, 0.0),
            min((left + width - self.pad_x) / self.scale, float(self.src_w)),
            min((top + height - self.pad_y) / self.scale, float(self.src_h)),
        )
        square = np.zeros((*frames.shape[:-3], self.side, self.side, 3), np.uint8)
        for index in np.ndindex(*frames.shape[:-3]):
            square[index][top : top + height, left : left + width] = _resize(frames[index], (width, height), box)
        return square

    def invert(self, frames: np.ndarray) -> np.ndarray:
        """Cuts the bars off and resizes back: uint8 (..., side, side, 3) → uint8 (..., src_h, src_w, 3).

        What stood at a point of the source stands there again (blurred where the square is smaller); bars never leak
        in.

        Raises:
            InputError: frames of another size or type.
        """
        self._check(frames, self.side, self.side)
        left, top, width, height = self._content()
        source = np.zeros((*frames.shape[:-3], self.src_h, self.src_w, 3), np.uint8)
        # one pixel of border stands for the partly covered pixels that `apply` left black
        x, y = self.pad_x - left + 1, self.pad_y - top + 1
        box = (x, y, x + self.src_w * self.scale, y + self.src_h * self.scale)
        for index in np.ndindex(*frames.shape[:-3]):
            content = frames[index][top : top + height, left : left + width]
            bordered = np.pad(content, ((1, 1), (1, 1), (0, 0)), mode="edge")
            source[index] = _resize(bordered, (self.src_w, self.src_h), box)
        return source

    def _content(self) -> tuple[int, int, int, int]:
        """Left, top, width and height of the square's wholly covered pixels."""
        left, top = math.ceil(self.pad_x - _TOLERANCE), math.ceil(self.pad_y - _TOLERANCE)
        return left, top, self.side - 2 * left, self.side - 2 * top

    @staticmethod
    def _check(frames: np.ndarray, height: int, width: int) -> None:
        if frames.dtype != np.uint8 or frames.ndim < 3 or frames.shape[-3:] != (height, width, 3):
            found = f"{frames.dtype} {frames.shape}"
            raise InputError(f"frames must be uint8 (..., {height}, {width}, 3), not {found}")


def _resize(image: np.ndarray, size: tuple[int, int], box: tuple[float, float, float, float]) -> np.ndarray:
    """Resamples the part `box` (left, top, right, bottom) of an image to `size` (width, height), antialiased."""
    if size == (image.shape[1], image.shape[0]) and box == (0, 0, *size):
        return image
    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(picture.resize(size, Image.Resampling.BICUBIC, box=box))
