"""Pictures of a motion: the body over its video, and the body alone from the side over a floor grid.

In: RGB frames (H, W, 3) uint8 one after another, a `Motion` in camera axes with as many frames, intrinsics in pixels
of those frames. Out: RGB frames, one at a time, so that memory does not grow with the length of a video.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from unimo.body import BodyModel, load_body
from unimo.errors import InputError
from unimo.motion.frames import camera_to_world, pelvis_positions
from unimo.motion.motion import Motion
from unimo.render.renderer import composite, shared_renderer
from unimo.render.shading import Light, MeshTopology, Vector, shade

BODY_COLOR: Vector = (0.55, 0.70, 0.92)
GRID_METRES = 0.5
_COARSE_BELOW = 256
_CHUNK = 16
_TURN_RADIANS = 1.3
_PITCH_RADIANS = 0.22


@dataclass(frozen=True, eq=False)
class _PosedBody:
    """Vertices of a motion, computed a few frames at a time, in the frame of the motion."""

    motion: Motion
    body: BodyModel
    topology: MeshTopology
    index: torch.Tensor | None

    @classmethod
    def of(cls, motion: Motion, body: BodyModel | None, height: int) -> _PosedBody:
        body = body or load_body(motion.body)  # type: ignore[arg-type]
        if height > _COARSE_BELOW:
            return cls(motion, body, MeshTopology(body.faces, body.num_vertices), None)
        index, faces = body.low_poly()
        return cls(motion, body, MeshTopology(faces, len(index)), torch.from_numpy(index))

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields vertices (V, 3) and unit normals (V, 3) of every frame."""
        for start in range(0, len(self.motion), _CHUNK):
            part = self.motion[start : start + _CHUNK]
            with torch.no_grad():
                parameters = (torch.from_numpy(a) for a in (part.rotations(), part.betas, part.transl))
                posed: Any = self.body.vertices(*parameters, index=self.index)
            vertices = posed.cpu().numpy()
            yield from zip(vertices, self.topology.normals(vertices), strict=True)


def overlay(
    frames: Iterable[np.ndarray],
    motion: Motion,
    intrinsics: np.ndarray | None = None,
    body: BodyModel | None = None,
    opacity: float = 0.85,
    color: Vector = BODY_COLOR,
) -> Iterator[np.ndarray]:
    """Draws the body over its video.

    Args:
        frames: (H, W, 3) uint8 each, or an array (T, H, W, 3); as many as the motion has.
        motion: camera axes.
        intrinsics: (3, 3) in pixels of the frames; None takes those of the motion.
        body: the body of the motion; None loads the one it names.
        opacity: 0 shows the video alone, 1 hides what is behind the body.
        color: RGB in 0..1.

    Yields:
        (H, W, 3) uint8.

    Raises:
        InputError: the motion is not in camera axes, has no intrinsics, or differs in length from the frames.
        MissingAssetError: no EGL driver on this machine.
    """
    intrinsics = _checked_intrinsics(motion, intrinsics)
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise InputError("there are no frames to draw on")
    height, width = first.shape[:2]
    posed = _PosedBody.of(motion, body, height)
    count = 0
    for vertices, normals in posed:
        frame = first if count == 0 else next(iterator, None)
        if frame is None:
            raise InputError(f"the video has {count} frames and the motion {len(motion)}")
        drawn = _draw(vertices, normals, posed.topology.faces, intrinsics, height, width, Light(), color)
        yield composite((drawn * opacity + 0.5).astype(np.uint8), frame)
        count += 1
    if next(iterator, None) is not None:
        raise InputError(f"the video has more frames than the motion ({len(motion)})")


def turned_view(
    motion: Motion, height: int, width: int, body: BodyModel | None = None, turn: float = _TURN_RADIANS
) -> Iterator[np.ndarray]:
    """Draws the body alone over a floor grid, from a camera turned about it that follows the pelvis.

    Args:
        motion: camera or world axes; without `cam2world` the camera is taken as level.
        height: H in pixels.
        width: W in pixels.
        body: the body of the motion; None loads the one it names.
        turn: radians about the vertical from the first camera's view.

    Yields:
        (H, W, 3) uint8, one a frame.
    """
    body = body or load_body(motion.body)  # type: ignore[arg-type]
    world = camera_to_world(motion, body)
    pelvis = pelvis_positions(world, body)
    path = gaussian_filter1d(pelvis, sigma=world.fps, axis=0, mode="nearest")
    path[:, 1] = np.median(pelvis[:, 1])
    spread = float(np.linalg.norm(pelvis - path, axis=1).max())
    heading = turn
    if world.cam2world is not None:
        forward = world.cam2world[0, :3, 2]
        heading += float(np.arctan2(forward[0], forward[2]))
    rotation = _look(heading, _PITCH_RADIANS)
    focal = 1.6 * min(height, width)
    distance = 1.6 * (2.3 + 2.0 * spread)
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    posed = _PosedBody.of(world, body, height)
    for centre, (vertices, normals) in zip(path, posed, strict=True):
        eye = centre - distance * rotation[:, 2]
        seen = ((vertices - eye) @ rotation).astype(np.float32)
        floor = _floor_grid(rotation, eye, intrinsics, height, width)
        turned = (normals @ rotation).astype(np.float32)
        drawn = _draw(seen, turned, posed.topology.faces, intrinsics, height, width, Light(), BODY_COLOR)
        yield composite(drawn, floor)


def side_by_side(
    frames: Iterable[np.ndarray],
    motion: Motion,
    intrinsics: np.ndarray | None = None,
    body: BodyModel | None = None,
) -> Iterator[np.ndarray]:
    """Yields (H, 3 W, 3) uint8: the video, the overlay, and the body alone from the side. Arguments as `overlay`."""
    originals: list[np.ndarray] = []

    def remembered() -> Iterator[np.ndarray]:
        for frame in frames:
            originals.append(frame)
            yield frame

    turned: Iterator[np.ndarray] | None = None
    for drawn in overlay(remembered(), motion, intrinsics, body):
        turned = turned or turned_view(motion, *drawn.shape[:2], body=body)
        yield np.concatenate([originals.pop(0), drawn, next(turned)], axis=1)


def _checked_intrinsics(motion: Motion, intrinsics: np.ndarray | None) -> np.ndarray:
    if motion.axes != "camera":
        raise InputError("only a motion in camera axes can be drawn over its video", fix="world_to_camera(motion)")
    chosen = motion.intrinsics if intrinsics is None else intrinsics
    if chosen is None:
        raise InputError("the motion has no intrinsics", fix="give the (3, 3) matrix in pixels of the frames")
    return np.asarray(chosen, dtype=np.float64)


def _draw(
    vertices: np.ndarray, normals: np.ndarray, faces: np.ndarray, intrinsics: np.ndarray, height: int, width: int,
    light: Light, color: Vector,
) -> np.ndarray:
    """(H, W, 4) premultiplied uint8 of one posed body in camera axes."""
    to_viewer = -vertices / np.maximum(np.linalg.norm(vertices, axis=-1, keepdims=True), 1e-6)
    albedo = np.broadcast_to(np.asarray(color, np.float32), vertices.shape)
    lit = shade(albedo, normals[None], light, to_viewer[None])[0]
    return shared_renderer().render(vertices, faces, intrinsics, height, width, lit).rgba


def _look(heading: float, pitch: float) -> np.ndarray:
    """Camera-to-world rotation (3, 3); positive pitch looks down."""
    forward = np.array([np.cos(pitch) * np.sin(heading), -np.sin(pitch), np.cos(pitch) * np.cos(heading)])
    right = np.array([-np.cos(heading), 0.0, np.sin(heading)])
    return np.stack([right, np.cross(forward, right), forward], axis=1)


def _floor_grid(rotation: np.ndarray, eye: np.ndarray, intrinsics: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H, W, 3) uint8: a light floor at y = 0 with lines every `GRID_METRES`, fading with distance."""
    u = (np.arange(width, dtype=np.float32) + 0.5 - intrinsics[0, 2]) / intrinsics[0, 0]
    v = (np.arange(height, dtype=np.float32) + 0.5 - intrinsics[1, 2]) / intrinsics[1, 1]
    rays = np.stack(np.broadcast_arrays(u[None], v[:, None], np.float32(1.0)), axis=-1) @ rotation.T.astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.where(rays[..., 1] < -1e-4, -eye[1] / rays[..., 1], np.inf)
    reach = np.where((reach > 0) & (reach < 40), reach, np.inf).astype(np.float32)
    far = ~np.isfinite(reach)
    reach[far] = 0.0
    near_line = np.full(reach.shape, 1.0, np.float32)
    for axis in (0, 2):
        place = (np.float32(eye[axis]) + reach * rays[..., axis]) / GRID_METRES
        near_line = np.minimum(near_line, np.abs(place - np.round(place)) * GRID_METRES)
    pixel = np.maximum(reach / np.float32(intrinsics[0, 0]), 1e-6)
    line = np.clip(1.5 - near_line / pixel, 0.0, 1.0) * np.clip(1.0 - reach / 14.0, 0.0, 1.0)
    line[far] = 0.0
    base = np.where(far, 0.93, 0.86)
    return ((base - 0.30 * line)[..., None].repeat(3, axis=-1) * 255).astype(np.uint8)
