"""The instants that a picture is made of: a scene in, posed vertices and cameras out, at frames and between them.

Motion blur is the mean, in linear light, of `SUBFRAMES` pictures spread over the time the shutter is open, which has
the frame's instant in its middle. Vertices and joints are metres in camera axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from unimo.motion.frames import points_to_world
from unimo.motion.motion import Motion
from unimo.synth.puppet import Puppet
from unimo.synth.scene import Scene

SUBFRAMES = 8
_GAMMA = 2.2


@dataclass(frozen=True, eq=False)
class Moments:
    """N instants.

    Attributes:
        vertices: (N, V, 3) float32, camera axes.
        joints: (N, 22, 3), camera axes.
        cam2world: (N, 4, 4).
    """

    vertices: np.ndarray
    joints: np.ndarray
    cam2world: np.ndarray

    def __len__(self) -> int:
        return len(self.vertices)

    def world_joints(self) -> np.ndarray:
        """(N, 22, 3) metres in world axes."""
        return points_to_world(self.joints, self.cam2world)


def moments_of(scene: Scene) -> Moments:
    """The T frames of a scene."""
    assert scene.motion.cam2world is not None
    return Moments(posed_vertices(scene.motion, scene.puppet), scene.keypoints3d, scene.motion.cam2world)


def posed_vertices(motion: Motion, puppet: Puppet) -> np.ndarray:
    """(T, V, 3) float32 in the axes of the motion."""
    betas = motion.betas[0].astype(np.float64)
    rest = puppet.rest_joints(betas)
    angles = motion.axis_angles().astype(np.float64)
    rotations = Rotation.from_rotvec(angles.reshape(-1, 3)).as_matrix().reshape(*angles.shape, 3)
    world, places = puppet.pose(rotations, rest)
    return puppet.skin(world, places + (motion.transl + rest[0])[:, None], betas)


def shutter_moments(moments: Moments, frame: int, share: float) -> Moments:
    """`SUBFRAMES` instants around a frame, while the shutter is open for a share of the time between two frames.

    Straight lines between frames; before the first and after the last frame they go on.
    """
    times = frame + share * ((np.arange(SUBFRAMES) + 0.5) / SUBFRAMES - 0.5)
    low = np.clip(np.floor(times).astype(np.int64), 0, len(moments) - 2)
    weight = times - low

    def between(values: np.ndarray) -> np.ndarray:
        part = weight.astype(values.dtype).reshape(-1, *[1] * (values.ndim - 1))
        return values[low] + part * (values[low + 1] - values[low])

    start, end = (Rotation.from_matrix(moments.cam2world[index, :3, :3]) for index in (low, low + 1))
    cameras = between(moments.cam2world)
    cameras[:, :3, :3] = (start * Rotation.from_rotvec((start.inv() * end).as_rotvec() * weight[:, None])).as_matrix()
    return Moments(between(moments.vertices), between(moments.joints), cameras)


def mean_light(frames: np.ndarray) -> np.ndarray:
    """(N, H, W, 3) uint8 → (H, W, 3) uint8, their mean in linear light."""
    light = (np.arange(256, dtype=np.float32) / 255.0) ** _GAMMA
    return (255.0 * light[frames].mean(axis=0) ** (1.0 / _GAMMA) + 0.5).astype(np.uint8)
