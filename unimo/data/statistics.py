"""What is in a collection of motions and clips, in numbers.

In: `Sample`s. Out: `Statistics`: counts, speeds, ranges of the joints, spread of the poses, shapes, cameras, and which
samples are unusual. Metres, seconds, degrees; speeds are in the world, so that a moving camera moves nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unimo.body.names import FEET
from unimo.data.collection import Sample
from unimo.motion.frames import LEVEL_CAMERA, joint_positions, points_to_world
from unimo.motion.motion import Motion
from unimo.synth.puppet import load_puppet

ANGLE_EDGES = np.arange(0, 181, 10.0)
# m/s of the pelvis over the floor: going, running; of the joints on average: not standing still
GOING, RUNNING, STIRRING = 0.3, 2.2, 0.1
# height of the pelvis above the lower foot as a share of the leg
UPRIGHT, ON_THE_GROUND = 0.85, 0.45
ACTIVITIES = ("still", "moving in place", "walking", "running")
POSTURES = ("upright", "bent or seated", "on the ground")
_SAMPLED_POSES = 8000
# the axes that hold this share of the variance count as the space of the poses
_SPACE = 0.95
_FRAMES_OF_RANGES = 200_000


@dataclass(frozen=True)
class Unusual:
    """A sample far from the others.

    Attributes:
        index: its number.
        source: its `Sample.source`.
        score: usual (median) deviations above the median, below it if negative.
        reason: in what: "pose" (distance from the mean pose) or "speed" (of the joints).
    """

    index: int
    source: str
    score: float
    reason: str


@dataclass(eq=False)
class Statistics:
    """Numbers of N samples.

    Attributes:
        frames: of all samples.
        counts: for each of "subject", "source", "frame rate", "split", "camera", "look", "label" (who made it),
            "body", "text": how many samples have which.
        numbers: (N,) arrays, NaN where a sample has not what it needs. `seconds`; `travel`, `stir`: mean speed of the
            pelvis over the floor and of all joints, m/s; `stature`: m; `focal`: multiples of the picture's height;
            `distance`: m to the pelvis; `fill`: share of the picture's height between the highest and the lowest joint;
            `pitch`: degrees downwards; `eye`: m above the floor; `confidence`.
        camera_moves: share of the samples with a known camera whose camera moves; NaN when none is known.
        activity, posture: share of the frames, by `ACTIVITIES` and `POSTURES`.
        angles: (21, 18) share of the frames by joint and angle of its rotation, in bins of `ANGLE_EDGES`.
        ranges: (21, 2) degrees: 5 % and 95 % of the frames are below.
        spread: (K,) share of the variance of the poses along each principal axis, falling.
        poses: (M, 2) sampled poses along the first two axes.
        betas: (N, 10).
        unusual: the farthest first.
    """

    frames: int = 0
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    numbers: dict[str, np.ndarray] = field(default_factory=dict)
    camera_moves: float = float("nan")
    activity: dict[str, float] = field(default_factory=dict)
    posture: dict[str, float] = field(default_factory=dict)
    angles: np.ndarray = field(default_factory=lambda: np.zeros((21, len(ANGLE_EDGES) - 1)))
    ranges: np.ndarray = field(default_factory=lambda: np.zeros((21, 2)))
    spread: np.ndarray = field(default_factory=lambda: np.zeros(0))
    poses: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    betas: np.ndarray = field(default_factory=lambda: np.zeros((0, 10)))
    unusual: list[Unusual] = field(default_factory=list)


def describe(samples: Sequence[Sample], progress: Callable[[str, int, int], None] | None = None) -> Statistics:
    """Statistics of these samples, at least one; they are taken one after another, and none is kept.

    Args:
        samples: in camera or world axes.
        progress: called with a stage, what is done and how many there are.

    Raises:
        InputError: a sample can no longer be read.
        MissingAssetError: a motion is of the licensed body and its file is not on this machine.
    """
    rows, activity, posture, sampled, kept, betas, sources = [], np.zeros(4), np.zeros(3), [], [], [], []
    poses_each = max(1, _SAMPLED_POSES // len(samples))
    angles_each = max(1, _FRAMES_OF_RANGES // len(samples))
    result = Statistics(counts={key: Counter() for key in _SAID})
    for done, sample in enumerate(samples):
        motion = sample.motion
        joints = joint_positions(motion)
        world = world_joints(motion, joints)
        activity += np.bincount(_activity(world, motion.fps), minlength=4)
        posture += np.bincount(_posture(world), minlength=3)
        rows.append(_row(motion, joints, world, sample.record))
        degrees = np.degrees(np.linalg.norm(motion.body_pose, axis=-1))
        for joint in range(21):
            result.angles[joint] += np.histogram(np.minimum(degrees[:, joint], 179.9), ANGLE_EDGES)[0]
        kept.append(degrees[_spaced(len(motion), angles_each)])
        sampled.append(_rotations(motion, _spaced(len(motion), poses_each)))
        betas.append(motion.betas.mean(axis=0))
        sources.append(sample.source)
        result.frames += len(motion)
        _count(result.counts, sample)
        if progress:
            progress("measuring", done + 1, len(samples))
    result.angles /= result.frames
    result.ranges = np.percentile(np.concatenate(kept), [5, 95], axis=0).T
    result.activity = dict(zip(ACTIVITIES, (activity / max(activity.sum(), 1)).tolist(), strict=True))
    result.posture = dict(zip(POSTURES, (posture / posture.sum()).tolist(), strict=True))
    moves = np.array([row.pop("moves") for row in rows])
    result.camera_moves = float(np.nanmean(moves)) if np.isfinite(moves).any() else float("nan")
    result.numbers = {key: np.array([row[key] for row in rows]) for key in rows[0]}
    result.betas = np.stack(betas)
    result.spread, result.poses, strangeness = pose_space(sampled)
    result.unusual = _unusual(strangeness, result.numbers["stir"], sources)
    return result


def world_joints(motion: Motion, joints: np.ndarray) -> np.ndarray:
    """Joints (T, 22, 3) of a motion in axes that are y up; a camera without a pose is taken as level and still."""
    if motion.axes == "world":
        return joints
    if motion.cam2world is None:
        return joints @ LEVEL_CAMERA.T
    return points_to_world(joints, motion.cam2world)


def pose_space(sampled: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Principal axes of the poses.

    Args:
        sampled: per sample (k, D) poses.

    Returns:
        (K,) share of the variance along each axis, falling; (M, 2) the poses along the first two; (N,) mean distance
        of every sample's poses from the mean pose, in standard deviations of the axes that hold most of the variance.
    """
    poses = np.concatenate(sampled).astype(np.float64)
    centred = poses - poses.mean(axis=0)
    # the eigenvectors of a (D, D) matrix: the number of poses may be large
    variance, axes = np.linalg.eigh(centred.T @ centred / len(poses))
    variance, axes = np.maximum(variance[::-1], 0.0), axes[:, ::-1]
    if variance.sum() < 1e-12:
        return np.zeros(0), np.zeros((len(poses), 2)), np.zeros(len(sampled))
    share = variance / variance.sum()
    held = int(np.searchsorted(share.cumsum(), _SPACE)) + 1
    distances = np.linalg.norm(centred @ axes[:, :held] / np.sqrt(variance[:held]), axis=1)
    ends = np.cumsum([len(part) for part in sampled])[:-1]
    strangeness = np.array([part.mean() for part in np.split(distances, ends)])
    return share, centred @ axes[:, :2], strangeness


def _spaced(length: int, count: int) -> np.ndarray:
    """At most `count` numbers of 0 .. length - 1, evenly spaced."""
    return np.unique(np.linspace(0, length - 1, min(count, length)).round().astype(int))


def _rotations(motion: Motion, rows: np.ndarray) -> np.ndarray:
    """(k, 126) poses of these frames: two columns of each joint's rotation matrix, so that near poses are near."""
    chosen = Motion(
        motion.body_pose[rows], motion.betas[rows], motion.global_orient[rows], motion.transl[rows], motion.fps
    )
    return chosen.rotations()[:, 1:, :, :2].reshape(len(rows), -1)


def _activity(world: np.ndarray, fps: float) -> np.ndarray:
    """(T - 1,) indices into `ACTIVITIES`."""
    steps = np.diff(world, axis=0) * fps
    going = np.linalg.norm(steps[:, 0][:, [0, 2]], axis=-1)
    stirring = np.linalg.norm(steps, axis=-1).mean(axis=1) > STIRRING
    return np.where(going > RUNNING, 3, np.where(going > GOING, 2, stirring.astype(int)))


def _posture(world: np.ndarray) -> np.ndarray:
    """(T,) indices into `POSTURES`."""
    hip, knee, ankle = world[0, 1], world[0, 4], world[0, 7]
    leg = np.linalg.norm(hip - knee) + np.linalg.norm(knee - ankle)
    height = (world[:, 0, 1] - world[:, FEET, 1].min(axis=1)) / leg
    return np.where(height > UPRIGHT, 0, np.where(height > ON_THE_GROUND, 1, 2))


def _row(motion: Motion, joints: np.ndarray, world: np.ndarray, record: dict[str, Any]) -> dict[str, float]:
    """The numbers of one sample; see `Statistics.numbers`."""
    nan = float("nan")
    names = ("focal", "distance", "fill", "pitch", "eye", "moves", "travel", "stir", "confidence")
    row = {"seconds": len(motion) / motion.fps, **dict.fromkeys(names, nan)}
    row["stature"] = load_puppet(motion.body).stature_of(motion.betas.mean(axis=0))
    if len(motion) > 1:
        steps = np.diff(world, axis=0) * motion.fps
        row["travel"] = float(np.linalg.norm(steps[:, 0][:, [0, 2]], axis=-1).mean())
        row["stir"] = float(np.linalg.norm(steps, axis=-1).mean())
    if motion.axes == "camera":
        row["distance"] = float(joints[:, 0, 2].mean())
    if motion.axes == "camera" and motion.intrinsics is not None:
        height = 2 * float(motion.intrinsics[1, 2])  # the principal point is at the centre
        rows = joints[..., 1] / np.maximum(joints[..., 2], 0.1) * float(motion.intrinsics[1, 1])
        row["focal"] = float(motion.intrinsics[1, 1]) / height
        row["fill"] = float(np.ptp(rows, axis=1).mean()) / height
    if motion.cam2world is not None and not (motion.extras or {}).get("world_is_assumed"):
        row["pitch"] = float(-np.degrees(np.arcsin(np.clip(motion.cam2world[:, 1, 2], -1, 1))).mean())
        row["eye"] = float(motion.cam2world[:, 1, 3].mean())
        row["moves"] = float(np.ptp(motion.cam2world, axis=0).max() > 1e-3)
    if isinstance(record.get("confidence"), int | float):
        row["confidence"] = float(record["confidence"])
    return row


# what is counted, and where a sample says it
_SAID: dict[str, Callable[[Sample], str]] = {
    "subject": lambda sample: sample.subject,
    "source": lambda sample: sample.source,
    "frame rate": lambda sample: f"{sample.motion.fps:g} fps",
    "split": lambda sample: sample.split,
    "camera": lambda sample: str(sample.record.get("camera") or ""),
    "look": lambda sample: str(sample.record.get("look") or ""),
    "label": lambda sample: str(sample.record.get("label") or ""),
    "body": lambda sample: sample.motion.body,
    "text": lambda sample: sample.text,
}


def _count(counts: dict[str, Counter[str]], sample: Sample) -> None:
    """Adds what a sample says of subject, source and so on; what nobody said is not counted."""
    for key, read in _SAID.items():
        if word := read(sample):
            counts[key][word] += 1


def _unusual(strangeness: np.ndarray, stir: np.ndarray, sources: list[str]) -> list[Unusual]:
    """All samples, the one farthest from the middle in pose or speed first, on whichever side."""
    pose, speed = _deviations(strangeness), _deviations(np.nan_to_num(stir))
    by_pose = np.abs(pose) >= np.abs(speed)
    scores = np.where(by_pose, pose, speed)
    order = np.argsort(-np.abs(scores), kind="stable")
    return [Unusual(int(i), sources[i], float(scores[i]), "pose" if by_pose[i] else "speed") for i in order]


def _deviations(values: np.ndarray) -> np.ndarray:
    """How many usual (median) deviations above the median each value lies."""
    middle = np.median(values)
    usual = np.median(np.abs(values - middle))
    return (values - middle) / max(float(usual), 1e-6)
