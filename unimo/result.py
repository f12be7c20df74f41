"""`Result`: what one run made, and the folder it writes.

In: a motion in camera axes, the frames it belongs to (generated ones, or the captured clip), and how it came about.
Out: `motion.npz`, `video.mp4` (generate), `overlay.mp4`, `side_by_side.mp4`, the wanted exports and `run.json`; all of
them or none: everything is made in a folder beside and moved in at the end.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from unimo import __version__
from unimo.errors import InputError
from unimo.media.source import FrameSource
from unimo.media.video import write_video
from unimo.motion.bvh_export import export_bvh
from unimo.motion.glb import write_glb
from unimo.motion.motion import Motion
from unimo.motion.npz import save_motion
from unimo.render.overlay import overlay, side_by_side

EXPORTS = ("bvh", "glb")
AI_METADATA = {"comment": "AI-generated", "description": "AI-generated with UniMo"}
SMALLEST_VIEW, LARGEST_PANEL = 384, 640
"""Pixels of the longer side: smaller frames are enlarged to be drawn on; panels of side_by_side.mp4 stay within."""
VERSIONS_OF = ("torch", "numpy", "diffusers", "smplx", "av", "pyrender")
Progress = Callable[[str, int, int], None]
"""Called with the name of a stage, steps done and steps in all."""


def share_of(
    progress: Progress | None, stage: str, before: int, rows: int, total: int
) -> Callable[[int, int], None] | None:
    """Progress of one batch of `rows` sequences, after `before` of `total`, for the engine to call."""
    if progress is None:
        return None
    return lambda done, steps: progress(stage, before * steps + done * rows, total * steps)


@dataclass(frozen=True, eq=False)
class Result:
    """One captured or generated motion.

    Attributes:
        task: "capture" or "generate".
        motion: camera axes, at the rate of `source`, with the intrinsics of its frames.
        source: the frames the motion belongs to, one a motion frame.
        run: how it came about (seed, sampling, bundle, timings), plain JSON.
    """

    task: str
    motion: Motion
    source: FrameSource
    run: dict[str, Any] = field(default_factory=dict)

    @property
    def frames(self) -> np.ndarray:
        """uint8 (T, H, W, 3): all frames in memory; for long clips iterate `source`."""
        return np.stack([frame for _, frame in self.source])

    def save(
        self,
        folder: str | Path,
        export: Sequence[str] = (),
        overwrite: bool = False,
        render: bool = True,
        progress: Progress | None = None,
    ) -> list[Path]:
        """Writes the files of `planned_files` into `folder`, which is made when missing.

        Args:
            folder: where to.
            export: "bvh" and "glb", in the world frame, y up.
            overwrite: replace files of an earlier run; those that its run.json lists and this run does not make go.
            render: draw overlay.mp4 and side_by_side.mp4 (needs off-screen rendering).
            progress: see `Progress`.

        Returns:
            The files.

        Raises:
            InputError: files of an earlier run are there, or an unknown export.
            MissingAssetError: rendering is asked for and not possible, or the body file is not on this machine.
        """
        folder = Path(folder)
        names = planned_files(self.task, export, render)
        check_output(folder, names, overwrite)
        folder.mkdir(parents=True, exist_ok=True)
        staging = folder / f".unfinished-{secrets.token_hex(4)}"
        staging.mkdir()
        try:
            self._write(staging, names, progress or (lambda stage, done, total: None))
            for name in set(_files_of_run(folder)) - set(names):
                # the clip this motion was captured from stays
                if self.source.path is None or (folder / name).resolve() != self.source.path.resolve():
                    (folder / name).unlink(missing_ok=True)
            for name in names:
                os.replace(staging / name, folder / name)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return [folder / name for name in names]

    def _write(self, folder: Path, names: Sequence[str], progress: Progress) -> None:
        started = time.perf_counter()
        save_motion(folder / "motion.npz", self.motion)
        if "video.mp4" in names:
            write_video(folder / "video.mp4", (frame for _, frame in self.source), self.source.fps, AI_METADATA)
        if "overlay.mp4" in names:
            self._draw(folder, "overlay", progress)
            self._draw(folder, "side_by_side", progress)
        for kind in EXPORTS:
            if f"motion.{kind}" in names:
                export_motion(folder / f"motion.{kind}", self.motion, kind)
        record = self._record(names, time.perf_counter() - started)
        (folder / "run.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

    def _draw(self, folder: Path, kind: str, progress: Progress) -> None:
        draw = overlay if kind == "overlay" else side_by_side
        metadata_tags = AI_METADATA if self.task == "generate" else {"comment": "motion estimated with UniMo"}

        height, width = _view_size(self.source, LARGEST_PANEL if kind == "side_by_side" else None)
        frames = (_resized(frame, height, width) for _, frame in self.source)
        motion = self.motion
        if motion.intrinsics is not None:
            scale = np.diag([width / self.source.width, height / self.source.height, 1.0])
            motion = replace(motion, intrinsics=scale @ motion.intrinsics)

        def counted() -> Iterator[np.ndarray]:
            for done, frame in enumerate(draw(frames, motion), 1):
                progress(f"drawing {kind}.mp4", done, len(self.motion))
                yield frame

        write_video(folder / f"{kind}.mp4", counted(), self.source.fps, metadata_tags)

    def _record(self, names: Sequence[str], seconds: float) -> dict[str, Any]:
        motion = self.motion
        timings = {**self.run.get("timings_s", {}), "write": round(seconds, 3)}
        return {
            "task": self.task,
            "ai_generated": True,
            **self.run,
            "timings_s": timings,
            "motion": {
                "frames": len(motion),
                "fps": motion.fps,
                "axes": motion.axes,
                "body": motion.body,
                "intrinsics": None if motion.intrinsics is None else motion.intrinsics.tolist(),
                **(motion.extras or {}),
            },
            "files": list(names),
            "versions": {"unimo": __version__, **{name: metadata.version(name) for name in VERSIONS_OF}},
        }


def planned_files(task: str, export: Sequence[str] = (), render: bool = True) -> list[str]:
    """The names a run writes, `run.json` last.

    Raises:
        InputError: an unknown export.
    """
    for name in export:
        _check_export(name)
    names = ["motion.npz"]
    names += ["video.mp4"] if task == "generate" else []
    names += ["overlay.mp4", "side_by_side.mp4"] if render else []
    return [*names, *(f"motion.{name}" for name in EXPORTS if name in export), "run.json"]


def export_motion(path: Path, motion: Motion, kind: str) -> None:
    """Writes a motion in the world frame, y up, as "bvh" or "glb".

    Raises:
        InputError: an unknown kind.
        MissingAssetError: the motion is of the licensed body and its file is not on this machine.
    """
    _check_export(kind)
    {"bvh": export_bvh, "glb": write_glb}[kind](path, motion)


def check_output(folder: str | Path, names: Sequence[str], overwrite: bool) -> None:
    """Refuses a folder that is a file, cannot be written, or holds files of an earlier run.

    Raises:
        InputError: with the way out.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError("the output is a file; a folder is wanted", str(folder), "another --output")
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not (nearest.is_dir() and os.access(nearest, os.W_OK)):
        raise InputError("the output folder cannot be made or written here", str(nearest), "another --output")
    there = [name for name in names if (folder / name).exists()]
    if there and not overwrite:
        what = f"the output folder already holds {', '.join(there)}"
        raise InputError(what, str(folder.absolute()), "--overwrite, or another --output")


def other_samples(folder: str | Path, folders: Sequence[Path]) -> list[Path]:
    """Folders `sample_NN` inside `folder` that hold a run and are not among `folders`: left by an earlier command."""
    found = sorted(path.parent for path in Path(folder).glob("sample_[0-9]*/run.json"))
    return [path for path in found if path not in folders]


def remove_run(folder: Path) -> None:
    """Deletes the files that the `run.json` of a folder lists, and the folder if nothing else is in it."""
    for name in _files_of_run(folder):
        (folder / name).unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def _files_of_run(folder: Path) -> list[str]:
    """Which of the files that a run can write the `run.json` of a folder lists; none without one."""
    try:
        listed = json.loads((folder / "run.json").read_text(encoding="utf-8"))["files"]
        return [name for name in planned_files("generate", EXPORTS) if name in listed]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _check_export(kind: str) -> None:
    if kind not in EXPORTS:
        raise InputError(f"unknown export {kind!r}", None, f"--export {','.join(EXPORTS)}")


def _view_size(source: FrameSource, largest: int | None) -> tuple[int, int]:
    """Height and width to draw at: the source's own, unless too small to judge or with a side above `largest`."""
    side = max(source.height, source.width)
    scale = math.ceil(SMALLEST_VIEW / side) if largest is None or side <= largest else largest / side
    return max(16, round(source.height * scale)), max(16, round(source.width * scale))


def _resized(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    if frame.shape[:2] == (height, width):
        return frame
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC))
