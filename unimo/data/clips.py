"""Reader of the clip folders that `unimo synth` writes: clips with known answers, for evaluation.

In: a folder with `clips/NNNNNN/{rgb.mp4, motion.npz, annotations.npz}` and `manifest.jsonl`. Out: a `ClipSet`, all
clips stacked in memory: frames uint8 RGB, the person's mask, SMPL-X parameters in camera axes (radians, metres) and
intrinsics in pixels. It reads like a `ClipPack`, so that what takes one takes the other.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from unimo.errors import InputError
from unimo.media.video import read_video
from unimo.motion.motion import Motion
from unimo.motion.npz import load_motion

PARAMETERS = ("body_pose", "betas", "global_orient", "transl")
CLIP_FILES = ("rgb.mp4", "motion.npz", "annotations.npz")


class Clips(Protocol):
    """N clips of T frames of one size and rate; a `ClipSet` or a `ClipPack`."""

    fps: float
    frames: np.ndarray
    motions: dict[str, np.ndarray]
    intrinsics: np.ndarray

    def __len__(self) -> int: ...

    def masks(self, indices: np.ndarray) -> np.ndarray:
        """(B,T,H,W) bool: the person's pixels of these clips."""
        ...


@dataclass(eq=False)
class ClipSet:
    """Clips in memory.

    Attributes:
        fps: frames per second.
        frames: (N,T,H,W,3) uint8 RGB.
        motions: per SMPL-X parameter (N,T,…) float32, camera axes.
        intrinsics: (N,3,3) float32 pixels.
        body: the body that the betas belong to.
        names: folder name of each clip.
        records: what the manifest says of each clip ({} without one).
        sha256: hash of all files of the clips, in order.
        cam2world: (N,T,4,4) float32 the cameras' paths; None unless every clip has its own.
    """

    fps: float
    frames: np.ndarray
    motions: dict[str, np.ndarray]
    intrinsics: np.ndarray
    body: str
    names: list[str]
    records: list[dict[str, Any]]
    sha256: str
    _masks: np.ndarray = field(repr=False)
    cam2world: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.frames)

    def masks(self, indices: np.ndarray) -> np.ndarray:
        """(B,T,H,W) bool: the person's pixels of these clips."""
        return self._masks[indices]


def load_clips(
    folder: str | Path,
    count: int | None = None,
    frames: int | None = None,
    fps: float | None = None,
    side: int | None = None,
    body: str | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> ClipSet:
    """Reads clips in the order of their names.

    Args:
        folder: what `unimo synth --output` was given.
        count: read only the first so many.
        frames, fps, side, body: what every clip must have, e.g. a bundle's settings; None takes the first clip's.
        progress: called with a stage, clips read and clips in all.

    Raises:
        InputError: no clips, fewer than `count`, a file missing or damaged, or a clip of another length, rate, size or
            body than wanted.
    """
    folder = Path(folder).expanduser()
    paths = clip_folders(folder, count)
    records = clip_records(folder)
    digest = hashlib.sha256()
    videos, masks, motions = [], [], []
    for done, path in enumerate(paths):
        video, mask, motion = _read_clip(path, digest)
        if motions:
            frames, fps, side, body = len(motions[0]), motions[0].fps, videos[0].shape[1], motions[0].body
        _check_clip(path, video, mask, motion, {"frames": frames, "fps": fps, "side": side, "body": body})
        videos.append(video)
        masks.append(mask)
        motions.append(motion)
        if progress:
            progress("reading clips", done + 1, len(paths))
    cameras = [motion.cam2world for motion in motions]
    return ClipSet(
        fps=motions[0].fps,
        frames=np.stack(videos),
        motions={name: np.stack([getattr(motion, name) for motion in motions]) for name in PARAMETERS},
        intrinsics=np.stack([motion.intrinsics for motion in motions]),
        body=motions[0].body,
        names=[path.name for path in paths],
        records=[records.get(path.name, {}) for path in paths],
        sha256=digest.hexdigest(),
        _masks=np.stack(masks),
        cam2world=None if any(camera is None for camera in cameras) else np.stack(cameras),
    )


def clip_folders(folder: Path, count: int | None = None) -> list[Path]:
    """The folders of finished clips by name, only the first `count` when that is given.

    Raises:
        InputError: no such folder, no clips, or fewer than `count`.
    """
    make = "unimo synth --count 64 --output DIR (with --mocap for motions of your own)"
    if not folder.is_dir():
        what = "this is a file; a folder of clips is wanted"
        raise InputError(what if folder.exists() else "there is no such folder of clips", str(folder.absolute()), make)
    if count is not None and count < 1:
        raise InputError(f"the number of clips must be at least 1, not {count}")
    places = folder / "clips"
    entries = sorted(places.iterdir()) if places.is_dir() else []
    # a run that still goes on has hidden unfinished folders
    paths = [path for path in entries if path.is_dir() and not path.name.startswith(".")]
    if not paths:
        raise InputError("the folder holds no clips", str(places.absolute()), make)
    if count is not None and len(paths) < count:
        raise InputError(f"{count} clips are wanted, the folder holds {len(paths)}", str(places.absolute()), make)
    return paths[:count]


def clip_records(folder: Path) -> dict[str, dict[str, Any]]:
    """Records of manifest.jsonl by the name of the clip's folder; none when there is no manifest.

    Raises:
        InputError: a line is not a clip's record.
    """
    path = folder / "manifest.jsonl"
    if not path.is_file():
        return {}
    records = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            record = json.loads(line)
            records[str(record["name"])] = record
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"line {number} of the manifest is not a clip's record", str(path)) from error
    return records


def _read_clip(path: Path, digest: Any) -> tuple[np.ndarray, np.ndarray, Motion]:
    """Frames (T,H,W,3), mask (T,H,W) and motion of one clip; its files enter the digest."""
    for name in CLIP_FILES:
        if not (path / name).is_file():
            raise InputError(f"the clip has no {name}", str(path), "run unimo synth again")
        digest.update((path / name).read_bytes())
    video = read_video(path / "rgb.mp4")
    try:
        with np.load(path / "annotations.npz", allow_pickle=False) as archive:
            packed = archive["mask"]
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"the annotations cannot be read ({error})", str(path / "annotations.npz")) from error
    width = video.shape[2]
    if packed.dtype != np.uint8 or packed.ndim != 3 or packed.shape[-1] != (width + 7) // 8:
        raise InputError(f"the mask is not packed bits of {width} pixels", str(path / "annotations.npz"))
    return video, np.unpackbits(packed, axis=-1, count=width).astype(bool), load_motion(path / "motion.npz")


def _check_clip(
    path: Path, video: np.ndarray, mask: np.ndarray, motion: Motion, wanted: Mapping[str, float | str | None]
) -> None:
    """Raises InputError unless the clip agrees with itself and with what is wanted (None: anything)."""
    if len(video) != len(motion):
        raise InputError(f"the video has {len(video)} frames, the motion {len(motion)}", str(path))
    if mask.shape != video.shape[:3]:
        raise InputError(f"the mask is {mask.shape}, the video {video.shape[:3]}", str(path))
    if video.shape[1] != video.shape[2]:
        raise InputError(f"the picture is {video.shape[2]}×{video.shape[1]}, a square is wanted", str(path))
    if motion.axes != "camera" or motion.intrinsics is None:
        raise InputError("the motion is not in camera axes with intrinsics", str(path / "motion.npz"))
    has = {"frames": len(motion), "fps": motion.fps, "side": video.shape[1], "body": motion.body}
    for key, value in wanted.items():
        same = value is None or (abs(has[key] - value) < 1e-3 if isinstance(value, float) else has[key] == value)
        if not same:
            fix = f"make clips with unimo synth --{key} {value:g}" if not isinstance(value, str) else None
            raise InputError(f"{key} of the clip is {has[key]}, {value} is wanted", str(path), fix)
