"""Small made videos with motion beside them, for the tests of `unimo data prepare`."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from pathlib import Path

import numpy as np
from PIL import Image

from unimo.data.prepare import PrepareSettings
from unimo.data.sources import Source
from unimo.geometry.cameras import intrinsics_matrix
from unimo.media.video_writer import write_video
from unimo.motion.motion import Motion
from unimo.motion.npz import save_motion

SMALL = PrepareSettings("debug", shard_size=2)


def contents(folder: Path) -> dict[str, str]:
    """Hashes of all files of a folder, hidden ones too."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def room(seed: int, width: int, height: int) -> np.ndarray:
    """A picture of large soft patches of random colours, uint8 (H, W, 3)."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC))


def shot(seed: int, frames: int, width: int = 48, height: int = 48) -> np.ndarray:
    """A room in which a bright square walks, (T, H, W, 3)."""
    video = np.repeat(room(seed, width, height)[None], frames, axis=0)
    for index in range(frames):
        left = (3 + index) % (width - 10)
        video[index, 10:30, left : left + 8] = 255 - seed % 100
    return video


def motion_of(frames: int, fps: float, side: int = 48, seed: int = 0, **fields: object) -> Motion:
    """Someone who turns while walking away, in camera axes."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames)[:, None] / fps
    turn = np.concatenate([np.full((frames, 1), np.pi), 0.3 * time, 0 * time], axis=1)
    transl = np.concatenate([0.1 * time, 0.4 + 0 * time, 3 + 0.5 * time], axis=1)
    pose = 0.1 * rng.normal(size=(1, 21, 3)) * np.cos(time)[..., None]
    known: dict = {"intrinsics": intrinsics_matrix(1.3 * side, side / 2, side / 2)} | fields
    return Motion(pose, rng.normal(size=10), turn, transl, fps, **known)


def write_clip(folder: Path, seed: int = 0, frames: int = 9, fps: float = 15, side: int = 32) -> Path:
    """A clip folder as of `unimo synth`, as far as prepare reads it."""
    folder.mkdir(parents=True)
    write_video(folder / "rgb.mp4", shot(seed, frames, side, side), fps, crf=4, full_chroma=True)
    save_motion(folder / "motion.npz", motion_of(frames, fps, side, seed))
    record = {"name": folder.name, "subject": f"s{seed % 2}", "text": f"walk {seed}"}
    (folder / "clip.json").write_text(json.dumps(record))
    return folder


def write_walk(path: Path, seed: int = 0, frames: int = 12, fps: float = 15, side: int = 48) -> Path:
    """A video with its motion beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, shot(seed, frames, side, side), fps)
    save_motion(path.with_suffix(".npz"), motion_of(frames, fps, side, seed))
    return path


class DeadlySource(Source):
    """A source that kills whatever process reads it."""

    def sha256(self) -> str:
        os.kill(os.getpid(), signal.SIGKILL)
        return ""


class HugeSource(Source):
    """A source that takes more memory than there is."""

    def sha256(self) -> str:
        raise MemoryError  # without words, as Python's own
