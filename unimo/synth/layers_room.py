"""Where the background of a clip stands, exactly: planes and a camera in, depth, normals and moved points out.

A room has six planes, a photograph one, `Room.back` metres behind the person and fixed before the camera. Pixels are
numbered row by row, P = H*W; points are metres in camera axes (x right, y down, z forward) unless they are said to be
in the room's. A wall that gives way to the default camera takes its texture along, so its points move with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unimo.synth.background import PLANE_AXES, RoomView


@dataclass(frozen=True, eq=False)
class Backdrop:
    """The planes behind a person in the T frames of a clip.

    Attributes:
        rotation: (T, 3, 3) camera axes to room axes.
        eye: (T, 3) the camera, room axes, metres.
        axes: (N,) axis of each plane in room axes.
        positions: (T, N) where the planes stand along their axes.
        plane: (T, P) uint8, the plane that each pixel sees.
        depth: (T, P) float32, its distance along the camera's z.
    """

    rotation: np.ndarray
    eye: np.ndarray
    axes: np.ndarray
    positions: np.ndarray
    plane: np.ndarray
    depth: np.ndarray

    def points(self, frame: int, pixels: np.ndarray, rays: np.ndarray) -> np.ndarray:
        """(N, 3) what these pixels (N,) of a frame see, room axes; rays (P, 3) camera axes with z = 1."""
        seen = rays[pixels] * self.depth[frame, pixels, None]
        return seen @ self.rotation[frame].T + self.eye[frame]

    def moved(self, points: np.ndarray, plane: np.ndarray, frame: int) -> np.ndarray:
        """The same points of the room (N, 3) on their planes (N,) in another frame, camera axes (N, 3)."""
        placed = points.copy()
        placed[np.arange(len(placed)), self.axes[plane]] = self.positions[frame, plane]
        return (placed - self.eye[frame]) @ self.rotation[frame]

    def normals(self, frame: int) -> np.ndarray:
        """(P, 3) unit normals towards the camera, camera axes."""
        towards = np.zeros((len(self.axes), 3))
        rows = np.arange(len(self.axes))
        towards[rows, self.axes] = np.sign(self.eye[frame, self.axes] - self.positions[frame])
        return (towards @ self.rotation[frame])[self.plane[frame]]

    def still(self, first: int, second: int) -> bool:
        """Nothing moves in the picture between two frames."""
        return all(np.array_equal(a[first], a[second]) for a in (self.rotation, self.eye, self.positions))


def room_backdrop(views: list[RoomView]) -> Backdrop:
    """The backdrop of a room out of its T views."""
    rotation, eye, positions, plane, depth = (
        np.stack([getattr(view, name) for view in views])
        for name in ("rotation", "eye", "positions", "plane", "depth")
    )
    return Backdrop(rotation, eye, np.array(PLANE_AXES), positions, plane, depth)


def picture_backdrop(frames: int, pixels: int, distance: float) -> Backdrop:
    """A photograph `distance` metres before the camera in each of T frames of P pixels."""
    return Backdrop(
        rotation=np.broadcast_to(np.eye(3), (frames, 3, 3)),
        eye=np.zeros((frames, 3)),
        axes=np.array([2]),
        positions=np.full((frames, 1), distance),
        plane=np.zeros((frames, pixels), np.uint8),
        depth=np.full((frames, pixels), distance, np.float32),
    )
