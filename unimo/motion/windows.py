"""Long clips by windows: spans of the trained length that cover a clip, and the blending of what they give back.

Spans start every window - overlap frames; the last one is shifted back so that it ends with the clip. A clip shorter
than the window is one span, padded by repeating its last frame and cut back. Overlaps are blended on absolute pelvis
positions (linear) and rotations (slerp). `stream_windows` and `MotionBlender` hold one window in memory, whatever the
length of the clip, which need not be known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

import numpy as np

from unimo.errors import InputError
from unimo.motion.motion import Motion, slerp

Item = TypeVar("Item")


def window_spans(frames: int, window: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Yields (start, stop) of the windows that cover `frames` frames, in order.

    Every span is `window` long, except the only span of a shorter clip. Neighbours share `overlap` frames, the last
    pair possibly more.

    Raises:
        ValueError: frames < 1, window < 1, or overlap outside 0..window - 1.
    """
    _check_window(window, overlap)
    if frames < 1:
        raise ValueError(f"a clip has at least one frame, not {frames}")
    start = 0
    while start + window < frames:
        yield start, start + window
        start += window - overlap
    yield max(frames - window, 0), frames


def stream_windows(items: Iterable[Item], window: int, overlap: int) -> Iterator[tuple[int, int, list[Item]]]:
    """Yields (start, stop, items) with the spans of `window_spans`, from a stream whose length is not known.

    The list is always `window` long: that of a shorter clip is padded by repeating its last item, stop - start says
    how many are real. At most window + 1 items are held. An empty stream yields nothing.

    Raises:
        ValueError: window < 1, or overlap outside 0..window - 1.
    """
    _check_window(window, overlap)
    held: list[Item] = []
    count = 0
    next_start = 0
    for item in items:
        # a window goes out once a further item shows that it is not the last
        if count == next_start + window:
            yield next_start, count, list(held)
            next_start += window - overlap
        held.append(item)
        count += 1
        if len(held) > window:
            del held[0]
    if held:
        yield count - len(held), count, held + [held[-1]] * (window - len(held))


def pad_motion(motion: Motion, frames: int) -> Motion:
    """Returns the motion with its last frame repeated until it has `frames` frames (as it is when it has as many).

    Raises:
        InputError: the motion is longer than `frames`.
    """
    if len(motion) > frames:
        raise InputError(f"a motion of {len(motion)} frames does not fit into {frames}", fix="cut it into windows")
    return _take(motion, np.minimum(np.arange(frames), len(motion) - 1))


def blend(first: Motion, second: Motion, overlap: int) -> Motion:
    """Joins two motions whose last and first `overlap` frames show the same time; 0 puts them end to end.

    Weights go from the first to the second in equal steps, neither end of the overlap being wholly one of them.
    A camera pose is an input that both share, so over the overlap it is that of the second.

    Raises:
        InputError: the two differ in fps, axes, body, intrinsics or in having cam2world.
        ValueError: overlap is negative or longer than either motion.
    """
    if not 0 <= overlap <= min(len(first), len(second)):
        raise ValueError(f"an overlap of {overlap} does not fit motions of {len(first)} and {len(second)} frames")
    _check_same_kind(first, second)
    keep = len(first) - overlap
    weight = np.arange(1, overlap + 1) / (overlap + 1)

    def linear(before: np.ndarray, after: np.ndarray) -> np.ndarray:
        mixed = before[keep:] * (1 - weight[:, None]) + after[:overlap] * weight[:, None]
        return np.concatenate([before[:keep], mixed, after[overlap:]])

    before, after = first.axis_angles(), second.axis_angles()
    mixed = slerp(before[keep:], after[:overlap], weight[:, None])
    pose = np.concatenate([before[:keep], mixed, after[overlap:]])
    cam2world = None
    if first.cam2world is not None and second.cam2world is not None:
        cam2world = np.concatenate([first.cam2world[:keep], second.cam2world])
    return replace(
        first,
        body_pose=pose[:, 1:],
        global_orient=pose[:, 0],
        # J0 is affine in betas: mixing transl and betas with one weight mixes the pelvis positions
        betas=linear(first.betas, second.betas),
        transl=linear(first.transl, second.transl),
        cam2world=cam2world,
    )


class MotionBlender:
    """Blends windows as they arrive; gives out the frames that no later window can change.

    Use: `push` each window in order and keep what it returns, then `finish`.
    """

    def __init__(self) -> None:
        self._pending: Motion | None = None
        self._start = 0

    def push(self, start: int, motion: Motion) -> Motion | None:
        """Adds the window whose first frame is frame `start` of the clip (cut back to its real frames).

        Returns:
            The frames before `start` that were not given out yet, or None when there are none.

        Raises:
            ValueError: windows out of order, or a gap between them.
            InputError: windows of different kinds, see `blend`.
        """
        if self._pending is None:
            self._pending, self._start = motion, start
            return None
        stop = self._start + len(self._pending)
        if not self._start <= start <= stop or start + len(motion) < stop:
            raise ValueError(
                f"window {start}..{start + len(motion)} does not follow on frames {self._start}..{stop}",
            )
        joined = blend(self._pending, motion, stop - start)
        done = start - self._start
        self._pending, self._start = joined[done:], start
        return joined[:done] if done else None

    def finish(self) -> Motion | None:
        """Returns the frames that are left, or None when nothing was pushed; the blender is empty afterwards."""
        rest, self._pending, self._start = self._pending, None, 0
        return rest


def _take(motion: Motion, frames: np.ndarray) -> Motion:
    return replace(
        motion,
        body_pose=motion.body_pose[frames],
        betas=motion.betas[frames],
        global_orient=motion.global_orient[frames],
        transl=motion.transl[frames],
        cam2world=None if motion.cam2world is None else motion.cam2world[frames],
    )


def _check_window(window: int, overlap: int) -> None:
    if window < 1 or not 0 <= overlap < window:
        raise ValueError(f"a window of {window} frames cannot overlap the next by {overlap}")


def _check_same_kind(first: Motion, second: Motion) -> None:
    for name in ("fps", "axes", "body"):
        if getattr(first, name) != getattr(second, name):
            raise InputError(f"motions with {name} {getattr(first, name)} and {getattr(second, name)} cannot be joined")
    if (first.cam2world is None) != (second.cam2world is None):
        raise InputError("only one of the two motions has cam2world", fix="give it to both or to neither")
    ours, theirs = first.intrinsics, second.intrinsics
    differ = (ours is None) != (theirs is None)
    if ours is not None and theirs is not None:
        differ = not np.allclose(ours, theirs)
    if differ:
        raise InputError("motions seen by cameras with different intrinsics cannot be joined")
