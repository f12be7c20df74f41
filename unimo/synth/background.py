"""The room behind a synthetic person: camera rays in, smooth coloured background frames out.

A room is a floor at y = 0, walls around and a ceiling, in world axes (y up, metres), cast per pixel in numpy; textures
are smooth and of moderate contrast because a small tokenizer has to code them. Feet and trunk drop soft shadows.
An image folder can stand in for the room. Colours are RGB in 0..1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from unimo.errors import InputError
from unimo.media.checks import check_size
from unimo.media.images import read_image
from unimo.media.suffixes import IMAGE_SUFFIXES
from unimo.synth.appearance import Color, hsv_to_rgb

FLOOR_KINDS = ("plain", "checker", "planks", "cloudy")
WALL_KINDS = ("plain", "gradient", "cloudy", "stripes", "panel")
_FLOOR, _CEILING, _BACK = 0, 1, 2
# axis (x right, y up, z to the back) of floor, ceiling, back, left and right wall, and the wall behind the camera
PLANE_AXES = (1, 1, 2, 0, 0, 2)


@dataclass(frozen=True)
class Room:
    """One background.

    Attributes:
        floor, floor_accent, wall, wall_accent, side_wall, ceiling: RGB in 0..1.
        floor_kind, wall_kind: one of `FLOOR_KINDS`, `WALL_KINDS`.
        floor_scale, wall_scale: metres of one texture period.
        yaw: turn of the room about the vertical against the camera's first heading, radians.
        back, left, right: metres from the person's place to the walls.
        height: metres to the ceiling.
        skirting: height of the skirting board in metres, 0 for none.
        shadow: darkness of the shadow, 0..1.
        noise_seed: seed of the cloud texture.
        image: path of an image that replaces the room, or None.
        crop: (left, top, size) of the square crop of that image as fractions of what is possible.
    """

    floor: Color
    floor_accent: Color
    wall: Color
    wall_accent: Color
    side_wall: Color
    ceiling: Color
    floor_kind: str
    wall_kind: str
    floor_scale: float
    wall_scale: float
    yaw: float
    back: float
    left: float
    right: float
    height: float
    skirting: float
    shadow: float
    noise_seed: int
    image: str | None = None
    crop: tuple[float, float, float] = (0.5, 0.5, 1.0)


def sample_room(rng: np.random.Generator, images: tuple[str, ...] = ()) -> Room:
    """Draws a room; with `images`, half of the draws show one of them instead."""
    floor = hsv_to_rgb(rng.uniform(0.02, 0.15) if rng.random() < 0.6 else rng.random(), rng.uniform(0.05, 0.45),
                       rng.uniform(0.3, 0.8))
    wall = hsv_to_rgb(rng.random(), rng.uniform(0.02, 0.35), rng.uniform(0.45, 0.92))
    floor_contrast, wall_contrast = rng.uniform(0.72, 0.92), rng.uniform(0.78, 1.12)

    def triple(color: np.ndarray) -> Color:
        clipped = np.clip(color, 0.03, 0.97)
        return float(clipped[0]), float(clipped[1]), float(clipped[2])

    return Room(
        floor=triple(floor),
        floor_accent=triple(floor * floor_contrast),
        wall=triple(wall),
        wall_accent=triple(wall * wall_contrast),
        side_wall=triple(wall * rng.uniform(0.8, 0.95)),
        ceiling=triple(0.5 * wall + 0.45),
        floor_kind=str(rng.choice(FLOOR_KINDS)),
        wall_kind=str(rng.choice(WALL_KINDS)),
        floor_scale=float(rng.uniform(0.5, 1.1)),
        wall_scale=float(rng.uniform(0.8, 2.0)),
        yaw=float(rng.uniform(-0.6, 0.6)),
        back=float(rng.uniform(1.2, 4.0)),
        left=float(rng.uniform(1.8, 5.0)),
        right=float(rng.uniform(1.8, 5.0)),
        height=float(rng.uniform(2.5, 3.6)),
        skirting=float(rng.choice([0.0, 0.1, 0.14])),
        shadow=float(rng.uniform(0.3, 0.6)),
        noise_seed=int(rng.integers(2**31)),
        image=str(rng.choice(images)) if images and rng.random() < 0.5 else None,
        crop=(float(rng.random()), float(rng.random()), float(rng.uniform(0.7, 1.0))),
    )


def room_colors(room: Room) -> np.ndarray:
    """(3, 3) the colours a person is mostly seen against."""
    return np.array([room.wall, room.floor, room.side_wall])


@lru_cache(maxsize=4)
def _pixel_rays(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres as offsets from the principal point, in units of the side: (side*side,) each."""
    centre = (np.arange(side, dtype=np.float32) + 0.5) / side - 0.5
    u, v = np.meshgrid(centre, centre)
    return u.ravel(), v.ravel()


def _cloud(lattice: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Smooth periodic noise in -1..1 at (u, v), one lattice cell a unit."""
    size = len(lattice)
    iu, iv = np.floor(u), np.floor(v)
    fu, fv = u - iu, v - iv
    fu, fv = fu * fu * (3 - 2 * fu), fv * fv * (3 - 2 * fv)
    iu, iv = iu.astype(np.int32) % size, iv.astype(np.int32) % size
    ju, jv = (iu + 1) % size, (iv + 1) % size
    near = lattice[iu, iv] * (1 - fu) + lattice[ju, iv] * fu
    far = lattice[iu, jv] * (1 - fu) + lattice[ju, jv] * fu
    return near * (1 - fv) + far * fv


def _wave(phase: np.ndarray, footprint: np.ndarray) -> np.ndarray:
    """A square wave in -1..1 of period 1 whose edges are as soft as a pixel; it fades where pixels are coarser."""
    triangle = 1.0 - 4.0 * np.abs((phase % 1.0) - 0.5)
    return np.clip(triangle / np.maximum(4.0 * footprint, 0.12), -1.0, 1.0) * np.clip(1.6 - 3.0 * footprint, 0.0, 1.0)


@dataclass(frozen=True)
class RoomView:
    """A room seen by one camera position.

    Attributes:
        color: (H, W, 3) float32 in 0..1, without shadows.
        floor_index: (N,) flat indices of the pixels that see the floor.
        floor_points: (N, 2) world x, z of those pixels, metres.
        plane: (H*W,) uint8, which of `PLANE_AXES` each pixel sees.
        depth: (H*W,) float32 metres along the camera's z.
        rotation: (3, 3) camera axes to room axes, and eye: (3,) the camera in room axes.
        positions: (6,) where the planes stand along their axes.
    """

    color: np.ndarray
    floor_index: np.ndarray
    floor_points: np.ndarray
    plane: np.ndarray
    depth: np.ndarray
    rotation: np.ndarray
    eye: np.ndarray
    positions: np.ndarray


def view_room(
    room: Room, cam2world: np.ndarray, intrinsics: np.ndarray, side: int, place: np.ndarray,
    eyes: np.ndarray | None = None,
) -> RoomView:
    """Draws the empty room.

    Args:
        room: the room.
        cam2world: (4, 4) camera pose (OpenCV axes to y-up world).
        intrinsics: (3, 3) in pixels.
        side: H = W in pixels.
        place: (3,) world x, z of the person and the room's heading in radians.
        eyes: (N, 3) world places of the camera that must be inside the room; None means this one alone, so that a wall
            that the camera comes near to gives way to it.
    """
    u, v = _pixel_rays(side)
    focal = float(intrinsics[0, 0]) / side
    rays = np.stack([u / focal, v / focal, np.ones_like(u)]).astype(np.float32)
    cos, sin = np.cos(place[2]), np.sin(place[2])
    # room axes: y up, the back wall at +z
    to_room = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
    offset = np.array([place[0], 0.0, place[1]])
    rays = (to_room @ cam2world[:3, :3]).astype(np.float32) @ rays
    eye = (to_room @ (cam2world[:3, 3] - offset)).astype(np.float32)
    positions = _plane_positions(room, eye[None] if eyes is None else (eyes - offset) @ to_room.T)
    distances = np.empty((len(positions), rays.shape[1]), np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        for row, (axis, position) in enumerate(zip(PLANE_AXES, positions, strict=True)):
            t = (position - eye[axis]) / rays[axis]
            distances[row] = np.where(t > 0, t, np.inf)
    plane = np.argmin(distances, axis=0)
    t = distances[plane, np.arange(len(plane))]
    points = eye[:, None] + t * rays
    footprint = t / np.float32(focal * side)
    color = np.empty((3, len(plane)), np.float32)
    lattice = np.random.Generator(np.random.PCG64(room.noise_seed)).uniform(-1, 1, (16, 16)).astype(np.float32)
    floor_index = np.flatnonzero(plane == _FLOOR)
    floor = points[:, floor_index]
    grazing = footprint[floor_index] / np.maximum(-rays[1, floor_index], 0.05)
    color[:, floor_index] = _paint_floor(room, floor, grazing, lattice)
    for row in range(1, len(positions)):
        index = np.flatnonzero(plane == row)
        if len(index):
            color[:, index] = _paint_wall(room, row, points[:, index], footprint[index], lattice)
    world = to_room.T[[0, 2]].astype(np.float32) @ floor + offset[[0, 2], None].astype(np.float32)
    image = _soften(np.ascontiguousarray(color.T).reshape(side, side, 3))
    return RoomView(
        image, floor_index, np.ascontiguousarray(world.T), plane.astype(np.uint8), t, to_room @ cam2world[:3, :3],
        to_room @ (cam2world[:3, 3] - offset), positions,
    )  # fmt: skip


def _plane_positions(room: Room, eyes: np.ndarray) -> np.ndarray:
    """(6,) float32: where the planes of `PLANE_AXES` stand so that cameras at `eyes` (N, 3), room axes, are inside."""
    inside, (low, high) = 0.4, (eyes.min(axis=0), eyes.max(axis=0))
    return np.array([
        0.0, max(room.height, high[1] + inside), max(room.back, high[2] + inside), -max(room.left, inside - low[0]),
        max(room.right, high[0] + inside), min(-8.0, low[2] - inside),
    ], np.float32)  # fmt: skip


def _paint_floor(room: Room, points: np.ndarray, footprint: np.ndarray, lattice: np.ndarray) -> np.ndarray:
    x, z = points[0] / room.floor_scale, points[2] / room.floor_scale
    soft = footprint / room.floor_scale
    if room.floor_kind == "checker":
        blend = 0.5 + 0.5 * _wave(x, soft) * _wave(z, soft)
    elif room.floor_kind == "planks":
        blend = 0.5 + 0.5 * _wave(2.0 * x, 2.0 * soft)
    elif room.floor_kind == "cloudy":
        blend = 0.5 + 0.5 * _cloud(lattice, 2.0 * x, 2.0 * z)
    else:
        blend = 0.5 + 0.1 * _cloud(lattice, x, z)
    first, second = np.asarray(room.floor, np.float32), np.asarray(room.floor_accent, np.float32)
    return first[:, None] + (second - first)[:, None] * blend


def _paint_wall(room: Room, row: int, points: np.ndarray, footprint: np.ndarray, lattice: np.ndarray) -> np.ndarray:
    if row == _CEILING:
        return np.repeat(np.asarray(room.ceiling, np.float32)[:, None], points.shape[1], axis=1)
    along = (points[0] if row in (_BACK, 5) else points[2]) / room.wall_scale
    height = points[1]
    if room.wall_kind == "gradient":
        blend = np.clip(height / 2.5, 0.0, 1.0)
    elif room.wall_kind == "cloudy":
        blend = 0.5 + 0.5 * _cloud(lattice, along * 1.5, height / room.wall_scale * 1.5)
    elif room.wall_kind == "stripes":
        blend = 0.5 + 0.5 * _wave(along * 2.0, 2.0 * footprint / room.wall_scale)
    elif room.wall_kind == "panel":
        blend = np.clip(0.5 + (1.0 - height) / np.maximum(2.0 * footprint, 0.02), 0.0, 1.0)
    else:
        blend = 0.5 + 0.25 * _cloud(lattice, along, height / room.wall_scale)
    first = np.asarray(room.wall if row in (_BACK, 5) else room.side_wall, np.float32)
    second = np.asarray(room.wall_accent, np.float32) * (1.0 if row in (_BACK, 5) else 0.9)
    color = first[:, None] + (second - first)[:, None] * blend.astype(np.float32)
    if room.skirting:
        board = np.clip(0.5 + (room.skirting - height) / np.maximum(footprint, 1e-3), 0.0, 1.0)
        color = color * (1.0 - 0.35 * board)
    return color


def _soften(image: np.ndarray) -> np.ndarray:
    """A (1, 2, 1)/4 blur in both directions: it anti-aliases the room's edges."""
    for axis in (0, 1):
        padded = np.concatenate([image.take([0], axis), image, image.take([-1], axis)], axis=axis)
        count = image.shape[axis]
        before, after = padded.take(np.arange(count), axis), padded.take(np.arange(2, count + 2), axis)
        image = 0.5 * image + 0.25 * (before + after)
    return image


def cast_shadow(view: RoomView, casters: np.ndarray, strength: float) -> np.ndarray:
    """The view with soft blobs under a person.

    Args:
        view: the empty room.
        casters: (N, 4) world x, y, z and radius in metres of what drops a shadow; high ones drop less.
        strength: darkness right below, 0..1.

    Returns:
        (H, W, 3) uint8.
    """
    light = np.ones(view.color.shape[0] * view.color.shape[1], np.float32)
    if len(view.floor_index):
        dark = np.zeros(len(view.floor_index), np.float32)
        for x, y, z, radius in casters.astype(np.float32):
            squared = (view.floor_points[:, 0] - x) ** 2 + (view.floor_points[:, 1] - z) ** 2
            dark += np.exp(-max(float(y), 0.0) / 0.5 - squared / (2 * radius**2))
        light[view.floor_index] = 1.0 - strength * np.minimum(dark, 1.0)
    shaded = view.color * light.reshape(*view.color.shape[:2], 1)
    return (np.clip(shaded, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def list_images(folder: Path) -> tuple[str, ...]:
    """Paths of the pictures in a folder, sorted.

    Raises:
        InputError: no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise InputError(f"no such folder of background pictures: {folder}", fix="give a folder of jpg, png or webp")
    found = sorted(str(path) for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise InputError("the folder of background pictures is empty", str(folder), "put jpg, png or webp files there")
    return tuple(found)


def check_pictures(paths: Sequence[str]) -> None:
    """Opens the heads of all pictures, so that one that is none is named before any clip is drawn.

    Raises:
        InputError: a file is no picture, or too small.
    """
    for path in paths:
        try:
            with Image.open(path) as picture:
                check_size(picture.width, picture.height, path, "image")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            fix = "take it out of the folder, or save it as a PNG with another program"
            raise InputError("this background picture cannot be read", path, fix) from error


@lru_cache(maxsize=16)
def _load_picture(path: str) -> Image.Image:
    return Image.fromarray(read_image(path))


def picture_view(room: Room, side: int) -> np.ndarray:
    """The room's picture, cropped to a square: (side, side, 3) uint8."""
    if room.image is None:
        raise ValueError("this room shows no picture")
    picture = _load_picture(room.image)
    left, top, share = room.crop
    size = share * min(picture.size)
    box_left, box_top = left * (picture.width - size), top * (picture.height - size)
    box = (box_left, box_top, box_left + size, box_top + size)
    return np.asarray(picture.resize((side, side), Image.Resampling.BOX, box=box).convert("RGB"))
