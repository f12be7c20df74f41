"""Points followed through a clip, and which keypoints can be seen: surfaces in, places and visibility out.

Metres, camera axes; pixels have their centre at index + 0.5. What is drawn depends on the clip's seed alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unimo.body.names import JOINT_NAMES
from unimo.synth.layers_body import BodySurface, SurfacePoints
from unimo.synth.layers_room import Backdrop
from unimo.synth.scene import Scene, stream

# share of the tracks that are on the person
PERSON_SHARE = 0.75
# a keypoint is seen where the skin before it lies, on the resting body, within this distance of the joint (metres): the
# skin around a joint is at most 0.19 from it, that of the other leg at least 0.26
AROUND_JOINT = 0.22


def keypoints_visible(scene: Scene, body: BodySurface) -> np.ndarray:
    """Says which joints can be seen, (T, 22) bool.

    Joints are inside the body. One counts as seen when it is in the picture and what stands at its place there is the
    skin around it: within `AROUND_JOINT` of the joint on the resting body. So a hand before the belly hides the pelvis
    however near it is, and a forearm that points at the camera does not hide its own wrist.
    """
    joints = scene.puppet.rest_joints(np.zeros(10))[: len(JOINT_NAMES)]
    seen = np.zeros(scene.keypoints2d.shape[:2], bool)
    for frame, (pixels, places) in enumerate(zip(scene.keypoints2d, scene.keypoints3d, strict=True)):
        face = body.faces_at(frame, pixels)
        found = np.flatnonzero(body.inside(pixels, places[:, 2]) & (face >= 0))
        skin = body.rest_places(body.at(frame, face[found], body.rays(pixels[found].astype(np.float64))))
        seen[frame, found] = np.linalg.norm(skin - joints[found], axis=-1) < AROUND_JOINT
    return seen


def follow(
    scene: Scene, body: BodySurface, backdrop: Backdrop, seen: Sequence[tuple[np.ndarray, SurfacePoints]],
    rays: np.ndarray,
) -> dict[str, np.ndarray]:
    """Draws `scene.config.tracks` points and follows them.

    Args:
        scene: the scene; its seed chooses the points.
        body: the person, drawn.
        backdrop: what stands behind.
        seen: for each frame, the pixels that show the person and the points they show.
        rays: (P, 3) of the pixels.

    Returns:
        `tracks2d`, `tracks3d`, `tracks_visible`, `tracks_person`, the person's first; see `unimo.synth.layers`.
    """
    rng, count, frames = stream(scene.seed, "tracks"), scene.config.tracks, len(seen)
    on_body = _draw_body(rng, round(PERSON_SHARE * count), seen)
    plane, points = _draw_room(rng, count - len(on_body.face), [pixels for pixels, _ in seen], backdrop, rays)
    people = len(on_body.face)
    person = np.arange(people + len(plane)) < people
    flat, solid = np.empty((frames, len(person), 2), np.float32), np.empty((frames, len(person), 3), np.float32)
    visible = np.zeros((frames, len(person)), bool)
    for frame in range(frames):
        places = np.concatenate([body.places(frame, on_body), backdrop.moved(points, plane, frame)])
        pixels = body.project(places)
        flat[frame], solid[frame] = pixels, places
        visible[frame] = body.inside(pixels, places[:, 2]) & (body.faces_at(frame, pixels) < 0)
        visible[frame, :people] = body.sees(frame, on_body, places[:people], pixels[:people])
    return {"tracks2d": flat, "tracks3d": solid, "tracks_visible": visible, "tracks_person": person}


def _draw_body(
    rng: np.random.Generator, count: int, seen: Sequence[tuple[np.ndarray, SurfacePoints]]
) -> SurfacePoints:
    """Points of the person, each seen at some pixel of some frame."""
    frame, index = _draw_places(rng, count, [len(points.face) for _, points in seen])
    face, weights = np.empty(len(frame), np.int64), np.empty((len(frame), 3))
    for row, (t, i) in enumerate(zip(frame, index, strict=True)):
        face[row], weights[row] = seen[t][1].face[i], seen[t][1].weights[i]
    return SurfacePoints(face, weights)


def _draw_room(
    rng: np.random.Generator, count: int, person: Sequence[np.ndarray], backdrop: Backdrop, rays: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Planes (N,) and points (N, 3), room axes, each seen at some pixel of some frame; person: each frame's pixels."""
    frame, index = _draw_places(rng, count, [len(rays) - len(pixels) for pixels in person])
    free = {t: np.delete(np.arange(len(rays)), person[t]) for t in np.unique(frame)}
    pixel = np.array([free[t][i] for t, i in zip(frame, index, strict=True)], np.int64)
    points = [backdrop.points(int(t), np.array([p]), rays) for t, p in zip(frame, pixel, strict=True)]
    return backdrop.plane[frame, pixel], np.concatenate(points) if points else np.zeros((0, 3))


def _draw_places(rng: np.random.Generator, count: int, sizes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Draws among things of which each frame has `sizes[t]`: (N,) frames and (N,) numbers within the frame."""
    ends = np.cumsum(sizes)
    total = int(ends[-1])
    chosen = rng.choice(total, min(count, total), replace=False)
    frame = np.searchsorted(ends, chosen, side="right")
    return frame, chosen - (ends - sizes)[frame]
