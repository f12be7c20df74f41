"""Coarser meshes whose vertices are a subset of the original's, so that one set of posed vertices serves both.

In: rest vertices (V,3) and triangles (F,3). Out: kept vertex indices (v,) and triangles into them. Edges are collapsed
onto one of their own ends in the order of the quadric error (Garland and Heckbert 1997); a collapse that would flip a
triangle or pinch the surface is passed over. Runs once, in seconds, in plain Python.
"""

from __future__ import annotations

import heapq

import numpy as np


class _Mesh:
    """A triangle mesh under half-edge collapse."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray, labels: np.ndarray | None) -> None:
        self.points = vertices.astype(np.float64)
        self.faces: list[list[int] | None] = [list(face) for face in faces.tolist()]
        self.live = len(self.faces)
        self.labels = labels
        self.around: list[set[int]] = [set() for _ in range(len(vertices))]
        self.stamp = [0] * len(vertices)
        self.quadrics = np.zeros((len(vertices), 4, 4))
        corners = self.points[faces]
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        area = np.linalg.norm(normal, axis=1, keepdims=True)
        normal = normal / np.maximum(area, 1e-12)
        plane = np.concatenate([normal, -(normal * corners[:, 0]).sum(1, keepdims=True)], 1)
        quadric = plane[:, :, None] * plane[:, None, :] * area[:, :, None]
        for corner in range(3):
            np.add.at(self.quadrics, faces[:, corner], quadric)
        for f, face in enumerate(faces.tolist()):
            for v in face:
                self.around[v].add(f)

    def neighbours(self, v: int) -> set[int]:
        """Vertices that share a triangle with `v`."""
        return {w for f in self.around[v] for w in self.faces[f] or ()} - {v}

    def cost(self, gone: int, kept: int) -> float:
        """Error of moving `gone` onto `kept`."""
        x, y, z = self.points[kept]
        place = np.array([x, y, z, 1.0])
        error = float(place @ (self.quadrics[gone] + self.quadrics[kept]) @ place)
        # Without a length term flat parts would be emptied first and leave needles.
        length = float(((self.points[gone] - self.points[kept]) ** 2).sum())
        foreign = self.labels is not None and self.labels[gone] != self.labels[kept]
        return (error + 1e-5 * length * length**0.5) * (4.0 if foreign else 1.0)

    def allowed(self, gone: int, kept: int) -> bool:
        """Whether the collapse keeps the surface a surface and turns no triangle over."""
        if len(self.neighbours(gone) & self.neighbours(kept)) > 2:
            return False
        for f in self.around[gone] - self.around[kept]:
            face = self.faces[f]
            if face is None:
                continue
            before = self.points[face]
            after = self.points[[kept if v == gone else v for v in face]]
            n0 = np.cross(before[1] - before[0], before[2] - before[0])
            n1 = np.cross(after[1] - after[0], after[2] - after[0])
            if n0 @ n1 < 0.2 * np.linalg.norm(n0) * np.linalg.norm(n1):
                return False
        return True

    def collapse(self, gone: int, kept: int) -> None:
        """Moves `gone` onto `kept`."""
        for f in list(self.around[gone]):
            face = self.faces[f]
            if face is None:
                continue
            if kept in face:
                for v in face:
                    self.around[v].discard(f)
                self.faces[f] = None
                self.live -= 1
            else:
                self.faces[f] = [kept if v == gone else v for v in face]
                self.around[kept].add(f)
        self.around[gone] = set()
        self.quadrics[kept] += self.quadrics[gone]


def decimate(
    vertices: np.ndarray, faces: np.ndarray, target_faces: int, labels: np.ndarray | None = None,
    fixed: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Collapses edges until at most `target_faces` triangles are left.

    Args:
        vertices: (V,3) metres.
        faces: (F,3) int64.
        target_faces: stops as soon as no more than this many triangles are left.
        labels: (V,) labels whose borders should be kept where that is cheap.
        fixed: (V,) bool, vertices that stay whatever it costs.

    Returns:
        Indices (v,) int64 of the kept vertices, ascending, and triangles (f,3) int64 into them.

    Raises:
        ValueError: if `target_faces` is less than 100.
    """
    if target_faces < 100:
        raise ValueError(f"a body needs at least 100 triangles, not {target_faces}")
    mesh = _Mesh(vertices, faces, labels)
    heap: list[tuple[float, int, int, int, int]] = []

    def push(v: int) -> None:
        for w in mesh.neighbours(v):
            for gone, kept in ((v, w), (w, v)):
                heapq.heappush(heap, (mesh.cost(gone, kept), gone, kept, mesh.stamp[gone], mesh.stamp[kept]))

    edges = np.unique(np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0)
    for a, b in edges.tolist():
        for gone, kept in ((a, b), (b, a)):
            heap.append((mesh.cost(gone, kept), gone, kept, 0, 0))
    heapq.heapify(heap)
    while mesh.live > target_faces and heap:
        _, gone, kept, stamp_gone, stamp_kept = heapq.heappop(heap)
        if fixed is not None and fixed[gone]:
            continue
        if mesh.stamp[gone] != stamp_gone or mesh.stamp[kept] != stamp_kept or not mesh.allowed(gone, kept):
            continue
        mesh.collapse(gone, kept)
        mesh.stamp[gone] = -1
        mesh.stamp[kept] += 1
        push(kept)
    left = np.array([face for face in mesh.faces if face is not None], dtype=np.int64)
    kept_vertices, flat = np.unique(left, return_inverse=True)
    return kept_vertices, flat.reshape(-1, 3).astype(np.int64)
