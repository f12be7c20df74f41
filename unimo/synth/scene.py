"""A scene: everything about a synthetic clip that one seed decides, before any pixel is drawn.

In: mocap motions (world, y up), a seed, a `SceneConfig`. Out: a `Scene` with the motion in its camera's frame, the
camera, joints in space and in the picture, and who stands in which room. No rendering: about a millisecond a scene, so
the same code feeds the motion tokenizer. One seed gives the same bits whatever the number of workers.
Metres, radians, seconds, pixels; camera axes are OpenCV's, the world is y up with the floor at y = 0.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from unimo.body.names import FEET
from unimo.errors import ConfigError
from unimo.motion.library import NamedMotion
from unimo.motion.motion import Motion
from unimo.render.shading import Vector
from unimo.synth.appearance import Appearance, sample_appearance, vertex_colors
from unimo.synth.background import Room, list_images, room_colors, sample_room
from unimo.synth.camera import CAMERA_KINDS, CameraPath, Framing, place_camera
from unimo.synth.cut import Cut
from unimo.synth.garments import outfit_colors
from unimo.synth.puppet import Puppet, dressed_puppet, load_puppet
from unimo.synth.wardrobe import Outfit, sample_outfit
from unimo.synth.windows import Window, WindowSampler

# Seeds of training clips start at 0; those of validation clips start here, so that no clip is ever in both.
VALIDATION_SEED = 1_000_000_000

LOOK_KINDS = ("basic", "varied")
# cameras that turn or go round: a photograph cannot do that
TURNING_CAMERAS = ("pan", "orbit")

# what is drawn for a scene, each from a stream of its own: a new kind goes to the end and changes none of the others
_STREAMS = ("motion", "looks", "camera", "outfit", "noise", "tracks")

_ATTEMPTS = 12
# fields with (lowest, highest, unit): what a renderer (three times the side), a video or a chance allows
_LIMITS: dict[str, tuple[float, float, str]] = {
    "side": (16, 4096, " pixels"), "frames": (1, np.inf, ""), "fps": (0.01, 1000, " frames per second"),
    "margin": (0, 0.39, " of the side"), "mirror": (0, 1, ""), "motion_blur": (0, 1, " of the time between two frames"),
    "sensor_noise": (0, 64, " grey levels"), "tracks": (1, np.inf, ""),
}  # fmt: skip
# what hair and skirts stand out from the outline that is framed, as a share of the side
CLOTHES_MARGIN = 0.02
# a person who walks away may shrink to this share of the smallest wanted height
FARTHEST_SHARE = 0.8


@dataclass(frozen=True)
class SceneConfig:
    """What synthetic clips look like; ranges are (low, high) of a uniform draw.

    Attributes:
        side: height and width in pixels.
        frames: frames a clip.
        fps: frames per second.
        body: "open" or "smplx".
        focal: focal length as a multiple of the side.
        height_fraction: share of the picture's height of the person when standing.
        pitch_degrees: largest tilt of the camera up or down.
        roll_degrees: standard deviation of the camera's roll.
        camera_height: metres above the floor.
        margin: free border around the whole movement, as a share of the side.
        camera_moves: chance of a slow camera move.
        speed: playback speed of the source motion.
        mirror: chance of exchanging left and right.
        shape_scale: standard deviation of betas.
        shape_limit: betas are clipped to this.
        rarity: 0 draws motions by duration, 1 gives every subject the same share.
        images: folder of background pictures, or None for rooms only; not for cameras of `TURNING_CAMERAS`.
        looks: "basic" (plain colours) or "varied" (the named looks of `unimo.synth.wardrobe`).
        camera: "default" (a slow move now and then), "still", "pan", "orbit", or "mixed" (one of these by the seed).
        motion_blur: share of the time between two frames in which the shutter is open, 0 for none.
        sensor_noise: standard deviation of the noise in grey levels of 255, 0 for none.
        tracks: points followed through a clip.
    """

    side: int = 128
    frames: int = 17
    fps: float = 15.0
    body: str = "open"
    focal: tuple[float, float] = (0.9, 1.6)
    height_fraction: tuple[float, float] = (0.60, 0.95)
    pitch_degrees: float = 10.0
    roll_degrees: float = 1.0
    camera_height: tuple[float, float] = (0.4, 2.2)
    margin: float = 0.03
    camera_moves: float = 0.3
    speed: tuple[float, float] = (0.8, 1.2)
    mirror: float = 0.5
    shape_scale: float = 1.0
    shape_limit: float = 2.0
    rarity: float = 0.0
    images: str | None = None
    looks: str = "basic"
    camera: str = "default"
    motion_blur: float = 0.0
    sensor_noise: float = 0.0
    tracks: int = 64

    def __post_init__(self) -> None:
        for name, (low, high, unit) in _LIMITS.items():
            value = getattr(self, name)
            if not low <= value <= high:  # what is not a number is not between them either
                span = f"at least {low:g}{unit}" if np.isinf(high) else f"{low:g} to {high:g}{unit}"
                default = SceneConfig.__dataclass_fields__[name].default
                raise ConfigError(f"{name} must be {span}, not {value:.10g}", fix=f"{default:g}, the default")
        for name in ("focal", "height_fraction", "camera_height", "speed"):
            low, high = getattr(self, name)
            if not 0 < low <= high < np.inf:
                fix = "the lower number first; the same one twice for a fixed value"
                raise ConfigError(f"{name} must be a range with 0 < low <= high, not {low:g} {high:g}", fix=fix)
        for name, known in (("looks", LOOK_KINDS), ("camera", (*CAMERA_KINDS, "mixed"))):
            if (value := getattr(self, name)) not in known:
                near = difflib.get_close_matches(str(value), known, 1) or [f"{known[0]}, the default"]
                raise ConfigError(f"{name} must be one of {', '.join(known)}, not {value!r}", fix=near[0])
        if self.images and self.camera in TURNING_CAMERAS:
            what = f"images cannot stand behind the moves of camera {self.camera!r}: a photograph has no depth"
            fix = "camera default, still or mixed (there the clips that pan and orbit show a room), or no photographs"
            raise ConfigError(what, fix=fix)


def stream(seed: int, name: str) -> np.random.Generator:
    """Random numbers of one kind for one scene: "motion", "looks", "camera", "outfit", "noise" or "tracks"."""
    children = np.random.SeedSequence(seed).spawn(len(_STREAMS))
    return np.random.Generator(np.random.PCG64(children[_STREAMS.index(name)]))


@dataclass(frozen=True)
class Lamp:
    """Light of a scene: direction towards the sun in world axes, colours RGB in 0..1; see `unimo.render.shading`."""

    direction: Vector
    sun: Vector
    sky: Vector
    ground: Vector
    rim: float


@dataclass(frozen=True)
class Looks:
    """What a clip looks like, apart from motion and camera."""

    appearance: Appearance
    room: Room
    lamp: Lamp


@dataclass(frozen=True, eq=False)
class Scene:
    """One clip before rendering.

    Attributes:
        seed: the seed that made it.
        source, subject: name and subject of the mocap clip; start, speed, mirrored: which part and how.
        motion: camera axes, with `cam2world` and `intrinsics`.
        keypoints3d: (T, 22, 3) float32 joints, camera axes, metres.
        keypoints2d: (T, 22, 2) float32 joints, pixels.
        height_fraction: share of the picture's height of the person when standing.
        in_frame: the whole movement is inside the picture.
        side: height and width of the picture in pixels.
        images: pictures that may replace the room.
        config: what was asked for.
        camera_kind: one of `unimo.synth.camera.CAMERA_KINDS`.
        text: what the source motion shows, in words; empty when nobody said.
    """

    seed: int
    source: str
    subject: str
    start: float
    speed: float
    mirrored: bool
    motion: Motion
    keypoints3d: np.ndarray
    keypoints2d: np.ndarray
    height_fraction: float
    in_frame: bool
    side: int
    images: tuple[str, ...]
    config: SceneConfig
    camera_kind: str
    text: str

    @cached_property
    def looks(self) -> Looks:
        """Who stands in which room and light; drawn when first asked for, since motion alone needs none of it."""
        rng = stream(self.seed, "looks")
        room = sample_room(rng, self.images)
        return Looks(sample_appearance(rng, room_colors(room)), room, _sample_lamp(rng))

    @cached_property
    def outfit(self) -> Outfit | None:
        """What the person wears when looks are varied; None when they are basic (`looks.appearance`)."""
        if self.config.looks == "basic":
            return None
        return sample_outfit(stream(self.seed, "outfit"), room_colors(self.looks.room))

    @property
    def look(self) -> str:
        """The name of the look: "basic" or one of `unimo.synth.wardrobe.LOOKS`."""
        return self.outfit.look if self.outfit else "basic"

    @property
    def background(self) -> str:
        """The name of the photograph's file, or "procedural" for a room."""
        image = self.looks.room.image
        return Path(image).name if image else "procedural"

    @property
    def cut(self) -> Cut | None:
        """How clothes and hair move the mesh; None when they do not."""
        return self.outfit.cut if self.outfit else None

    @property
    def puppet(self) -> Puppet:
        """The mesh of the person, clothes included."""
        return dressed_puppet(self.motion.body, self.outfit.cut) if self.outfit else load_puppet(self.motion.body)

    def vertex_colors(self) -> np.ndarray:
        """Plain (unlit) colours of the vertices of `puppet`, (V, 3) float32 in 0..1."""
        if self.outfit is None:
            return vertex_colors(self.looks.appearance, self.puppet.regions)
        return outfit_colors(self.outfit, self.puppet.regions, self.puppet.template)


class SceneSampler:
    """Draws the scenes of one library and configuration; build it once, then call `sample` for each seed.

    Attributes:
        library, config: as given.
        images: paths of the pictures that may stand in for a room.
    """

    def __init__(self, library: Sequence[NamedMotion], config: SceneConfig) -> None:
        self.library, self.config = library, config
        self._puppet = load_puppet(config.body)
        if config.looks == "varied":  # built once here, before workers would each build it
            load_puppet(config.body, fine=True)
        seconds = (config.frames - 1) / config.fps
        self._windows = WindowSampler(library, seconds, config.speed, config.rarity)
        self.images = list_images(Path(config.images)) if config.images else ()
        self._framing = Framing(
            focal=config.focal, height_fraction=config.height_fraction, pitch=np.radians(config.pitch_degrees),
            roll=np.radians(config.roll_degrees), camera_height=config.camera_height,
            margin=config.margin + (CLOTHES_MARGIN if config.looks == "varied" else 0.0),
            move_chance=0.0 if config.images else config.camera_moves,
        )  # fmt: skip

    def sample(self, seed: int) -> Scene:
        """The scene of one seed."""
        config, puppet = self.config, self._puppet
        movement = stream(seed, "motion")
        betas = np.clip(movement.normal(size=10) * config.shape_scale, -config.shape_limit, config.shape_limit)
        betas = betas.astype(np.float32).astype(np.float64)
        kind = self._camera_kind(seed)
        rest, stature = puppet.rest_joints(betas), puppet.stature_of(betas)
        for _ in range(_ATTEMPTS):  # a window that cannot be framed well makes way for another
            window = self._windows.draw(movement, config.frames, config.mirror)
            world, places, pelvis = _stand(window, puppet, rest)
            outline = puppet.outline(world, places) + pelvis[:, None]
            camera = place_camera(movement, outline, stature, self._framing, kind)
            if camera.fits and camera.height_fraction >= FARTHEST_SHARE * config.height_fraction[0]:
                break
        motion, keypoints3d = self._in_camera(window, world[:, 0], places, pelvis, rest, betas, camera)
        flat = keypoints3d[..., :2] / keypoints3d[..., 2:]
        return Scene(
            seed=seed, source=window.name, subject=window.subject, start=window.start, speed=window.speed,
            mirrored=window.mirrored, motion=motion, keypoints3d=keypoints3d.astype(np.float32),
            keypoints2d=((camera.focal * flat + 0.5) * config.side).astype(np.float32),
            height_fraction=camera.height_fraction, in_frame=camera.fits, side=config.side,
            images=() if kind in TURNING_CAMERAS else self.images,
            config=config, camera_kind=kind, text=window.text,
        )  # fmt: skip

    def _camera_kind(self, seed: int) -> str:
        if self.config.camera != "mixed":
            return self.config.camera
        return CAMERA_KINDS[stream(seed, "camera").integers(len(CAMERA_KINDS))]

    def _in_camera(
        self, window: Window, root: np.ndarray, places: np.ndarray, pelvis: np.ndarray, rest: np.ndarray,
        betas: np.ndarray, camera: CameraPath,
    ) -> tuple[Motion, np.ndarray]:
        """The motion in camera axes and its joints (T, 22, 3); SMPL-X turns about J0, so transl = pelvis - J0."""
        config, frames = self.config, len(root)
        orient = Rotation.from_matrix(camera.rotation.transpose(0, 2, 1) @ root).as_rotvec()
        joints = camera.to_camera(places + pelvis[:, None])
        cam2world = np.tile(np.eye(4), (frames, 1, 1))
        cam2world[:, :3, :3], cam2world[:, :3, 3] = camera.rotation, camera.position
        focal, centre = camera.focal * config.side, config.side / 2
        motion = Motion(
            body_pose=window.pose[:, 1:], betas=betas, global_orient=orient, transl=joints[:, 0] - rest[0],
            fps=config.fps, axes="camera", body=config.body, cam2world=cam2world,
            intrinsics=np.array([[focal, 0, centre], [0, focal, centre], [0, 0, 1.0]]),
        )  # fmt: skip
        return motion, joints


_last: SceneSampler | None = None


def scene_sampler(library: Sequence[NamedMotion], config: SceneConfig) -> SceneSampler:
    """The sampler of this library and configuration; the last one made is kept."""
    global _last
    if _last is None or _last.library is not library or _last.config != config:
        _last = SceneSampler(library, config)
    return _last


def sample_scene(library: Sequence[NamedMotion], seed: int, config: SceneConfig) -> Scene:
    """The scene of one seed: a pure function of library, seed and configuration.

    Raises:
        InputError: no motion of the library is long enough, or one is not in world axes.
    """
    return scene_sampler(library, config).sample(seed)


def _stand(window: Window, puppet: Puppet, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Puts another body into the window's motion: strides scale with the legs, the lowest foot keeps its height.

    Returns:
        World rotations (T, 22, 3, 3), joints about the pelvis (T, 22, 3), pelvis (T, 3), all world axes.
    """
    rotations = Rotation.from_rotvec(window.pose.reshape(-1, 3)).as_matrix().reshape(*window.pose.shape, 3)
    world, places = puppet.pose(rotations, rest)
    actor = load_puppet(window.body)
    actor_rest = actor.rest_joints(window.betas)
    _, actor_places = actor.pose(rotations, actor_rest)
    pelvis = window.pelvis * (_leg_length(rest) / _leg_length(actor_rest))
    lowest = (actor_places + window.pelvis[:, None])[:, FEET, 1].min()
    pelvis[:, 1] += lowest - (places + pelvis[:, None])[:, FEET, 1].min()
    return world, places, pelvis


def _leg_length(rest: np.ndarray) -> float:
    return float(np.linalg.norm(rest[1] - rest[4]) + np.linalg.norm(rest[4] - rest[7]))


def _sample_lamp(rng: np.random.Generator) -> Lamp:
    azimuth, height = rng.uniform(-np.pi, np.pi), rng.uniform(0.4, 1.2)
    direction = (np.cos(height) * np.sin(azimuth), np.sin(height), np.cos(height) * np.cos(azimuth))
    warm = rng.uniform(-0.06, 0.06)
    tint = np.array([1.0 + warm, 1.0, 1.0 - warm])
    sun, sky, ground = rng.uniform(0.25, 0.65), rng.uniform(0.5, 0.7), rng.uniform(0.3, 0.5)

    def triple(values: np.ndarray) -> Vector:
        return float(values[0]), float(values[1]), float(values[2])

    return Lamp(triple(np.array(direction)), triple(sun * tint), triple(sky * np.ones(3)), triple(ground * np.ones(3)),
                float(rng.uniform(0.15, 0.35)))
