"""Draws scenes: a `Scene` in, a `Clip` of pixels with its answers out.

`render_clips` is the fast road for training: clips one after another in memory, no files.
Frames are (T, H, W, 3) uint8 RGB; the one renderer of the process is shared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from unimo.motion.library import NamedMotion
from unimo.motion.motion import Motion
from unimo.render.renderer import MeshRenderer, composite, shared_renderer
from unimo.render.shading import Light, shade
from unimo.synth.appearance import vertex_colors
from unimo.synth.background import cast_shadow, picture_view, view_room
from unimo.synth.puppet import Puppet, load_puppet
from unimo.synth.scene import Scene, SceneConfig, scene_sampler

_SHADOWS = ((7, 0.17), (8, 0.17), (10, 0.13), (11, 0.13), (0, 0.38))


@dataclass(frozen=True, eq=False)
class Clip:
    """A rendered scene.

    Attributes:
        scene: what was drawn.
        rgb: (T, H, W, 3) uint8.
        mask: (T, H, W) bool, the person.
        depth: (T, H, W) float32 metres along the camera's z, 0 where the person is not.
    """

    scene: Scene
    rgb: np.ndarray
    mask: np.ndarray
    depth: np.ndarray

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


def render_scene(scene: Scene, renderer: MeshRenderer | None = None) -> Clip:
    """Draws one scene.

    Args:
        scene: what to draw.
        renderer: the renderer to use; None takes the shared one of this process.

    Raises:
        MissingAssetError: no EGL driver on this machine.
    """
    renderer = renderer or shared_renderer()
    motion, side = scene.motion, scene.side
    puppet = load_puppet(motion.body)
    vertices = _posed_vertices(motion, puppet)
    lit = _lit_colors(scene, vertices, puppet)
    backgrounds = _backgrounds(scene)
    assert motion.intrinsics is not None
    rgb = np.empty((len(motion), side, side, 3), np.uint8)
    mask = np.empty((len(motion), side, side), bool)
    depth = np.empty((len(motion), side, side), np.float32)
    for t in range(len(motion)):
        frame = renderer.render(vertices[t], puppet.topology.faces, motion.intrinsics, side, side, lit[t])
        rgb[t], mask[t], depth[t] = composite(frame.rgba, backgrounds[t]), frame.mask, frame.depth
    return Clip(scene, rgb, mask, depth)


def render_clips(library: Sequence[NamedMotion], seeds: Sequence[int], config: SceneConfig) -> Iterator[Clip]:
    """Yields the clips of these seeds in order; each is a pure function of library, seed and configuration."""
    sampler = scene_sampler(library, config)
    for seed in seeds:
        yield render_scene(sampler.sample(int(seed)))


def _posed_vertices(motion: Motion, puppet: Puppet) -> np.ndarray:
    """(T, V, 3) float32 in camera axes."""
    betas = motion.betas[0].astype(np.float64)
    rest = puppet.rest_joints(betas)
    angles = motion.axis_angles().astype(np.float64)
    rotations = Rotation.from_rotvec(angles.reshape(-1, 3)).as_matrix().reshape(*angles.shape, 3)
    world, places = puppet.pose(rotations, rest)
    return puppet.skin(world, places + (motion.transl + rest[0])[:, None], betas)


def _lit_colors(scene: Scene, vertices: np.ndarray, puppet: Puppet) -> np.ndarray:
    """(T, V, 3) float32 in 0..1."""
    assert scene.motion.cam2world is not None
    to_world = scene.motion.cam2world[:, :3, :3]
    lamp = scene.looks.lamp
    light = Light(
        direction=np.asarray(lamp.direction, np.float32) @ to_world, up=to_world[:, 1], sun=lamp.sun, sky=lamp.sky,
        ground=lamp.ground, rim=lamp.rim,
    )  # fmt: skip
    to_viewer = -vertices / np.linalg.norm(vertices, axis=-1, keepdims=True)
    albedo = vertex_colors(scene.looks.appearance, puppet.regions)
    return shade(albedo, puppet.topology.normals(vertices), light, to_viewer)


def _backgrounds(scene: Scene) -> np.ndarray:
    """(T, H, W, 3) uint8: the room with the person's shadow."""
    cam2world, intrinsics = scene.motion.cam2world, scene.motion.intrinsics
    assert cam2world is not None and intrinsics is not None
    if scene.looks.room.image is not None:
        return np.repeat(picture_view(scene.looks.room, scene.side)[None], len(cam2world), axis=0)
    joints = np.einsum("tij,tnj->tni", cam2world[:, :3, :3], scene.keypoints3d) + cam2world[:, None, :3, 3]
    middle, forward = joints[:, 0].mean(axis=0), cam2world[0, :3, 2]
    place = np.array([middle[0], middle[2], np.arctan2(forward[0], forward[2]) + scene.looks.room.yaw])
    still = bool(np.ptp(cam2world, axis=0).max() < 1e-6)
    view = view_room(scene.looks.room, cam2world[0], intrinsics, scene.side, place)
    frames = []
    for t in range(len(cam2world)):
        if t and not still:
            view = view_room(scene.looks.room, cam2world[t], intrinsics, scene.side, place)
        casters = np.array([[*joints[t, joint], radius] for joint, radius in _SHADOWS])
        frames.append(cast_shadow(view, casters, scene.looks.room.shadow))
    return np.stack(frames)
