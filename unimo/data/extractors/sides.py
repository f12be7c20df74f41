"""Mends frames in which MediaPipe takes a person's left for the right, as it does when it mistakes front for back.

In and out: a `LandmarkTrack`. Such frames come and go, so that limbs jump across the body and back. The path through
"as it is" and "sides changed" with the least movement in the picture is found (Viterbi); a frame counts as changed only
where that saves more than `PRICE`. Who is taken for the other side throughout is not noticed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from unimo.data.extractors.mediapipe_process import LandmarkTrack

LEFT, RIGHT = (1, 2, 3, 7, 9, *range(11, 33, 2)), (4, 5, 6, 8, 10, *range(12, 33, 2))
_LIMBS = list(range(11, 17)) + list(range(23, 29))
PRICE = 0.075
"""Of a second of changed frames, in mean movement of limbs as a share of the person's size in the picture."""


def mend_sides(track: LandmarkTrack, fps: float) -> tuple[LandmarkTrack, np.ndarray]:
    """The track with its sides as steady as they can be.

    Where sides are changed the depth of the world landmarks changes sign too: in the picture, front and back differ by
    both.

    Args:
        track: T frames.
        fps: of the video.

    Returns:
        The track, and (T,) bool: the frames that were changed.
    """
    order = np.arange(33)
    order[[*LEFT]], order[[*RIGHT]] = RIGHT, LEFT
    changed = _cheapest(track, order, PRICE / fps)
    world, image, visibility = track.world.copy(), track.image.copy(), track.visibility.copy()
    world[changed] = world[changed][:, order] * np.array([1, 1, -1], world.dtype)
    image[changed], visibility[changed] = image[changed][:, order], visibility[changed][:, order]
    return replace(track, world=world, image=image, visibility=visibility), changed


def _cheapest(track: LandmarkTrack, order: np.ndarray, price: float) -> np.ndarray:
    """(T,) bool: the frames to change."""
    size = np.maximum(np.ptp(track.boxes().reshape(-1, 2, 2), axis=1).max(1), 1)
    states = [track.image[:, _LIMBS], track.image[:, order][:, _LIMBS]]
    prices = np.array([0.0, price])
    cost, came_from = prices.copy(), np.zeros((len(track), 2), np.int64)
    for t in range(1, len(track)):
        moved = np.array([[np.linalg.norm(b[t] - a[t - 1], axis=-1).mean() / size[t] for a in states] for b in states])
        total = moved + cost
        came_from[t] = total.argmin(1)
        cost = total.min(1) + prices
    state = int(cost.argmin())
    path = np.zeros(len(track), bool)
    for t in range(len(track) - 1, -1, -1):
        path[t] = state
        state = int(came_from[t, state])
    return path
