"""Places a camera so that a moving person stays in the picture: body outline in, camera poses and focal length out.

World axes are y up with the floor at y = 0; camera axes are OpenCV's (x right, y down, z forward). Lengths on the
picture are fractions of its side, measured from the centre. Metres, radians; float64.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

CAMERA_KINDS = ("default", "still", "pan", "orbit")
MOVES = ("orbit", "dolly", "truck", "pan")
# how far the fullest move of each kind goes within one clip
ORBIT_RADIANS, DOLLY_SHARE, TRUCK_METRES, PAN_RADIANS = 0.16, 0.10, 0.25, 0.07
# how far a camera of kind "orbit" goes round the person within one clip
ORBIT_RANGE = (np.radians(20.0), np.radians(120.0))


@dataclass(frozen=True)
class CameraPath:
    """Poses of the camera in every frame.

    Attributes:
        rotation: (T, 3, 3) camera axes to world axes.
        position: (T, 3) metres, world.
        focal: focal length as a multiple of the picture's side.
        height_fraction: how much of the picture's height the person would fill standing where it is farthest.
        fits: the whole outline is inside the margins in every frame.
    """

    rotation: np.ndarray
    position: np.ndarray
    focal: float
    height_fraction: float
    fits: bool

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """World points (T, N, 3) → camera axes (T, N, 3)."""
        return (points - self.position[:, None]) @ self.rotation


@dataclass(frozen=True)
class Framing:
    """What the camera is asked to do; ranges are (low, high).

    Attributes:
        focal: focal length as a multiple of the side.
        height_fraction: share of the picture's height of the standing person.
        pitch: largest tilt up or down, radians.
        roll: standard deviation of the roll, radians.
        camera_height: metres above the floor.
        margin: free border as a share of the side.
        move_chance: probability that the camera moves slowly.
    """

    focal: tuple[float, float]
    height_fraction: tuple[float, float]
    pitch: float
    roll: float
    camera_height: tuple[float, float]
    margin: float
    move_chance: float


def look_rotation(heading: np.ndarray, pitch: np.ndarray, roll: float) -> np.ndarray:
    """Camera-to-world rotations (T, 3, 3); heading turns about the vertical, positive pitch looks down."""
    turn_cos, turn_sin, tilt_cos, tilt_sin = np.cos(heading), np.sin(heading), np.cos(pitch), np.sin(pitch)
    level = np.empty((len(heading), 3, 3))
    level[:, :, 0] = np.stack([-turn_cos, np.zeros_like(heading), turn_sin], axis=-1)
    level[:, :, 1] = np.stack([-tilt_sin * turn_sin, -tilt_cos, -tilt_sin * turn_cos], axis=-1)
    level[:, :, 2] = np.stack([tilt_cos * turn_sin, -tilt_sin, tilt_cos * turn_cos], axis=-1)
    cos, sin = np.cos(roll), np.sin(roll)
    return level @ np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def place_camera(
    rng: np.random.Generator, outline: np.ndarray, stature: float, framing: Framing, kind: str
) -> CameraPath:
    """Draws a camera of one of `CAMERA_KINDS`; see `frame_person` and `follow_person`."""
    if kind in ("pan", "orbit"):
        return follow_person(rng, outline, stature, framing, kind)
    return frame_person(rng, outline, stature, framing if kind == "default" else replace(framing, move_chance=0.0))


def frame_person(rng: np.random.Generator, outline: np.ndarray, stature: float, framing: Framing) -> CameraPath:
    """Draws a camera for a clip.

    Args:
        rng: source of randomness; always the same number of draws.
        outline: (T, N, 3) world points of the body that must be seen.
        stature: standing height in metres.
        framing: what is wanted.
    """
    frames = len(outline)
    focal = rng.uniform(*framing.focal)
    fraction = rng.uniform(*framing.height_fraction)
    heading, pitch = rng.uniform(-np.pi, np.pi), rng.uniform(-framing.pitch, framing.pitch)
    roll = rng.normal() * framing.roll
    place = rng.uniform(-1.0, 1.0, 2)
    moves, kind, amount = rng.random() < framing.move_chance, rng.integers(len(MOVES)), rng.uniform(0.3, 1.0)
    sign = 1.0 if rng.random() < 0.5 else -1.0
    sway = sign * amount * (np.linspace(-0.5, 0.5, frames) if moves and frames > 1 else np.zeros(frames))
    target = 0.5 * (outline.min(axis=(0, 1)) + outline.max(axis=(0, 1)))
    distance, shift = focal * stature / fraction, np.zeros(2)
    allowed = 1.0 - 2.0 * framing.margin
    for _ in range(3):  # perspective makes size and place depend on each other
        path = _path(MOVES[kind], sway, target, distance, heading, pitch, roll, shift, focal, framing)
        low, high = _picture_box(path, outline)
        needed = float((high - low).max()) / allowed
        slack = np.maximum(allowed - (high - low), 0.0) / 2.0
        shift = shift + (0.5 * (low + high) - place * slack) * distance / focal
        if needed > 1.0:
            distance *= 1.01 * needed
    path = _path(MOVES[kind], sway, target, distance, heading, pitch, roll, shift, focal, framing)
    box = np.abs(_picture_box(path, outline)).max()
    fits = bool(box <= 0.5 - 0.3 * framing.margin) and bool(path.position[:, 1].min() > 0.1)
    farthest = float(path.to_camera(outline)[..., 2].mean(axis=1).max())
    return replace(path, height_fraction=focal * stature / farthest, fits=fits)


def follow_person(
    rng: np.random.Generator, outline: np.ndarray, stature: float, framing: Framing, kind: str
) -> CameraPath:
    """Draws a camera that turns with the person: "orbit" goes round at one distance, "pan" stands.

    An orbit rides along with a person who walks; a pan turns after them and lets them drift through the picture.

    Args:
        rng: source of randomness; always the same number of draws.
        outline: (T, N, 3) world points of the body that must be seen.
        stature: standing height in metres.
        framing: what is wanted.
        kind: "pan" or "orbit".
    """
    focal, fraction = rng.uniform(*framing.focal), rng.uniform(*framing.height_fraction)
    heading, pitch = rng.uniform(-np.pi, np.pi), rng.uniform(-framing.pitch, framing.pitch)
    roll, place = rng.normal() * framing.roll, rng.uniform(-1.0, 1.0, 2)
    sign, amount = (1.0 if rng.random() < 0.5 else -1.0), rng.uniform(0.3, 0.9)
    angle = sign * rng.uniform(*ORBIT_RANGE)
    sway = np.linspace(-0.5, 0.5, len(outline)) if len(outline) > 1 else np.zeros(1)
    aim, distance, drift = np.zeros(2), focal * stature / fraction, 0.0
    allowed = 1.0 - 2.0 * framing.margin
    target = _straight_path(outline)

    def path() -> CameraPath:
        turn = heading + (angle * sway if kind == "orbit" else 0.0 * sway)
        return _follow_path(target, kind, turn, distance, pitch, roll, aim, focal, framing, drift * sway)

    for step in range(8):  # the wanted place and size of the person are met by turning and stepping back
        low, high = _picture_box(path(), outline)
        needed = float((high - low).max()) / allowed
        if needed > 1.0:
            distance *= 1.01 * needed
        elif step == 2 and kind == "pan":  # as much drift as there is room for
            drift = sign * amount * 2.0 * np.arctan(0.5 * (allowed - (high - low)[0]) / focal)
            continue
        slack = np.maximum(allowed - (high - low), 0.0) / 2.0
        aim = aim + np.arctan((0.5 * (low + high) - place * slack) / focal)
    final = path()
    fits = bool(np.abs(_picture_box(final, outline)).max() <= 0.5 - 0.3 * framing.margin)
    farthest = float(final.to_camera(outline)[..., 2].mean(axis=1).max())
    return replace(final, height_fraction=focal * stature / farthest, fits=fits)


def _straight_path(outline: np.ndarray) -> np.ndarray:
    """(T, 3): the middle of the body along the straight line that is nearest to it, at one height."""
    middle = 0.5 * (outline.min(axis=1) + outline.max(axis=1))
    time = np.linspace(-1.0, 1.0, len(middle))
    speed = time @ middle / max(float(time @ time), 1e-9) if len(middle) > 1 else np.zeros(3)
    path = middle.mean(axis=0) + time[:, None] * speed
    path[:, 1] = 0.5 * (outline[..., 1].min() + outline[..., 1].max())
    return path


def _follow_path(
    target: np.ndarray, kind: str, turn: np.ndarray, distance: float, pitch: float, roll: float, aim: np.ndarray,
    focal: float, framing: Framing, drift: np.ndarray,
) -> CameraPath:
    """A camera `distance` from the target (T, 3), seen under headings `turn` (T,), turned by `aim` and `drift` (T,)."""
    lowest, highest = framing.camera_height
    rise = float(np.clip(distance * np.sin(pitch), lowest - target[0, 1], highest - target[0, 1]))
    tilt = np.full(len(target), np.arcsin(np.clip(rise / distance, -0.9, 0.9)))
    centre = target if kind == "orbit" else np.repeat(target.mean(axis=0, keepdims=True), len(target), axis=0)
    position = centre - distance * look_rotation(turn, tilt, 0.0)[..., 2]
    sight = target - position
    facing = np.arctan2(sight[:, 0], sight[:, 2])
    facing = np.unwrap(facing) - aim[0] + drift
    return CameraPath(look_rotation(facing, tilt + aim[1], roll), position, focal, 0.0, False)


def _path(
    kind: str, sway: np.ndarray, target: np.ndarray, distance: float, heading: float, pitch: float, roll: float,
    shift: np.ndarray, focal: float, framing: Framing,
) -> CameraPath:
    """A camera `distance` from the target, moved by `shift` in its picture plane and along `sway` (T,) by its kind."""
    lowest, highest = framing.camera_height
    rise = np.clip(distance * np.sin(pitch), lowest - target[1], highest - target[1])
    tilt = np.full(len(sway), np.arcsin(np.clip(rise / distance, -0.9, 0.9)))
    turn = heading + (ORBIT_RADIANS * sway if kind == "orbit" else 0.0 * sway)
    stand = look_rotation(turn, tilt, roll)
    away = distance * (1.0 + (DOLLY_SHARE * sway if kind == "dolly" else 0.0 * sway))
    across = shift[0] + (TRUCK_METRES * sway if kind == "truck" else 0.0 * sway)
    position = target - away[:, None] * stand[..., 2] + across[:, None] * stand[..., 0] + shift[1] * stand[..., 1]
    rotation = look_rotation(turn + PAN_RADIANS * sway, tilt, roll) if kind == "pan" else stand
    return CameraPath(rotation, position, focal, 0.0, False)


def _picture_box(path: CameraPath, outline: np.ndarray) -> np.ndarray:
    """(2, 2): lowest and highest picture x, y of the outline over all frames, as fractions of the side."""
    seen = path.to_camera(outline)
    flat = path.focal * seen[..., :2] / np.maximum(seen[..., 2:], 0.2)
    return np.stack([flat.min(axis=(0, 1)), flat.max(axis=(0, 1))])
