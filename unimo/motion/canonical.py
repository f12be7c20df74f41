"""A camera `Motion` ↔ the same motion in the canonical camera that tokens live in.

The canonical camera sees the square letterboxed picture with its principal point at the centre and focal length
`canonical_focal` × side. A source of focal length f pixels of that square stores pelvis depth z · f_c / f, so that the
pelvis keeps its pixel and depth is well posed. Errors are measured after un-scaling. Metres, pixels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from unimo.errors import InputError
from unimo.motion.motion import Motion


def to_canonical(
    motion: Motion, focal_px: float, side_px: float, canonical_focal: float, rest_pelvis: np.ndarray
) -> Motion:
    """Scales the depth of the pelvis by canonical_focal · side_px / focal_px.

    Only the pelvis moves: the body keeps its size. `intrinsics` become those of the canonical square, and `cam2world`
    is dropped, since no rigid camera pose fits scaled depths.

    Args:
        motion: T frames in camera axes.
        focal_px: focal length of the source in pixels of the square picture.
        side_px: side of the square picture in pixels.
        canonical_focal: canonical focal length as a multiple of the side.
        rest_pelvis: (T, 3) or (3,) J0(betas), see `unimo.motion.frames.rest_pelvis_of`.

    Raises:
        InputError: the motion is not in camera axes, or a number is not positive.
    """
    scaled = _with_scaled_depth(motion, canonical_focal * side_px, focal_px, rest_pelvis)
    return replace(scaled, intrinsics=square_intrinsics(canonical_focal * side_px, side_px), cam2world=None)


def from_canonical(
    motion: Motion, focal_px: float, side_px: float, canonical_focal: float, rest_pelvis: np.ndarray
) -> Motion:
    """Inverse of `to_canonical`; `intrinsics` become those of the source square. Arguments as there."""
    scaled = _with_scaled_depth(motion, focal_px, canonical_focal * side_px, rest_pelvis)
    return replace(scaled, intrinsics=square_intrinsics(focal_px, side_px))


def square_intrinsics(focal_px: float, side_px: float) -> np.ndarray:
    """Returns the (3, 3) pinhole matrix of a square picture with its principal point at the centre."""
    return np.array([[focal_px, 0, side_px / 2], [0, focal_px, side_px / 2], [0, 0, 1]], dtype=np.float32)


def _with_scaled_depth(motion: Motion, numerator: float, denominator: float, rest_pelvis: np.ndarray) -> Motion:
    if motion.axes != "camera":
        raise InputError(
            "only a motion in camera axes has a canonical camera, this one is in world axes",
            fix="unimo.motion.frames.world_to_camera",
        )
    if not (numerator > 0 and denominator > 0):
        raise InputError(f"focal lengths must be positive, not {numerator:g} and {denominator:g} pixels")
    rest_depth = np.broadcast_to(np.asarray(rest_pelvis, dtype=np.float64), (len(motion), 3))[:, 2]
    transl = motion.transl.astype(np.float64)
    transl[:, 2] = (transl[:, 2] + rest_depth) * (numerator / denominator) - rest_depth
    return replace(motion, transl=transl)
