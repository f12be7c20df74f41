"""Vertex normals and per-vertex lighting: positions and plain colours in, lit colours in 0..1 out.

Arrays are (T, V, 3) float32; directions are unit vectors in the same frame as the vertices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Light:
    """One sun and a two-coloured sky; the defaults suit an overlay in the OpenCV camera frame (y down).

    Attributes:
        direction: (3,) or (T, 3) from the surface towards the sun.
        up: (3,) or (T, 3) direction of the sky.
        sun: (3,) colour of the sun in 0..1.
        sky: (3,) ambient colour from above.
        ground: (3,) ambient colour from below.
        rim: how much surfaces turned away from the viewer darken (0..1); it separates limbs from the trunk.
    """

    direction: Vector | np.ndarray = (0.35, -0.65, -0.67)
    up: Vector | np.ndarray = (0.0, -1.0, 0.0)
    sun: Vector = (0.55, 0.55, 0.55)
    sky: Vector = (0.52, 0.52, 0.54)
    ground: Vector = (0.32, 0.31, 0.30)
    rim: float = 0.3


class MeshTopology:
    """Faces of a mesh with what is needed to compute vertex normals fast for many frames at once."""

    def __init__(self, faces: np.ndarray, vertex_count: int) -> None:
        """Args: faces: (F, 3) int; vertex_count: V."""
        self.faces = np.ascontiguousarray(faces, dtype=np.int64)
        rows = self.faces.reshape(-1)
        columns = np.repeat(np.arange(len(self.faces)), 3)
        ones = np.ones(len(rows), dtype=np.float32)
        self._sum_of_faces = csr_matrix((ones, (rows, columns)), shape=(vertex_count, len(self.faces)))

    def normals(self, vertices: np.ndarray) -> np.ndarray:
        """Area-weighted unit vertex normals, (T, V, 3) → (T, V, 3) float32."""
        frames, count, _ = vertices.shape
        a, b, c = (vertices[:, self.faces[:, k]] for k in range(3))
        face_normals = np.cross(b - a, c - a).astype(np.float32)
        stacked = face_normals.transpose(1, 0, 2).reshape(len(self.faces), frames * 3)
        summed = (self._sum_of_faces @ stacked).reshape(count, frames, 3).transpose(1, 0, 2)
        return summed / np.maximum(np.linalg.norm(summed, axis=-1, keepdims=True), 1e-12)


def shade(
    albedo: np.ndarray, normals: np.ndarray, light: Light, to_viewer: np.ndarray | None = None
) -> np.ndarray:
    """Lit colours.

    Args:
        albedo: (V, 3) or (T, V, 3) plain colours in 0..1.
        normals: (T, V, 3) unit normals.
        light: the light; its directions are in the frame of `normals`.
        to_viewer: (T, V, 3) unit directions from the surface to the camera; None skips the rim term.

    Returns:
        (T, V, 3) float32 in 0..1.
    """
    direction = np.broadcast_to(np.asarray(light.direction, np.float32), (len(normals), 3))
    up = np.broadcast_to(np.asarray(light.up, np.float32), (len(normals), 3))
    lambert = np.clip(np.einsum("tvc,tc->tv", normals, direction), 0.0, None)[..., None]
    upward = (0.5 + 0.5 * np.einsum("tvc,tc->tv", normals, up))[..., None]
    sun, sky, ground = (np.asarray(c, np.float32) for c in (light.sun, light.sky, light.ground))
    lit = albedo * (ground + (sky - ground) * upward + sun * lambert)
    if to_viewer is not None:
        facing = np.clip(np.einsum("tvc,tvc->tv", normals, to_viewer), 0.0, 1.0)[..., None]
        lit *= 1.0 - light.rim * (1.0 - facing)
    return np.clip(lit, 0.0, 1.0)

