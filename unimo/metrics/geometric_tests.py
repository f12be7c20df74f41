"""The 32 yes-or-no tests of a pose behind the geometric features of AIST++ (Müller and Röder 2006).

In: joints (..., T, 24, 3) metres, y up. Out: (..., T−1, 32) bool, frames 1..T−1 (each looks at its predecessor).
Thresholds are multiples of the humerus (speeds: humeri a second), the shoulders' or the hips' width; angles in degrees.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from unimo.body.names import JOINT_NAMES


class BodyLengths(NamedTuple):
    """Lengths in metres that thresholds are multiples of."""

    humerus: float
    shoulders: float
    hips: float


_POINTS = (*JOINT_NAMES, "left_hand", "right_hand", "origin", "up", "down", "lowest")
"""Joints, then fixed points: the origin, the ends of the unit vectors ±y, the height of the frame's lowest joint."""

_Points = tuple[Tensor, ...]
_Test = Callable[["_Motion"], Tensor]


class _Motion(NamedTuple):
    """Positions now and a frame before, (..., T−1, 28, 3), seconds between them, and what relative motion watches."""

    now: Tensor
    before: Tensor
    frame_time: float
    lengths: BodyLengths
    watch_fourth: bool

    def at(self, names: str) -> _Points:
        """The points named, now."""
        return tuple(self.now[..., _POINTS.index(name), :] for name in names.split())

    def velocity(self, name: str, origin: str | None = None) -> Tensor:
        """Of a point, relative to another: (..., T−1, 3) m/s."""
        step = self.now - self.before
        moved = step[..., _POINTS.index(name), :]
        if origin is not None:
            moved = moved - step[..., _POINTS.index(origin), :]
        return moved / self.frame_time


def geometric_tests(joints: Tensor, frame_time: float, lengths: BodyLengths, watch_fourth: bool) -> Tensor:
    """All tests of all frames but the first.

    Args:
        joints: (..., T, 24, 3) metres, y up.
        frame_time: seconds a frame.
        lengths: of the body that thresholds are multiples of.
        watch_fourth: tests of relative motion watch the fourth joint against the third, as they are meant; False is
            what the code of AIST++ does, the third against the first.

    Returns:
        (..., T−1, 32) bool. A test on a plane or angle that does not exist (points that coincide) fails.
    """
    lowest = joints[..., 1].amin(dim=-1, keepdim=True)
    zero = torch.zeros_like(lowest)
    fixed = (torch.stack([zero, y, zero], dim=-1) for y in (zero, zero + 1, zero - 1, lowest))
    points = torch.cat([joints, *fixed], dim=-2)
    motion = _Motion(points[..., 1:, :, :], points[..., :-1, :, :], frame_time, lengths, watch_fourth)
    return torch.stack([test(motion) for test in _TESTS], dim=-1)


def _along(vector: Tensor, direction: Tensor) -> Tensor:
    return (vector * direction).sum(dim=-1) / direction.norm(dim=-1)


def _beyond_plane(names: str, humeri: float) -> _Test:
    """The fourth point is more than a distance above the plane of the first three."""

    def test(motion: _Motion) -> Tensor:
        a, b, c, point = motion.at(names)
        return _along(point - a, torch.linalg.cross(c - a, b - a)) > humeri * motion.lengths.humerus

    return test


def _beyond(names: str, humeri: float = 0.0, shoulders: float = 0.0, hips: float = 0.0) -> _Test:
    """The fourth point is more than a distance beyond the third, in the direction from the first to the second."""

    def test(motion: _Motion) -> Tensor:
        a, b, base, point = motion.at(names)
        lengths = motion.lengths
        distance = humeri * lengths.humerus + shoulders * lengths.shoulders + hips * lengths.hips
        return _along(point - base, b - a) > distance

    return test


def _angle(names: str, low: float, high: float) -> _Test:
    """The angle between first → second and third → fourth lies strictly inside a range."""

    def test(motion: _Motion) -> Tensor:
        a, b, c, d = motion.at(names)
        degrees = torch.rad2deg(torch.acos(_along(d - c, b - a) / (d - c).norm(dim=-1)))
        return (degrees > low) & (degrees < high)

    return test


def _fast(name: str, humeri: float) -> _Test:
    """A joint is faster than so many humeri a second."""
    return lambda motion: motion.velocity(name).norm(dim=-1) > humeri * motion.lengths.humerus


def _approaches(names: str, humeri: float) -> _Test:
    """The fourth point moves relative to the third in the direction from the first to the second.

    AIST++ instead takes the third relative to the first, see `geometric_tests`.
    """

    def test(motion: _Motion) -> Tensor:
        first, _, third, fourth = names.split()
        a, b, _, _ = motion.at(names)
        velocity = motion.velocity(fourth, third) if motion.watch_fourth else motion.velocity(third, first)
        return _along(velocity, b - a) > humeri * motion.lengths.humerus

    return test


def _leaves_plane(names: str, humeri: float) -> _Test:
    """The fourth point moves relative to the first, along the normal of the plane of the first three."""

    def test(motion: _Motion) -> Tensor:
        first, _, _, fourth = names.split()
        a, b, c, _ = motion.at(names)
        normal = torch.linalg.cross(c - a, b - a)
        return _along(motion.velocity(fourth, first), normal) > humeri * motion.lengths.humerus

    return test


_TESTS: tuple[_Test, ...] = (
    _leaves_plane("neck right_hip left_hip right_wrist", 1.8),
    _leaves_plane("neck left_hip right_hip left_wrist", 1.8),
    _beyond("spine3 neck neck right_wrist", 0.2),
    _beyond("spine3 neck neck left_wrist", 0.2),
    _approaches("spine1 spine3 spine3 right_wrist", 1.8),
    _approaches("spine1 spine3 spine3 left_wrist", 1.8),
    _angle("right_elbow right_shoulder right_elbow right_wrist", 0, 110),
    _angle("left_elbow left_shoulder left_elbow left_wrist", 0, 110),
    _beyond("left_shoulder right_shoulder left_wrist right_wrist", shoulders=2.5),
    _approaches("left_wrist right_wrist right_wrist left_wrist", 1.4),
    _approaches("right_wrist pelvis left_wrist pelvis", 1.4),
    _approaches("left_wrist pelvis right_wrist pelvis", 1.4),
    _fast("right_wrist", 2.5),
    _fast("left_wrist", 2.5),
    _beyond_plane("pelvis left_hip left_foot right_ankle", 0.38),
    _beyond_plane("pelvis right_hip right_foot left_ankle", 0.38),
    _beyond("origin up lowest right_ankle", 1.2),
    _beyond("origin up lowest left_ankle", 1.2),
    _beyond("left_hip right_hip left_ankle right_ankle", hips=2.1),
    _angle("right_knee right_hip right_knee right_ankle", 0, 110),
    _angle("left_knee left_hip left_knee left_ankle", 0, 110),
    _fast("right_ankle", 2.5),
    _fast("left_ankle", 2.5),
    _angle("neck pelvis right_shoulder right_elbow", 25, 180),
    _angle("neck pelvis left_shoulder left_elbow", 25, 180),
    _angle("neck pelvis right_hip right_knee", 50, 180),
    _angle("neck pelvis left_hip left_knee", 50, 180),
    _beyond_plane("right_ankle neck left_ankle pelvis", 0.5),
    _angle("neck pelvis origin up", 70, 110),
    # "below 1.2 humeri over the ground", in the form of the others
    _beyond("origin down lowest right_wrist", -1.2),
    _beyond("origin down lowest left_wrist", -1.2),
    _fast("pelvis", 2.3),
)
