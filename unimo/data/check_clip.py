"""Measures how well the ground truth of one clip agrees with itself and with the body.

In: a folder of `unimo synth`. Out: a `ClipCheck`: one number a measure, None for what was not written, and the faults
of its files in words. `unimo.data.check` holds the limits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter
from scipy.spatial import KDTree

from unimo.data.check_files import ClipFiles
from unimo.metrics.ground_truth import (
    inverse_error,
    mask_iou,
    normal_angles,
    outline_difference,
    pixel_centres,
    reprojection_errors,
    round_trip_errors,
    sample_bilinear,
    surface_distances,
    warp_errors,
)
from unimo.motion.frames import joint_positions, points_to_world
from unimo.motion.motion import Motion
from unimo.render.renderer import RenderedFrame, shared_renderer
from unimo.synth.cut import Cut
from unimo.synth.layers_body import FINE
from unimo.synth.moments import posed_vertices
from unimo.synth.puppet import Puppet, dressed_puppet, load_puppet

# a vertex so little behind the drawn surface is seen, metres
_SKIN = 0.01
# a flow has to explain changes of the picture that stand out from compression and from the sensor's noise: grey
# levels, and standard deviations of that noise
_CHANGE, _ABOVE_NOISE = 10.0, 6.0
# fewer such pixels in a clip say nothing: there is nothing to explain
_ENOUGH = 100


@dataclass(frozen=True)
class ClipCheck:
    """What was found in one clip.

    Attributes:
        name: of its folder.
        values: measure → number; those are missing, or None, for which the clip has not what is needed.
        faults: what is wrong with its files.
    """

    name: str
    values: dict[str, float | None]
    faults: list[str]


def check_clip(folder: Path) -> ClipCheck:
    """Measures one clip.

    Args:
        folder: `clips/NNNNNN` of `unimo synth`.

    Raises:
        MissingAssetError: no EGL driver on this machine, or the licensed body is needed and not there.
    """
    clip = ClipFiles(folder)
    values: dict[str, float | None] = {}
    if clip.motion is not None and clip.rgb is not None:
        values |= _geometry(clip, clip.motion)
        values |= _redrawn(clip, clip.motion, clip.rgb.shape[1], clip.rgb.shape[2])
        values |= _flow(clip, clip.rgb)
        values |= _room_flow(clip)
        values |= _tracks(clip)
        values |= _normals(clip)
    values["files"] = float(len(clip.faults))
    return ClipCheck(folder.name, values, clip.faults)


def _geometry(clip: ClipFiles, motion: Motion) -> dict[str, float | None]:
    """Keypoints, joints, camera and world, each by its largest error."""
    values: dict[str, float | None] = {}
    if found := clip.get("keypoints3d", "intrinsics", "keypoints2d"):
        values["keypoints"] = float(reprojection_errors(*found).max())
    if found := clip.get("keypoints3d"):
        values["joints"] = float(1e3 * np.linalg.norm(joint_positions(motion) - found[0], axis=-1).max())
    if found := clip.get("world2cam", "cam2world"):
        values["camera"] = inverse_error(*found)
    found = clip.get("cam2world")
    if clip.world is not None and found and len(clip.world) == len(motion):
        # points are carried over, not parameters: a translation that leaves J0 out shows
        apart = points_to_world(joint_positions(motion), found[0]) - joint_positions(clip.world)
        values["world"] = float(1e3 * np.linalg.norm(apart, axis=-1).max())
    return values


def _redrawn(clip: ClipFiles, motion: Motion, height: int, width: int) -> dict[str, float | None]:
    """Mask, depth and surface map against the body drawn anew from motion, intrinsics and shape."""
    found = clip.get("mask")
    if found is None or motion.intrinsics is None:
        return {}
    try:
        puppet = _puppet(clip, motion)
    except TypeError:
        clip.faults.append("the cut in clip.json is none that this version knows")
        return {}
    vertices = posed_vertices(motion, puppet)
    frames = list(_draw(puppet, vertices, motion.intrinsics, height, width))
    drawn = np.stack([frame.mask for frame in frames])
    values: dict[str, float | None] = {"mask": mask_iou(found[0], drawn)}
    if surface := clip.get("surface"):
        centres, touched = _at_centres(puppet, vertices, motion.intrinsics, height, width)
        given = np.asarray(np.isfinite(surface[0]).all(axis=-1), bool)
        values["surface_outline"] = max(outline_difference(*pair) for pair in zip(given, centres, strict=True))
        if (given & ~np.asarray(maximum_filter(touched, (1, 3, 3)), bool)).any():
            clip.faults.append("surface is given where the person is not")
    # layers describe the pixel's centre, a mask half of its area: they agree off the outline
    inside = minimum_filter(found[0] & drawn, (1, 3, 3))
    if not inside.any():
        return values
    if clip.depth is not None:
        values["depth"] = _depth_error(clip.depth, frames, inside)
    if flow := clip.get("flow_forward"):
        values["flow_body"] = _body_flow_error(flow[0], frames, inside, vertices, motion.intrinsics)
    if surface:
        values["surface"] = _surface_error(surface[0], frames, inside, puppet, vertices, motion.intrinsics)
    return values


def _depth_error(depth: np.ndarray, frames: list[RenderedFrame], inside: np.ndarray) -> float:
    """Metres by which depth misses the body's between the pixel and its neighbours, 95 % of the pixels inside."""
    apart = []
    for here, frame, chosen in zip(depth, frames, inside, strict=True):
        low, high = minimum_filter(frame.depth, 3), maximum_filter(frame.depth, 3)
        apart.append(np.maximum(np.maximum(low - here, here - high), 0.0)[chosen])
    return float(np.percentile(np.concatenate(apart), 95))


def _puppet(clip: ClipFiles, motion: Motion) -> Puppet:
    """The mesh of the clip: the body, dressed as clip.json says."""
    if clip.record.get("cut"):
        return dressed_puppet(motion.body, Cut(**clip.record["cut"]))
    return load_puppet(motion.body)


def _draw(
    puppet: Puppet, vertices: np.ndarray, intrinsics: np.ndarray, height: int, width: int
) -> Iterator[RenderedFrame]:
    grey = np.full(vertices.shape[1:], 0.5, np.float32)
    for posed in vertices:
        yield shared_renderer().render(posed, puppet.topology.faces, intrinsics, height, width, grey)


def _at_centres(
    puppet: Puppet, vertices: np.ndarray, intrinsics: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Two (T, H, W) bool: the body stands at the pixel's centre; at one of its `FINE`² places.

    The tip of a finger can stand at a centre and cover less than half of the pixel, so the mask cannot say this.
    """
    faces, fine = puppet.topology.faces, intrinsics * np.array([[FINE], [FINE], [1]])
    centres, touched = (np.empty((len(vertices), height, width), bool) for _ in range(2))
    for t, posed in enumerate(vertices):
        there = shared_renderer().face_ids(posed, faces, fine, FINE * height, FINE * width) >= 0
        cells = there.reshape(height, FINE, width, FINE)
        centres[t], touched[t] = cells[:, FINE // 2, :, FINE // 2], cells.any(axis=(1, 3))
    return centres, touched


def _surface_error(
    surface: np.ndarray, frames: list[RenderedFrame], inside: np.ndarray, puppet: Puppet, vertices: np.ndarray,
    intrinsics: np.ndarray,
) -> float:
    """Median metres between the pixels' points on the body and the posed vertices nearest to the map's places."""
    tree = KDTree(puppet.regions.rest)
    rays = (pixel_centres(*inside.shape[1:]) - intrinsics[:2, 2]) / np.diag(intrinsics)[:2]
    apart = []
    for t, frame in enumerate(frames):
        chosen = surface[t][inside[t]].astype(np.float64)
        known = np.isfinite(chosen).all(axis=-1)
        z = frame.depth[inside[t]][:, None]
        points = np.concatenate([rays[inside[t]] * z, z], axis=-1)
        away = np.full(len(chosen), np.inf)
        away[known] = np.linalg.norm(vertices[t][tree.query(chosen[known])[1]] - points[known], axis=-1)
        apart.append(away)
    return float(np.median(np.concatenate(apart)))


def _body_flow_error(
    flow: np.ndarray, frames: list[RenderedFrame], inside: np.ndarray, vertices: np.ndarray, intrinsics: np.ndarray
) -> float | None:
    """Median pixels between flow and the way of the vertices that a frame shows; None when it shows none."""
    height, width = inside.shape[1:]
    apart = []
    for t in range(len(flow)):
        here, there = _project(vertices[t], intrinsics), _project(vertices[t + 1], intrinsics)
        x, y = (np.clip(here[:, axis].astype(int), 0, size - 1) for axis, size in ((0, width), (1, height)))
        shown = inside[t, y, x] & (vertices[t][:, 2] < frames[t].depth[y, x] + _SKIN)
        apart.append(np.linalg.norm(sample_bilinear(flow[t], here[shown]) - (there - here)[shown], axis=-1))
    return _median(apart)


def _median(parts: list[np.ndarray]) -> float | None:
    """Of all numbers; None when there is none."""
    known = np.concatenate(parts) if parts else np.zeros(0)
    return float(np.median(known)) if known.size else None


def _project(points: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    seen = points.astype(np.float64) @ intrinsics.astype(np.float64).T
    return seen[:, :2] / np.maximum(seen[:, 2:], 1e-3)


def _room_flow(clip: ClipFiles) -> dict[str, float | None]:
    """Median pixels between flow off the person and where depth and the camera's way put the pixel."""
    found = clip.get("flow_forward", "flow_forward_valid", "mask", "cam2world", "intrinsics")
    if found is None or clip.depth is None:
        return {}
    flow, valid, mask, cam2world, intrinsics = found
    centres = pixel_centres(*mask.shape[1:])
    rays = np.concatenate([(centres - intrinsics[:2, 2]) / np.diag(intrinsics)[:2], np.ones_like(centres[..., :1])], -1)
    apart = []
    for t in range(len(flow)):
        chosen = valid[t] & ~np.asarray(maximum_filter(mask[t], 3), bool)
        points = rays[chosen] * clip.depth[t][chosen][:, None]
        onward = np.linalg.inv(cam2world[t + 1].astype(np.float64)) @ cam2world[t]
        way = _project(points @ onward[:3, :3].T + onward[:3, 3], intrinsics) - centres[chosen]
        apart.append(np.linalg.norm(flow[t][chosen] - way, axis=-1))
    return {"flow_room": _median(apart)}


def _flow(clip: ClipFiles, rgb: np.ndarray) -> dict[str, float | None]:
    """Both flows: grey levels that remain of those that change, and pixels by which a round trip misses."""
    found = clip.get("flow_forward", "flow_backward", "flow_forward_valid", "flow_backward_valid")
    if found is None or len(rgb) < 2:
        return {}
    forward, backward, forward_valid, backward_valid = found
    change = _CHANGE + _ABOVE_NOISE * clip.sensor_noise
    misses, remains = [], {"forward": ([], []), "backward": ([], [])}
    for t in range(len(rgb) - 1):
        for lists, pair, flow, valid in (
            (remains["forward"], (rgb[t], rgb[t + 1]), forward[t], forward_valid[t]),
            (remains["backward"], (rgb[t + 1], rgb[t]), backward[t], backward_valid[t]),
        ):
            warped, still = warp_errors(*pair, flow.astype(np.float64), valid)
            lists[0].append(warped[still > change])
            lists[1].append(still[still > change])
        misses.append(round_trip_errors(forward[t], backward[t].astype(np.float64), forward_valid[t]))
    worse = 0.0
    values: dict[str, float | None] = {"flow_grey": 0.0, "still_grey": 0.0, "flow_picture": 0.0}
    if (misses := np.concatenate(misses)).size:
        values["flow_return"] = float(misses.mean())
    for lists in remains.values():
        warped, still = (np.concatenate(part) for part in lists)
        if len(still) >= _ENOUGH and (share := float(warped.mean() / still.mean())) > worse:
            worse = share
            values |= {"flow_grey": float(warped.mean()), "still_grey": float(still.mean()), "flow_picture": share}
    return values


def _tracks(clip: ClipFiles) -> dict[str, float | None]:
    """Tracks: largest error of projection, and how far visible ones are from the depth map (95 of 100 are nearer)."""
    found = clip.get("tracks3d", "intrinsics", "tracks2d", "tracks_visible")
    if found is None:
        return {}
    tracks3d, intrinsics, tracks2d, visible = found
    visible = visible.astype(bool)
    if not visible.any():
        clip.faults.append("no track is visible in any frame")
        return {}
    values: dict[str, float | None] = {}
    values["tracks_pixels"] = float(reprojection_errors(tracks3d, intrinsics, tracks2d)[visible].max())
    if clip.depth is not None:
        apart = [
            surface_distances(depth, pixels[seen], points[seen][:, 2])
            for depth, pixels, points, seen in zip(clip.depth, tracks2d, tracks3d, visible, strict=True)
        ]
        values["tracks_surface"] = float(np.percentile(np.concatenate(apart), 95))
    return values


def _normals(clip: ClipFiles) -> dict[str, float | None]:
    """Median degrees between normals and gradients of depth, on the person and behind it."""
    found = clip.get("normals", "depth", "mask", "intrinsics")
    if found is None:
        return {}
    normals, depths, masks, intrinsics = found
    parts: dict[str, list[np.ndarray]] = {"normals_person": [], "normals_room": []}
    for normal, depth, mask in zip(normals, depths, masks, strict=True):
        angles = normal_angles(normal / 127.0, depth.astype(np.float64), intrinsics, mask)
        known = np.isfinite(angles)
        parts["normals_person"].append(angles[mask & known])
        parts["normals_room"].append(angles[~mask & known])
    return {name: _median(angles) for name, angles in parts.items()}
