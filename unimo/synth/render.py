"""Draws scenes: a `Scene` in, a `Clip` of pixels with its answers out.

`render_clips` is the fast road for training: clips one after another in memory, no files.
Frames are (T, H, W, 3) uint8 RGB; the one renderer of the process is shared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from unimo.motion.frames import points_to_world
from unimo.motion.library import NamedMotion
from unimo.motion.motion import Motion
from unimo.render.renderer import MeshRenderer, composite, shared_renderer
from unimo.render.shading import Light, shade
from unimo.synth.background import RoomView, cast_shadow, picture_view, view_room
from unimo.synth.layers import GroundTruth
from unimo.synth.layers_room import Backdrop, picture_backdrop, room_backdrop
from unimo.synth.moments import Moments, mean_light, moments_of, shutter_moments
from unimo.synth.scene import Scene, SceneConfig, scene_sampler, stream
from unimo.synth.sensor import add_noise

_SHADOWS = ((7, 0.17), (8, 0.17), (10, 0.13), (11, 0.13), (0, 0.38))


@dataclass(frozen=True, eq=False)
class Clip:
    """A rendered scene.

    Attributes:
        scene: what was drawn.
        rgb: (T, H, W, 3) uint8; blurred and noisy where the scene's configuration says so.
        mask: (T, H, W) bool, the person at the frame's instant (the middle of the shutter's time).
        truth: exact layers of the same instant.
    """

    scene: Scene
    rgb: np.ndarray
    mask: np.ndarray
    truth: GroundTruth

    @property
    def motion(self) -> Motion:
        """The motion in camera axes, with camera poses and intrinsics."""
        return self.scene.motion

    @property
    def subject(self) -> str:
        """Subject of the mocap source."""
        return self.scene.subject

    @property
    def keypoints2d(self) -> np.ndarray:
        """(T, 22, 2) float32 pixels."""
        return self.scene.keypoints2d

    @property
    def keypoints3d(self) -> np.ndarray:
        """(T, 22, 3) float32 metres, camera axes."""
        return self.scene.keypoints3d

    @cached_property
    def keypoints_visible(self) -> np.ndarray:
        """(T, 22) bool: in the picture, and the skin around the joint is what is seen there."""
        return self.truth.keypoints_visible()


def render_scene(scene: Scene, renderer: MeshRenderer | None = None) -> Clip:
    """Draws one scene.

    Args:
        scene: what to draw.
        renderer: the renderer to use; None takes the shared one of this process.

    Raises:
        MissingAssetError: no EGL driver on this machine.
    """
    renderer = renderer or shared_renderer()
    config, moments = scene.config, moments_of(scene)
    backgrounds, views = _backgrounds(scene, moments)
    rgb, mask = _draw(scene, moments, backgrounds, renderer)
    if config.motion_blur and len(moments) > 1:
        for t in range(len(moments)):
            during = shutter_moments(moments, t, config.motion_blur)
            rgb[t] = mean_light(_draw(scene, during, _backgrounds(scene, during)[0], renderer)[0])
    rgb = add_noise(rgb, config.sensor_noise, stream(scene.seed, "noise"))
    return Clip(scene, rgb, mask, GroundTruth(scene, moments.vertices, _backdrop(scene, views), renderer))


def render_clips(library: Sequence[NamedMotion], seeds: Sequence[int], config: SceneConfig) -> Iterator[Clip]:
    """Yields the clips of these seeds in order; each is a pure function of library, seed and configuration."""
    sampler = scene_sampler(library, config)
    for seed in seeds:
        yield render_scene(sampler.sample(int(seed)))


def _draw(
    scene: Scene, moments: Moments, backgrounds: np.ndarray, renderer: MeshRenderer
) -> tuple[np.ndarray, np.ndarray]:
    """(N, H, W, 3) uint8 and masks (N, H, W) bool of the person before these backgrounds."""
    assert scene.motion.intrinsics is not None
    lit, side, faces = _lit_colors(scene, moments), scene.side, scene.puppet.topology.faces
    rgb, mask = np.empty((len(moments), side, side, 3), np.uint8), np.empty((len(moments), side, side), bool)
    for t, vertices in enumerate(moments.vertices):
        frame = renderer.render(vertices, faces, scene.motion.intrinsics, side, side, lit[t])
        rgb[t], mask[t] = composite(frame.rgba, backgrounds[t]), frame.mask
    return rgb, mask


def _lit_colors(scene: Scene, moments: Moments) -> np.ndarray:
    """(N, V, 3) float32 in 0..1."""
    to_world, vertices = moments.cam2world[:, :3, :3], moments.vertices
    lamp = scene.looks.lamp
    light = Light(
        direction=np.asarray(lamp.direction, np.float32) @ to_world, up=to_world[:, 1], sun=lamp.sun, sky=lamp.sky,
        ground=lamp.ground, rim=lamp.rim,
    )  # fmt: skip
    to_viewer = -vertices / np.linalg.norm(vertices, axis=-1, keepdims=True)
    return shade(scene.vertex_colors(), scene.puppet.topology.normals(vertices), light, to_viewer)


def _backgrounds(scene: Scene, moments: Moments) -> tuple[np.ndarray, list[RoomView]]:
    """(N, H, W, 3) uint8 the room with the person's shadow, and its views; a photograph has no views."""
    cam2world, intrinsics, room = moments.cam2world, scene.motion.intrinsics, scene.looks.room
    assert intrinsics is not None and scene.motion.cam2world is not None
    if room.image is not None:
        return np.repeat(picture_view(room, scene.side)[None], len(cam2world), axis=0), []
    place, joints = _place(scene), moments.world_joints()
    still = bool(np.ptp(cam2world, axis=0).max() < 1e-6)
    # the default camera hardly moves, and its pictures must stay as they were
    eyes = None if scene.config.camera == "default" else scene.motion.cam2world[:, :3, 3]
    views: list[RoomView] = []
    for pose in cam2world:
        views.append(views[0] if views and still else view_room(room, pose, intrinsics, scene.side, place, eyes))
    casters = [np.array([[*each[joint], radius] for joint, radius in _SHADOWS]) for each in joints]
    shaded = [cast_shadow(view, below, room.shadow) for view, below in zip(views, casters, strict=True)]
    return np.stack(shaded), views


def _place(scene: Scene) -> np.ndarray:
    """(3,) world x, z of the person and the room's heading in radians."""
    cam2world = scene.motion.cam2world
    assert cam2world is not None
    joints = points_to_world(scene.keypoints3d, cam2world)
    middle, forward = joints[:, 0].mean(axis=0), cam2world[0, :3, 2]
    return np.array([middle[0], middle[2], np.arctan2(forward[0], forward[2]) + scene.looks.room.yaw])


def _backdrop(scene: Scene, views: list[RoomView]) -> Backdrop:
    if views:
        return room_backdrop(views)
    farthest = float(scene.keypoints3d[..., 2].max())
    return picture_backdrop(len(scene.motion), scene.side**2, farthest + scene.looks.room.back)
