"""Pictures of real data sets for clips: folders of images or videos in, squares around the principal point out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from unimo.errors import InputError
from unimo.media.images import read_image
from unimo.media.letterbox import Letterbox
from unimo.media.video import iter_frames
from unimo.media.video_writer import write_video
from unimo.motion.motion import Motion
from unimo.motion.npz import save_motion

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
# by how much the two focal lengths of a camera may differ: the tokens know one
_SQUARE_PIXELS = 0.02


class Pictures(Protocol):
    """Pictures by number."""

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """uint8 (T,H,W,3) of rising picture numbers (T,).

        Raises:
            InputError: one is missing.
        """
        ...


class ImageFolder:
    """Images whose names hold their numbers: `image_00012.jpg`, `00012_00.jpeg` (number, then camera)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[int, Path] = {}
        for path in sorted(folder.iterdir()):
            digits = re.findall(r"\d+", path.stem)
            if path.suffix.lower() in _SUFFIXES and digits:
                self._files[int(digits[0])] = path

    def read(self, numbers: np.ndarray) -> np.ndarray:
        missing = [int(number) for number in numbers if int(number) not in self._files]
        if missing:
            raise InputError(f"picture {missing[0]} is not here", str(self.folder), "fetch the sequence's pictures")
        return np.stack([read_image(self._files[int(number)]) for number in numbers])


class VideoFile:
    """A video whose pictures count from 0."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, numbers: np.ndarray) -> np.ndarray:
        wanted, last = {int(number) for number in numbers}, int(max(numbers))
        found = {}
        for index, (_, frame) in enumerate(iter_frames(self.path)):
            if index in wanted:
                found[index] = frame
            if index == last:
                break
        if missing := sorted(wanted - set(found)):
            raise InputError(f"the video ends before picture {missing[0]}", str(self.path), "is it the whole video?")
        return np.stack([found[int(number)] for number in numbers])


def find_images(data: Path, place: str) -> Path:
    """The folder of a sequence's images: `place` under the data set's folder, or with a folder between (a split).

    Raises:
        InputError: it is not there.
    """
    first, *rest = Path(place).parts
    tail = Path(*rest)
    for folder in (data, data.parent, data.parent.parent):
        candidates: Iterable[Path] = [folder / first / tail, *sorted((folder / first).glob(f"*/{tail.as_posix()}"))]
        if found := next((path for path in candidates if path.is_dir()), None):
            return found
    raise InputError("the pictures of a sequence are not here", str(data / place), "give the data set's own folder")


@dataclass(frozen=True)
class CentredSquare:
    """Pictures in a square whose middle is the camera's principal point, as tokens want it.

    Bars are added on the side that is short of pixels, to within half a pixel of the source; then all is made smaller.

    Attributes:
        bars: black pixels added left, right, above and below.
        box: of the picture with its bars.
        intrinsics: (3,3) of the square, principal point in its middle.
    """

    bars: tuple[int, int, int, int]
    box: Letterbox
    intrinsics: np.ndarray

    @classmethod
    def of(cls, height: int, width: int, intrinsics: np.ndarray, side: int) -> CentredSquare:
        """The square of a camera.

        Args:
            height, width: of the pictures in pixels.
            intrinsics: (3,3) pixels; skew and lens distortion are not undone.
            side: pixels of the square.

        Raises:
            InputError: pixels that are not square, or a principal point outside the picture.
        """
        focal_x, focal_y = float(intrinsics[0, 0]), float(intrinsics[1, 1])
        centre_x, centre_y = float(intrinsics[0, 2]), float(intrinsics[1, 2])
        if not focal_x > 0 or abs(focal_y / focal_x - 1) > _SQUARE_PIXELS:
            raise InputError(f"the camera has two focal lengths, {focal_x:.0f} and {focal_y:.0f} pixels")
        if not (0 < centre_x < width and 0 < centre_y < height):
            what = f"the principal point ({centre_x:.0f}, {centre_y:.0f}) lies outside {width}×{height} pixels"
            raise InputError(what, None, "are the pictures of the camera's own size?")
        wide, high = round(width - 2 * centre_x), round(height - 2 * centre_y)
        bars = (max(wide, 0), max(-wide, 0), max(high, 0), max(-high, 0))
        box = Letterbox(height + abs(high), width + abs(wide), side)
        focal = (focal_x + focal_y) / 2 * box.scale
        camera = np.array([[focal, 0, side / 2], [0, focal, side / 2], [0, 0, 1]])
        return cls(bars, box, camera)

    def apply(self, frames: np.ndarray) -> np.ndarray:
        """uint8 (T,H,W,3) → (T,side,side,3)."""
        left, right, above, below = self.bars
        return self.box.apply(np.pad(frames, ((0, 0), (above, below), (left, right), (0, 0))))


def write_clip(folder: Path, frames: np.ndarray, motion: Motion, intrinsics: np.ndarray) -> None:
    """Writes one clip as `unimo synth` lays it out, with an empty mask, since nobody has masks here."""
    folder.mkdir(parents=True)
    motion = replace(motion, intrinsics=intrinsics)
    write_video(folder / "rgb.mp4", frames, motion.fps, crf=4, full_chroma=True, reproducible=True)
    save_motion(folder / "motion.npz", motion)
    count, height, width = frames.shape[:3]
    mask = np.zeros((count, height, (width + 7) // 8), np.uint8)
    with (folder / "annotations.npz").open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, mask=mask, intrinsics=intrinsics)
