"""`FrameSource`: where a clip's frames come from, a file or an array, read as often as wanted without holding them.

In: a video file, or uint8 frames (T, H, W, 3) with their rate. Out: an iterable of (seconds, frame) that starts anew
each time, and the clip's size and rate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from unimo.errors import InputError
from unimo.media.video import check_whole, iter_frames, probe


@dataclass(frozen=True, eq=False)
class FrameSource:
    """A clip that can be read again and again.

    Attributes:
        name: file name, or "frames" for an array.
        height, width: pixels of the upright picture.
        fps: mean frames per second.
        frames: how many there are; for a file what it declares.
        path: the file, if it is one.
    """

    name: str
    height: int
    width: int
    fps: float
    frames: int
    path: Path | None = None
    _array: np.ndarray | None = field(default=None, repr=False)

    @classmethod
    def of(cls, video: str | Path | np.ndarray, fps: float | None = None, limit: int | None = None) -> FrameSource:
        """Opens a clip.

        Args:
            video: a file, or uint8 (T, H, W, 3) RGB.
            fps: rate of an array; a file knows its own.
            limit: use at most this many frames.

        Raises:
            InputError: see `probe` and `check_whole`; an array of another kind or without a rate; a limit below 1.
        """
        if limit is not None and limit < 1:
            raise InputError(f"the number of frames must be at least 1, not {limit}")
        if isinstance(video, np.ndarray):
            if video.dtype != np.uint8 or video.ndim != 4 or video.shape[-1] != 3 or 0 in video.shape:
                raise InputError(f"frames must be uint8 (T, H, W, 3) RGB, not {video.dtype} {video.shape}")
            if fps is None or not fps > 0:
                raise InputError("frames in an array have no rate of their own", None, "give fps=…")
            count = min(len(video), limit or len(video))
            return cls("frames", video.shape[1], video.shape[2], float(fps), count, None, video[:count])
        info = probe(video)
        check_whole(video, limit)
        path = Path(video).expanduser()
        return cls(path.name, info.height, info.width, info.fps, min(info.frames, limit or info.frames), path)

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        if self._array is not None:
            return iter((index / self.fps, frame) for index, frame in enumerate(self._array))
        assert self.path is not None
        return islice(iter_frames(self.path), self.frames)
