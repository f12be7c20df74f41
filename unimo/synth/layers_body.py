"""The person's surface, exactly: which triangle stands at each pixel, and where the same point is in any frame.

In: posed vertices of a clip and the triangles seen (`MeshRenderer.face_ids`). Out: points on triangles with depth,
normals, rest-pose places, and whether a point can be seen. Metres, camera axes (x right, y down, z forward); pixels
have their centre at index + 0.5. Triangles are drawn at `FINE` times the clip's size, so that hiding is decided
within a sixth of a pixel; the clip's own pixel centres are among those drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unimo.render.renderer import MeshRenderer
from unimo.synth.puppet import Puppet

FINE = 3
# nearer than this a point is not in the picture
NEAREST = 0.05
# a surface must be so much nearer (metres) to hide a point of the person
HIDING = 0.02
# a normal turns at least this much (cosine) towards the camera: more than 8 bits round away
_FACING = 0.02


class FaceMap:
    """The triangles that one frame shows, at `FINE` times its size; only the person's rectangle is kept."""

    def __init__(self, faces: np.ndarray, count: int) -> None:
        """Args: faces: (FINE H, FINE W) int, -1 where there is none; count: triangles of the mesh."""
        self.height, self.width = faces.shape
        there = faces >= 0
        rows, columns = (np.flatnonzero(there.any(axis=axis)) for axis in (1, 0))
        self._top, self._left = (int(index[0]) if len(index) else 0 for index in (rows, columns))
        bottom, right = (int(index[-1]) + 1 if len(index) else 0 for index in (rows, columns))
        # counted from 1, so that a type without a sign can hold them
        kind = np.uint16 if count < np.iinfo(np.uint16).max else np.uint32
        self._faces = (faces[self._top : bottom, self._left : right] + 1).astype(kind)

    def at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """(N,) int64 triangles at these rows (N,) and columns (N,) of the fine picture, -1 where there is none."""
        rows, columns = rows - self._top, columns - self._left
        height, width = self._faces.shape
        found = np.full(rows.shape, -1, np.int64)
        kept = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        found[kept] = self._faces[rows[kept], columns[kept]].astype(np.int64) - 1
        return found

    @property
    def nbytes(self) -> int:
        """Bytes that are held."""
        return self._faces.nbytes

    def at_pixels(self) -> np.ndarray:
        """(H * W,) int64 triangles at the centres of the clip's own pixels, row by row."""
        grid = np.mgrid[FINE // 2 : self.height : FINE, FINE // 2 : self.width : FINE]
        return self.at(grid[0].ravel(), grid[1].ravel())


@dataclass(frozen=True, eq=False)
class SurfacePoints:
    """N points on the person.

    Attributes:
        face: (N,) triangles.
        weights: (N, 3) float64 barycentric coordinates.
    """

    face: np.ndarray
    weights: np.ndarray


class BodySurface:
    """The person of one clip."""

    def __init__(self, vertices: np.ndarray, puppet: Puppet, intrinsics: np.ndarray, side: int) -> None:
        """Args: vertices: (T, V, 3) camera axes; intrinsics: (3, 3) pixels; side: height and width in pixels."""
        self.vertices, self.faces, self.side = vertices, puppet.topology.faces, side
        self.intrinsics = intrinsics.astype(np.float64)
        self._topology, self._rest = puppet.topology, puppet.regions.rest.astype(np.float64)

    def draw(self, renderer: MeshRenderer) -> None:
        """Finds the triangles at the pixels of all frames; the methods about seeing need this."""
        size, fine = FINE * self.side, self.intrinsics * np.array([[FINE], [FINE], [1]])
        self._seen = [
            FaceMap(renderer.face_ids(vertices, self.faces, fine, size, size), len(self.faces))
            for vertices in self.vertices
        ]

    def pixel_faces(self, frame: int) -> np.ndarray:
        """(H * W,) triangles at the centres of the pixels, row by row, -1 where the person is not."""
        return self._seen[frame].at_pixels()

    def project(self, points: np.ndarray) -> np.ndarray:
        """(…, 3) → (…, 2) pixels; what is behind the camera goes far outside."""
        scale = 1.0 / np.maximum(points[..., 2:], NEAREST)
        return points[..., :2] * scale * np.diag(self.intrinsics)[:2] + self.intrinsics[:2, 2]

    def rays(self, pixels: np.ndarray) -> np.ndarray:
        """(…, 2) pixels → (…, 3) directions with z = 1."""
        flat = (pixels - self.intrinsics[:2, 2]) / np.diag(self.intrinsics)[:2]
        return np.concatenate([flat, np.ones_like(flat[..., :1])], axis=-1)

    def at(self, frame: int, face: np.ndarray, rays: np.ndarray) -> SurfacePoints:
        """Where rays (N, 3) meet their triangles (N,); rays that just miss take the nearest edge."""
        a, b, c = self._corners(frame, face)
        weights = np.stack([_triple(rays, b, c), _triple(rays, c, a), _triple(rays, a, b)], axis=-1)
        total = weights.sum(axis=-1, keepdims=True)
        weights = np.clip(weights / np.where(total == 0, 1.0, total), 0.0, 1.0)
        # a ray in the triangle's own plane has no weights at all
        weights[weights.sum(axis=-1) == 0] = 1.0
        return SurfacePoints(face, weights / weights.sum(axis=-1, keepdims=True))

    def places(self, frame: int, points: SurfacePoints) -> np.ndarray:
        """(N, 3) where the points are in a frame."""
        return _blend(self.vertices[frame], self.faces, points)

    def rest_places(self, points: SurfacePoints) -> np.ndarray:
        """(N, 3) where the points are on the resting mean body (arms along ±x, facing +z, y up)."""
        return _blend(self._rest, self.faces, points)

    def normals(self, frame: int, points: SurfacePoints) -> np.ndarray:
        """(N, 3) unit normals, smooth over the mesh, each turned as far as it needs to face the camera."""
        whole = self._topology.normals(self.vertices[frame : frame + 1])[0]
        normals = _blend(whole, self.faces, points)
        places = self.places(frame, points)
        to_viewer = -places / np.linalg.norm(places, axis=-1, keepdims=True)
        normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
        missing = np.maximum(_FACING - (normals * to_viewer).sum(axis=-1, keepdims=True), 0.0)
        normals += missing * to_viewer
        return normals / np.linalg.norm(normals, axis=-1, keepdims=True)

    def inside(self, pixels: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """(N,) bool: the pixels (N, 2) are in the picture and their depth (N,) before the camera."""
        return ((pixels >= 0) & (pixels < self.side)).all(axis=-1) & (depth > NEAREST)

    def faces_at(self, frame: int, pixels: np.ndarray) -> np.ndarray:
        """(N,) triangles at places (N, 2) of the picture, -1 where the person is not; outside, those of the border."""
        cells = np.clip((pixels * FINE).astype(np.int64), 0, FINE * self.side - 1)
        return self._seen[frame].at(cells[:, 1], cells[:, 0])

    def sees(self, frame: int, points: SurfacePoints, places: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        """(N,) bool: the points, at `places` (N, 3) and `pixels` (N, 2) of this frame, can be seen."""
        a, b, c = self._corners(frame, points.face)
        seen = self.inside(pixels, places[:, 2]) & (_triple(a, b, c) < 0)  # the triangle shows its front
        front = self.faces_at(frame, pixels)
        other = np.flatnonzero(seen & (front >= 0) & (front != points.face))
        there = self.at(frame, front[other], self.rays(pixels[other]))
        seen[other] = self.places(frame, there)[:, 2] > places[other, 2] - HIDING
        return seen

    def _corners(self, frame: int, face: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        corners = self.vertices[frame][self.faces[face]].astype(np.float64)
        return corners[:, 0], corners[:, 1], corners[:, 2]


def _triple(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """a · (b × c) of rows of vectors."""
    return (
        a[:, 0] * (b[:, 1] * c[:, 2] - b[:, 2] * c[:, 1])
        + a[:, 1] * (b[:, 2] * c[:, 0] - b[:, 0] * c[:, 2])
        + a[:, 2] * (b[:, 0] * c[:, 1] - b[:, 1] * c[:, 0])
    )


def _blend(values: np.ndarray, faces: np.ndarray, points: SurfacePoints) -> np.ndarray:
    """(V, C) values at the corners → (N, C) float64 at the points."""
    return np.einsum("nk,nkc->nc", points.weights, values[faces[points.face]].astype(np.float64))
