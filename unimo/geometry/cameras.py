"""The pinhole camera: points in the camera frame (x right, y down, z forward, metres) to pixels.

A pixel's centre is its index + 0.5, so that the middle of a W x H picture is (W/2, H/2).
"""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor


def intrinsics_matrix(focal: float, cx: float, cy: float) -> np.ndarray:
    """Intrinsics (3,3) float32 of a camera with square pixels; focal length and principal point in pixels.

    Raises:
        ValueError: if the focal length is not a positive finite number.
    """
    if not (math.isfinite(focal) and focal > 0):
        raise ValueError(f"focal length must be a positive number of pixels, got {focal}")
    return np.array([[focal, 0, cx], [0, focal, cy], [0, 0, 1]], dtype=np.float32)


def default_focal(width: int, height: int) -> float:
    """Focal length in pixels assumed when none is known: the diagonal of the picture (53 degrees of diagonal view)."""
    return math.hypot(width, height)


def project(points: Tensor, intrinsics: Tensor) -> Tensor:
    """Camera-frame points (...,3) to pixels (...,2).

    Args:
        points: (...,3) metres; z should be positive, points at or behind the camera give meaningless pixels.
        intrinsics: (3,3), or any shape (...,3,3) whose leading dimensions broadcast against those of `points`.
    """
    homogeneous = (intrinsics @ points[..., None])[..., 0]
    return homogeneous[..., :2] / homogeneous[..., 2:]
