"""Frame times: a clip's own ↔ a fixed rate.

In: a stream of (time in seconds, frame) in rising order of time, evenly spaced or not. Out: the same at a fixed
rate, each frame the nearest one in time (never relabelled), while a `SourceTimeline` notes both sets of times, so
that results at the fixed rate can be brought back to the clip's own frames.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from unimo.errors import InputError


class SourceTimeline:
    """Both clocks of a resampled clip; filled while `resample_stream` runs, whole when it has ended.

    Args:
        fps: frames per second of the fixed rate.

    Raises:
        InputError: fps is not a positive number.
    """

    def __init__(self, fps: float) -> None:
        if not (math.isfinite(fps) and fps > 0):
            raise InputError(f"a frame rate must be a positive number, not {fps}")
        self.fps = float(fps)
        self._source_times: list[float] = []
        self._source_indices: list[int] = []

    @property
    def source_times(self) -> np.ndarray:
        """Times of the clip's own frames, float64 (N,), seconds."""
        return np.array(self._source_times, np.float64)

    @property
    def target_times(self) -> np.ndarray:
        """Times of the resampled frames, float64 (M,), seconds on the clip's clock: first source time + k / fps."""
        start = self._source_times[0] if self._source_times else 0.0
        return start + np.arange(len(self._source_indices)) / self.fps

    @property
    def target_positions(self) -> np.ndarray:
        """Where each source frame lies among the resampled ones, float64 (N,) in [0, M-1], for interpolation."""
        last = max(len(self._source_indices) - 1, 0)
        return np.clip((self.source_times - self.target_times[:1]) * self.fps, 0, last)


def resample_stream(
    frames: Iterable[tuple[float, np.ndarray]], fps: float, timeline: SourceTimeline | None = None
) -> Iterator[tuple[float, np.ndarray]]:
    """Brings a stream of frames to a fixed rate by the nearest source frame in time; holds one frame at a time.

    The clip's length in seconds is kept: N evenly spaced frames of rate r become about N·fps/r.

    Args:
        frames: (time in seconds, frame), times rising.
        fps: the wanted rate, frames per second.
        timeline: notes both clocks for the way back; made with the same fps.

    Yields:
        (time, frame): time = first source time + k / fps, in seconds on the clip's own clock.

    Raises:
        InputError: bad fps, or another fps than the timeline's.
    """
    timeline = SourceTimeline(fps) if timeline is None else timeline
    if timeline.fps != fps:
        raise InputError(f"the timeline was made for {timeline.fps} frames per second, not {fps}")
    return _resample(frames, timeline)


def _resample(
    frames: Iterable[tuple[float, np.ndarray]], timeline: SourceTimeline
) -> Iterator[tuple[float, np.ndarray]]:
    times, indices = timeline._source_times, timeline._source_indices
    times.clear()
    indices.clear()
    held: np.ndarray | None = None
    for time, frame in frames:
        times.append(time)
        while held is not None and times[0] + len(indices) / timeline.fps <= (times[-2] + time) / 2:
            target = times[0] + len(indices) / timeline.fps
            indices.append(len(times) - 2)
            yield target, held
        held = frame
    if held is None:
        return
    for _ in range(_total(times, timeline.fps) - len(indices)):
        target = times[0] + len(indices) / timeline.fps
        indices.append(len(times) - 1)
        yield target, held


def _total(times: list[float], fps: float) -> int:
    """How many frames the whole clip has at the fixed rate; the last source frame lasts one source interval."""
    if len(times) == 1:
        return 1
    mean = (times[-1] - times[0]) / (len(times) - 1)
    extent = times[-1] - times[0] + min(mean, times[-1] - times[-2])
    # a quarter of a frame of slack, or times rounded to milliseconds (webm) would add a frame
    return max(1, math.ceil(extent * fps - 0.25))
