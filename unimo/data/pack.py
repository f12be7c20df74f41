"""A pack: many clips of one size in memory-mapped arrays, the form that training reads.

In: scenes of the synthetic engine (by seed). Out: a folder with `frames.npy (N,T,H,W,3)` uint8, `masks.npy (N,T,H,W/8)`
packed bits, one array a motion parameter (camera frame, radians, metres), `intrinsics.npy (N,3,3)` pixels, and
`pack.json`. Every clip is a pure function of its seed; finished clips are marked, so a stopped build goes on.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from unimo.errors import InputError
from unimo.files import atomic_write
from unimo.motion.library import MotionLibrary
from unimo.motion.motion import Motion
from unimo.synth.render import render_clips
from unimo.synth.scene import SceneConfig

_MOTION_SHAPES = {"body_pose": (21, 3), "betas": (10,), "global_orient": (3,), "transl": (3,)}


class ClipPack:
    """Read access to a finished pack.

    Attributes:
        frames: (N,T,H,W,3) uint8 RGB memory map.
        motions: per SMPL-X parameter (N,T,…) float32, camera frame.
        intrinsics: (N,3,3) float32 pixels.
        subjects: (N,) the mocap subject of each clip.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / "pack.json").is_file():
            raise InputError("no finished clip pack here", str(self.folder), "build it with tools/train_mini.py")
        info = json.loads((self.folder / "pack.json").read_text())
        self.fps, self.seeds = float(info["fps"]), list(info["seeds"])
        self.subjects = np.load(self.folder / "subjects.npy")
        self.frames = np.load(self.folder / "frames.npy", mmap_mode="r")
        self._masks = np.load(self.folder / "masks.npy", mmap_mode="r")
        self.motions = {key: np.load(self.folder / f"{key}.npy") for key in _MOTION_SHAPES}
        self.intrinsics = np.load(self.folder / "intrinsics.npy")

    def __len__(self) -> int:
        return len(self.frames)

    def masks(self, indices: np.ndarray) -> np.ndarray:
        """(B,T,H,W) bool: the person's pixels of these clips."""
        return np.unpackbits(self._masks[indices], axis=-1).astype(bool)

    def motion(self, index: int) -> Motion:
        """The clip's motion in its camera frame."""
        values = {key: value[index] for key, value in self.motions.items()}
        return Motion(**values, fps=self.fps, axes="camera", body="open", intrinsics=self.intrinsics[index])


def build_pack(
    folder: str | Path,
    library: MotionLibrary,
    seeds: Sequence[int],
    config: SceneConfig,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> ClipPack:
    """Renders the scenes of `seeds` into a pack; a second call goes on where the first stopped.

    Raises:
        InputError: the folder holds a pack of other seeds, motions or scenes.
    """
    folder, count = Path(folder), len(seeds)
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, library, seeds, config)
    if not (folder / "pack.json").is_file():
        _allocate(folder, count, config)
        todo = [i for i in range(count) if not np.load(folder / "done.npy", mmap_mode="r")[i]]
        chunks = [todo[i : i + 16] for i in range(0, len(todo), 16)]
        finished = count - len(todo)
        context = multiprocessing.get_context("spawn")
        with context.Pool(workers, _start_worker, (folder, library, list(seeds), config)) as pool:
            for rendered in pool.imap_unordered(_render_chunk, chunks):
                finished += rendered
                if progress:
                    progress(finished, count)
        with atomic_write(folder / "pack.json") as path:
            path.write_text(json.dumps({"fps": config.fps, "seeds": list(seeds), "scene": asdict(config)}))
    return ClipPack(folder)


def _claim(folder: Path, library: MotionLibrary, seeds: Sequence[int], config: SceneConfig) -> None:
    """Writes down what the pack is of, or compares with what an earlier call wrote."""
    names = hashlib.sha256("\n".join(motion.name for motion in library).encode()).hexdigest()
    scene, usual = (json.loads(json.dumps(asdict(each))) for each in (config, SceneConfig()))
    wanted = {"seeds": list(seeds), "scene": scene, "motions": names}
    path = folder / "request.json"
    if not path.is_file():
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(wanted))
        return
    there = json.loads(path.read_text())
    # an earlier version knew fewer settings; the default of a later one changes no clip
    if there | {"scene": usual | there["scene"]} != wanted:
        raise InputError("this folder holds a pack of other seeds, motions or scenes", str(folder), "another folder")


def _allocate(folder: Path, count: int, config: SceneConfig) -> None:
    """Makes the empty arrays unless an earlier call did."""
    if (folder / "done.npy").is_file():
        return
    t, side = config.frames, config.side
    shapes = {key: (count, t, *shape) for key, shape in _MOTION_SHAPES.items()} | {"intrinsics": (count, 3, 3)}
    for key, shape in shapes.items():
        np.lib.format.open_memmap(folder / f"{key}.npy", "w+", np.float32, shape).flush()
    np.lib.format.open_memmap(folder / "frames.npy", "w+", np.uint8, (count, t, side, side, 3)).flush()
    np.lib.format.open_memmap(folder / "masks.npy", "w+", np.uint8, (count, t, side, side // 8)).flush()
    np.lib.format.open_memmap(folder / "subjects.npy", "w+", np.dtype("<U16"), (count,)).flush()
    np.lib.format.open_memmap(folder / "done.npy", "w+", np.bool_, (count,)).flush()


_worker: tuple[dict[str, np.ndarray], MotionLibrary, list[int], SceneConfig]


def _start_worker(folder: Path, library: MotionLibrary, seeds: list[int], config: SceneConfig) -> None:
    global _worker
    import torch

    torch.set_num_threads(1)
    names = [*_MOTION_SHAPES, "intrinsics", "frames", "masks", "subjects", "done"]
    _worker = {name: np.load(folder / f"{name}.npy", mmap_mode="r+") for name in names}, library, seeds, config


def _render_chunk(indices: list[int]) -> int:
    """Renders these clips into the arrays; returns how many."""
    arrays, library, seeds, config = _worker
    for index, clip in zip(indices, render_clips(library, [seeds[i] for i in indices], config), strict=True):
        arrays["frames"][index] = clip.rgb
        arrays["masks"][index] = np.packbits(clip.mask, axis=-1)
        arrays["intrinsics"][index] = clip.motion.intrinsics
        arrays["subjects"][index] = clip.subject
        for key in _MOTION_SHAPES:
            arrays[key][index] = getattr(clip.motion, key)
    arrays["done"][indices] = True
    return len(indices)
