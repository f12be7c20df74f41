"""Short windows out of a motion library: long enough motions, chosen by duration, resampled, mirrored, sped up or down.

In: world motions (y up). Out: axis-angle pose (T, 22, 3) and pelvis path (T, 3) metres at the wanted frame rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from unimo.errors import InputError
from unimo.motion.frames import MIRROR, mirror_axis_angles
from unimo.motion.library import NamedMotion
from unimo.synth.puppet import load_puppet


@dataclass(frozen=True)
class Window:
    """A piece of a motion.

    Attributes:
        name, subject: where it comes from.
        pose: (T, 22, 3) float64 axis-angle, joint 0 the global orientation, world.
        pelvis: (T, 3) float64 metres, world.
        betas: (10,) shape of the source.
        body: body of the source.
        start: seconds into the source; speed: source seconds a second; mirrored: left and right are exchanged.
        text: what the source shows, in words; empty when nobody said.
    """

    name: str
    subject: str
    pose: np.ndarray
    pelvis: np.ndarray
    betas: np.ndarray
    body: str
    start: float
    speed: float
    mirrored: bool
    text: str


class WindowSampler:
    """Draws windows from a library.

    Raises:
        InputError: no motion is long enough.
    """

    def __init__(
        self, library: Sequence[NamedMotion], seconds: float, speed: tuple[float, float], rarity: float
    ) -> None:
        """Prepares the odds.

        Args:
            library: named world motions.
            seconds: length of a window on the output clock.
            speed: range of source seconds a second.
            rarity: 0 weighs motions by duration alone; 1 gives every subject the same share; between, in between.
        """
        self._speed = speed
        self._seconds = seconds
        self._entries = [entry for entry in library if entry.motion.duration >= seconds * speed[1]]
        if not self._entries:
            longest = max((entry.motion.duration for entry in library), default=0.0)
            raise InputError(
                f"no motion is as long as a clip needs: {seconds:.2f} s at up to {speed[1]:g} times the speed take "
                f"{seconds * speed[1]:.2f} s of motion, the longest has {longest:.2f} s", f"{len(library)} motions",
                "longer motions, fewer frames, a higher frame rate or a lower highest speed",
            )
        for entry in self._entries:
            if entry.motion.axes != "world":
                raise InputError(f"the motion {entry.name!r} is not in world axes", fix="unimo.motion.frames")
        room = np.array([entry.motion.duration - seconds * speed[1] + 0.25 for entry in self._entries])
        subjects = np.array([entry.subject for entry in self._entries])
        share = np.array([room[subjects == subject].sum() for subject in subjects])
        weights = room / share**rarity
        self._cumulative = np.cumsum(weights / weights.sum())

    def draw(self, rng: np.random.Generator, frames: int, mirror: float) -> Window:
        """One window of `frames` frames; `mirror` is the chance of exchanging left and right."""
        index = int(np.searchsorted(self._cumulative, rng.random(), side="right"))
        entry = self._entries[min(index, len(self._entries) - 1)]
        speed = rng.uniform(*self._speed)
        motion = entry.motion
        start = rng.random() * (motion.duration - self._seconds * speed)
        mirrored = bool(rng.random() < mirror)
        at = (start + np.linspace(0.0, self._seconds * speed, frames)) * motion.fps
        first = np.clip(np.floor(at).astype(np.int64), 0, len(motion) - 2)
        weight = np.clip(at - first, 0.0, 1.0)
        low, high = int(first[0]), int(first[-1]) + 2
        local = first - low
        angles = np.concatenate([motion.global_orient[low:high, None], motion.body_pose[low:high]], axis=1)
        pose = _slerp(angles[local], angles[local + 1], weight)
        transl = motion.transl[low:high].astype(np.float64)
        path = transl[local] + weight[:, None] * (transl[local + 1] - transl[local])
        betas = motion.betas[low].astype(np.float64)
        pelvis = path + load_puppet(motion.body).rest_joints(betas)[0]
        if mirrored:
            pose, pelvis = mirror_axis_angles(pose), pelvis * MIRROR
        return Window(entry.name, entry.subject, pose, pelvis, betas, motion.body, start, speed, mirrored, entry.text)


def _slerp(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """`unimo.motion.motion.slerp` for (T, 22, 3) and (T,) through scipy, five times as fast on arrays this small."""
    start, end = (Rotation.from_rotvec(angles.reshape(-1, 3).astype(np.float64)) for angles in (first, second))
    step = (start.inv() * end).as_rotvec() * np.repeat(weight, first.shape[1])[:, None]
    return (start * Rotation.from_rotvec(step)).as_rotvec().reshape(first.shape)
