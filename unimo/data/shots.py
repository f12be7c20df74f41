"""Finds the hard cuts of a video.

In: a stream of (time, frame) of one video. Out: the frames' times and the numbers of the frames with which shots start.
Every frame becomes a few colour histograms. A cut is where no frame shortly before looks like any frame shortly after:
a flash is over after some frames, and a fast pan goes on before and after. Dissolves are not found.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from PIL import Image

REACH = 4
"""Frames looked at on either side of a cut; a flash, or a shot, shorter than this is not cut out."""
THRESHOLD = 0.25
"""Least difference of the histograms at a cut, 0 (the same) to 1 (no colour in common)."""
RATIO = 2.5
"""How many times the difference at a cut exceeds the mean one around it."""
_SIDE, _CELLS, _BINS = 48, 2, 12


def find_shots(frames: Iterable[tuple[float, np.ndarray]]) -> tuple[np.ndarray, list[int]]:
    """Reads a video once, a frame in memory at a time.

    Args:
        frames: (seconds, uint8 (H, W, 3) RGB), times rising.

    Returns:
        times (N,) float64 seconds, and the first frame of every shot, rising, 0 first (empty without frames).
    """
    times, looks = [], []
    for time, frame in frames:
        times.append(time)
        looks.append(look(frame))
    if not times:
        return np.zeros(0), []
    differences = cut_differences(np.stack(looks))
    around = np.convolve(np.pad(differences, REACH), np.ones(2 * REACH + 1), "valid") - differences
    cuts = (differences > THRESHOLD) & (differences > RATIO * around / (2 * REACH))
    return np.array(times), [0, *(int(i) for i in np.flatnonzero(cuts))]


def look(frame: np.ndarray) -> np.ndarray:
    """What a frame (H, W, 3) looks like: colour histograms of its quarters, float16; pixels fall softly into bins."""
    small = np.asarray(Image.fromarray(frame).resize((_SIDE, _SIDE), Image.Resampling.BOX))
    cells = small.reshape(_CELLS, _SIDE // _CELLS, _CELLS, _SIDE // _CELLS, 3).swapaxes(1, 2).reshape(_CELLS**2, -1, 3)
    place = cells * ((_BINS - 1) / 255)
    lower = np.minimum(place.astype(np.int64), _BINS - 2)
    upper_share = place - lower
    # one row of bins for each cell and channel
    row = (np.arange(_CELLS**2)[:, None, None] * 3 + np.arange(3)) * _BINS
    size, where = _CELLS**2 * 3 * _BINS, (row + lower).ravel()
    counts = np.bincount(where, (1 - upper_share).ravel(), size) + np.bincount(where + 1, upper_share.ravel(), size)
    return (counts / cells.shape[1]).astype(np.float16)


def cut_differences(looks: np.ndarray) -> np.ndarray:
    """How much a cut before frame i would explain, (N,) in 0..1, frame 0 having 0: the least difference between one of
    the `REACH` frames before it and one of the `REACH` frames from it on, of looks (N, D).
    """
    count = len(looks)
    rows = _CELLS**2 * 3
    found = np.full(count, 1.0)
    found[0] = 0
    for lag in range(1, min(2 * REACH, count)):
        apart = np.concatenate(
            [
                np.abs(looks[i : i + 1024 + lag][lag:].astype(np.float32) - looks[i : i + 1024 + lag][:-lag]).sum(1)
                for i in range(0, count - lag, 1024)
            ]
        ) / (2 * rows)  # apart[j] is between frames j and j + lag
        for before in range(max(1, lag - REACH + 1), min(REACH, lag) + 1):
            after = lag - before
            stop = count - after
            found[before:stop] = np.minimum(found[before:stop], apart[: stop - before])
    return found
