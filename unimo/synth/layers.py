"""What a clip knows about each of its pixels: a drawn scene in, exact layers out.

Layers, background included (T frames, H = W pixels, centre = index + 0.5, metres, camera axes: x right, y down,
z forward); each describes what stands at the pixel's centre:
- `depth` (T, H, W) float16, along z.
- `normals` (T, H, W, 3) int8, value / 127 is a unit vector towards the camera.
- `surface` (T, H, W, 3) float16, the place on the resting mean body (arms along ±x, facing +z, y up); NaN elsewhere.
- `flow_forward`, `flow_backward` (T-1, H, W, 2) float16 pixels (x, y), from frame t to t + 1 and from t + 1 to t;
  `flow_forward_valid`, `flow_backward_valid` (T-1, H, W/8) packed bits: the target is in the picture and not hidden.
- `tracks2d` (T, N, 2), `tracks3d` (T, N, 3) float32, `tracks_visible` (T, N), `tracks_person` (N,) bool.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unimo.errors import InputError
from unimo.render.renderer import MeshRenderer
from unimo.synth.layers_body import BodySurface, SurfacePoints
from unimo.synth.layers_room import Backdrop
from unimo.synth.layers_tracks import follow, keypoints_visible
from unimo.synth.scene import Scene

LAYERS = ("depth", "normals", "surface", "flow", "tracks")


def parse_layers(text: str) -> tuple[str, ...]:
    """"all", or names parted by commas → names in the order of `LAYERS`; empty gives none.

    Raises:
        InputError: a name is not in `LAYERS`.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if names == ["all"]:
        return LAYERS
    for name in names:
        if name not in LAYERS:
            raise InputError(f"there is no layer {name!r}", fix=f"--layers all, or some of {','.join(LAYERS)}")
    return tuple(name for name in LAYERS if name in names)


class GroundTruth:
    """The answers of one scene; triangles are drawn when first needed."""

    def __init__(self, scene: Scene, vertices: np.ndarray, backdrop: Backdrop, renderer: MeshRenderer) -> None:
        """Args: vertices: (T, V, 3) posed, camera axes; backdrop: what stands behind; renderer: for the triangles."""
        assert scene.motion.intrinsics is not None
        self._scene, self._backdrop, self._renderer = scene, backdrop, renderer
        self._body = BodySurface(vertices, scene.puppet, scene.motion.intrinsics, scene.side)
        self._seen: list[tuple[np.ndarray, SurfacePoints]] | None = None
        self._centres = np.stack(np.meshgrid(*[np.arange(scene.side) + 0.5] * 2), axis=-1).reshape(-1, 2)
        self._rays = self._body.rays(self._centres)

    def _visible(self) -> list[tuple[np.ndarray, SurfacePoints]]:
        """For every frame the pixels that show the person, and the points of it that they show."""
        if self._seen is None:
            self._body.draw(self._renderer)
            self._seen = []
            for frame in range(len(self._scene.motion)):
                faces = self._body.pixel_faces(frame)
                pixels = np.flatnonzero(faces >= 0)
                self._seen.append((pixels, self._body.at(frame, faces[pixels], self._rays[pixels])))
        return self._seen

    def keypoints_visible(self) -> np.ndarray:
        """(T, 22) bool; see `unimo.synth.layers_tracks.keypoints_visible`."""
        self._visible()
        return keypoints_visible(self._scene, self._body)

    def layers(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """The arrays of these layers by the names of the module's list; flow and tracks have several."""
        made: dict[str, np.ndarray] = {}
        for name in names:
            made.update(getattr(self, f"_{name}")())
        return made

    def _depth(self) -> dict[str, np.ndarray]:
        depth = self._backdrop.depth.astype(np.float16)
        for frame, (pixels, points) in enumerate(self._visible()):
            depth[frame, pixels] = self._body.places(frame, points)[:, 2]
        return {"depth": self._picture(depth)}

    def _normals(self) -> dict[str, np.ndarray]:
        normals = np.empty((*self._backdrop.plane.shape, 3), np.int8)
        for frame, (pixels, points) in enumerate(self._visible()):
            normals[frame] = np.rint(127.0 * self._backdrop.normals(frame))
            normals[frame, pixels] = np.rint(127.0 * self._body.normals(frame, points))
        return {"normals": self._picture(normals)}

    def _surface(self) -> dict[str, np.ndarray]:
        surface = np.full((*self._backdrop.plane.shape, 3), np.nan, np.float16)
        for frame, (pixels, points) in enumerate(self._visible()):
            surface[frame, pixels] = self._body.rest_places(points)
        return {"surface": self._picture(surface)}

    def _flow(self) -> dict[str, np.ndarray]:
        last = len(self._visible()) - 1
        made = {}
        for name, pairs in (
            ("flow_forward", [(t, t + 1) for t in range(last)]), ("flow_backward", [(t + 1, t) for t in range(last)])
        ):  # fmt: skip
            flow = np.zeros((last, len(self._rays), 2), np.float16)
            valid = np.zeros((last, len(self._rays)), bool)
            for row, (start, end) in enumerate(pairs):
                flow[row], valid[row] = self._flow_between(start, end)
            made[name], made[f"{name}_valid"] = self._picture(flow), np.packbits(self._picture(valid), axis=-1)
        return made

    def _flow_between(self, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """(P, 2) pixels and (P,) bool: where what is seen in frame `start` is in frame `end`."""
        body, backdrop, (pixels, points) = self._body, self._backdrop, self._visible()[start]
        room = np.delete(np.arange(len(self._centres)), pixels)
        target, depth = self._centres.copy(), np.ones(len(self._centres))
        if not backdrop.still(start, end):
            moved = backdrop.moved(backdrop.points(start, room, self._rays), backdrop.plane[start, room], end)
            target[room], depth[room] = body.project(moved), moved[:, 2]
        places = body.places(end, points)
        # from where the point itself is: a still person has no flow at all
        target[pixels] += body.project(places) - body.project(body.places(start, points))
        valid = body.inside(target, depth) & (body.faces_at(end, target) < 0)
        valid[pixels] = body.sees(end, points, places, target[pixels])
        limit = 4.0 * body.side
        return np.clip(target - self._centres, -limit, limit), valid

    def _tracks(self) -> dict[str, np.ndarray]:
        return follow(self._scene, self._body, self._backdrop, self._visible(), self._rays)

    def _picture(self, values: np.ndarray) -> np.ndarray:
        """(T, P, …) → (T, H, W, …)."""
        return values.reshape(len(values), self._scene.side, self._scene.side, *values.shape[2:])
