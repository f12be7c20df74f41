"""How well the layers of a clip agree with each other: arrays in, numbers out.

Camera axes are OpenCV's (x right, y down, z forward, metres); pictures are (H, W), a pixel's centre is its index + 0.5.
Each function measures one promise of a clip with known answers; what is still acceptable is for the caller to say.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_erosion, maximum_filter, minimum_filter

# flow below this moves too little to be seen in grey levels
MOVING_PIXELS = 0.5
# depth that bends more than this share within three pixels is an edge between two surfaces
_EDGE_SHARE = 0.02


def reprojection_errors(points: np.ndarray, intrinsics: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Distance in pixels between projected points and where they are said to be.

    Args:
        points: (…, 3) camera axes, metres.
        intrinsics: (3, 3) pixels.
        pixels: (…, 2).

    Returns:
        (…) float64; infinite where a point is not in front of the camera.
    """
    seen = np.asarray(points, np.float64) @ np.asarray(intrinsics, np.float64).T
    depth = seen[..., 2:]
    with np.errstate(divide="ignore", invalid="ignore"):
        distances = np.linalg.norm(seen[..., :2] / depth - pixels, axis=-1)
    return np.where(depth[..., 0] > 0, distances, np.inf)


def mask_iou(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two boolean arrays of one shape; 1 when both are empty.

    Raises:
        ValueError: the shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"masks differ in shape: {first.shape} and {second.shape}")
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else 1.0


def outline_difference(given: np.ndarray, true: np.ndarray) -> float:
    """Pixels in which two outlines differ, as a share of the true outline's length: 0 when they are the same.

    A shift by a pixel is about 1 at any size of the picture, where the intersection over union would go to 1.

    Args:
        given: (H, W) bool.
        true: (H, W) bool; its outline are the pixels inside that have one of their 4 neighbours, or the picture's
            border, outside.

    Returns:
        Infinite when they differ and the true one is empty.
    """
    wrong = np.count_nonzero(given != true)
    length = np.count_nonzero(true & ~np.asarray(binary_erosion(true), bool))
    return wrong / length if length else float("inf") if wrong else 0.0


def sample_bilinear(image: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Values of a picture (H, W) or (H, W, C) at pixels (N, 2), the border repeated; (N,) or (N, C) float64."""
    last = np.array(image.shape[1::-1]) - 1
    places = np.clip(np.asarray(pixels, np.float64) - 0.5, 0, last)
    corner = np.minimum(places.astype(int), np.maximum(last - 1, 0))
    share = (places - corner).reshape(-1, 2, *[1] * (image.ndim - 2))
    (x, y), (right, down) = corner.T, np.minimum(corner + 1, last).T
    upper = image[y, x] * (1 - share[:, 0]) + image[y, right] * share[:, 0]
    lower = image[down, x] * (1 - share[:, 0]) + image[down, right] * share[:, 0]
    return upper * (1 - share[:, 1]) + lower * share[:, 1]


def pixel_centres(height: int, width: int) -> np.ndarray:
    """(H, W, 2) float64 coordinates (x, y) of the centres of the pixels."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return np.stack([x, y], axis=-1)


def warp_errors(
    first: np.ndarray, second: np.ndarray, flow: np.ndarray, valid: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Photometric errors of a flow, with it and without it, on the valid pixels that move.

    A pixel that does not move may change as well, by the shadow of somebody else.

    Args:
        first, second: (H, W, 3) uint8.
        flow: (H, W, 2) pixels (x, y), from the first picture to the second.
        valid: (H, W) bool.

    Returns:
        (N,) |second at the flow's end − first| and (N,) |second at the same place − first|, grey levels.
    """
    moves = valid & (np.linalg.norm(flow, axis=-1) > MOVING_PIXELS)
    ends = (pixel_centres(*valid.shape) + flow)[moves]
    here = first[moves].astype(np.float64)
    warped = np.abs(sample_bilinear(second, ends) - here).mean(axis=-1)
    return warped, np.abs(second[moves] - here).mean(axis=-1)


def round_trip_errors(forward: np.ndarray, backward: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """(N,) pixels: how far a valid pixel ends from its start when it goes along a flow and comes back.

    Args:
        forward: (H, W, 2) pixels, from one picture to another.
        backward: (H, W, 2) pixels, the other way.
        valid: (H, W) bool, of `forward`.
    """
    out = forward[valid].astype(np.float64)
    ends = pixel_centres(*valid.shape)[valid] + out
    return np.linalg.norm(out + sample_bilinear(backward, ends), axis=-1)


def surface_distances(depth: np.ndarray, pixels: np.ndarray, z: np.ndarray) -> np.ndarray:
    """(N,) metres by which points miss a depth map, along z.

    Between the four pixels around a point the surface may have any of their depths: only what lies outside counts.

    Args:
        depth: (H, W) metres.
        pixels: (N, 2) places inside the picture.
        z: (N,) metres.
    """
    corner = np.floor(np.asarray(pixels, np.float64) - 0.5).astype(int)
    x: np.ndarray = np.clip(corner[:, :1] + [0, 1, 0, 1], 0, depth.shape[1] - 1)
    y: np.ndarray = np.clip(corner[:, 1:] + [0, 0, 1, 1], 0, depth.shape[0] - 1)
    around = depth[y, x].astype(np.float64)
    return np.maximum(np.maximum(around.min(axis=1) - z, z - around.max(axis=1)), 0.0)


def normals_of_depth(depth: np.ndarray, intrinsics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normals that a depth map implies, exact on planes.

    The inverse depth of a plane is linear in the pixel, and its gradient is the normal divided by the plane's distance.

    Args:
        depth: (H, W) metres; 0 or NaN where there is none.
        intrinsics: (3, 3) pixels.

    Returns:
        (H, W, 3) float64 unit normals in camera axes that face the camera, and (H, W) bool: the pixel and its
        neighbours lie on one surface.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.where(depth > 0, 1.0 / depth.astype(np.float64), np.nan)
    padded = np.pad(inverse, 1, constant_values=np.nan)
    left, right, up, down = padded[1:-1, :-2], padded[1:-1, 2:], padded[:-2, 1:-1], padded[2:, 1:-1]
    along_x = intrinsics[0, 0] * (right - left) / 2
    along_y = intrinsics[1, 1] * (down - up) / 2
    rays = (pixel_centres(*depth.shape) - intrinsics[:2, 2]) / np.diag(intrinsics)[:2]
    scaled = np.stack([along_x, along_y, inverse - rays[..., 0] * along_x - rays[..., 1] * along_y], axis=-1)
    bends = np.maximum(np.abs(left - 2 * inverse + right), np.abs(up - 2 * inverse + down))
    with np.errstate(invalid="ignore"):
        smooth = bends < _EDGE_SHARE * inverse
        normals = -scaled / np.linalg.norm(scaled, axis=-1, keepdims=True)
    return normals, smooth


def normal_angles(
    normals: np.ndarray, depth: np.ndarray, intrinsics: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """(H, W) degrees between normals and those that the depth implies; NaN off the interior of a surface.

    Args:
        normals: (H, W, 3) camera axes.
        depth: (H, W) metres.
        intrinsics: (3, 3) pixels.
        labels: (H, W); the interior is where the 3 × 3 pixels around have one label.
    """
    implied, smooth = normals_of_depth(depth, intrinsics)
    whole = labels.astype(np.int64)
    interior = smooth & np.equal(maximum_filter(whole, 3), minimum_filter(whole, 3))
    length = np.linalg.norm(normals, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = (implied * normals).sum(axis=-1) / length
    return np.where(interior & (length > 0.5), np.degrees(np.arccos(np.clip(cosine, -1, 1))), np.nan)


def inverse_error(first: np.ndarray, second: np.ndarray) -> float:
    """Largest entry of |first · second − 1| over matrices (T, 4, 4); metres or, in the rotation, without unit."""
    product = np.asarray(first, np.float64) @ np.asarray(second, np.float64)
    return float(np.abs(product - np.eye(4)).max())
