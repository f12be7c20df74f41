"""Enhancers: programs that make a generated video larger and sharper, after decoding; the motion stays.

In: a generated `Result`. Out: the same with enhanced frames, one for each it had, and intrinsics of the new frame size.
UniMo carries no enhancer: "none" leaves frames as they are, "seedvr" runs the user's own SeedVR2 as a process.
"""

from __future__ import annotations

import math
import os
import shlex
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from unimo.errors import InputError, MissingAssetError, UniMoError
from unimo.media.source import FrameSource
from unimo.media.video import read_video, write_video
from unimo.media.video_writer import SUFFIXES
from unimo.programs import Program, environment_of
from unimo.result import Result

ENHANCERS = ("none", "seedvr")
FOLDER_VARIABLE, COMMAND_VARIABLE = "UNIMO_SEEDVR", "UNIMO_SEEDVR_COMMAND"
SEEDVR_COMMAND = (
    "torchrun --nproc-per-node=1 projects/inference_seedvr2_3b.py --video_path {video_path} --output_dir {output_dir} "
    "--seed {seed} --res_h {res_h} --res_w {res_w} --sp_size 1"
)
SEEDVR_FILES = (
    "projects/inference_seedvr2_3b.py",
    "ckpts/seedvr2_ema_3b.pth",
    "ckpts/ema_vae.pth",
    "pos_emb.pt",
    "neg_emb.pt",
)
"""What `SEEDVR_COMMAND` opens, seen from the checkout."""
_GRID, _STEP = 16, 4
_HELP = "docs/enhancer.md says how to install SeedVR"
_NEEDED = ("video_path", "output_dir")
SEEDVR = Program("SeedVR", FOLDER_VARIABLE, COMMAND_VARIABLE, SEEDVR_COMMAND, _NEEDED, _HELP)
_LINES, _PATIENCE_S = 8, 15


class EnhancerError(UniMoError):
    """An enhancer failed, or gave back something that does not belong to the video it was given."""


class Enhancer(Protocol):
    """Makes a video larger or sharper without moving anything in it."""

    @property
    def record(self) -> dict[str, Any]:
        """What `run.json` says of it: "name" and settings, plain JSON."""
        ...

    def __call__(self, frames: np.ndarray, fps: float, seed: int) -> np.ndarray:
        """uint8 (T, H, W, 3) RGB → uint8 (T, H', W', 3): as many frames, the whole picture, H' / H = W' / W."""
        ...


class NoEnhancer:
    """Leaves the frames as they are."""

    record: dict[str, Any] = {"name": "none"}

    def __call__(self, frames: np.ndarray, fps: float, seed: int) -> np.ndarray:
        return frames


@dataclass(frozen=True)
class SeedVREnhancer:
    """Runs an installation of SeedVR2 (github.com/ByteDance-Seed/SeedVR), once for each video.

    SeedVR crops what is no multiple of 16 pixels, and works on 4 n + 1 frames. So frames are first padded to that size
    and number by repeating the last row, column and frame, and what was added is taken off the result.

    Args:
        folder: the checkout; the command runs there, with the folder first in PYTHONPATH.
        command: its words, split as a shell would but run without one, with {video_path} and {output_dir} (folders),
            {seed}, {res_h} and {res_w} filled in.
        longer_side: frames are enlarged by the smallest whole factor that brings their longer side to this, in pixels.
        timeout_s: seconds after which the process and its children are killed.
    """

    folder: Path
    command: str = SEEDVR_COMMAND
    longer_side: int = 720
    timeout_s: float = 3600

    @classmethod
    def from_environment(cls) -> SeedVREnhancer:
        """The installation that `UNIMO_SEEDVR` and, if set, `UNIMO_SEEDVR_COMMAND` name.

        Raises:
            MissingAssetError: not configured, or something of it is not there.
            InputError: the command is malformed.
        """
        enhancer = cls(*SEEDVR.from_environment())
        enhancer.check()
        return enhancer

    @property
    def record(self) -> dict[str, Any]:
        return {"name": "seedvr", "command": self.command}

    def check(self) -> None:
        """Sees that the command can be started.

        Raises:
            MissingAssetError, InputError: as `from_environment`.
        """
        if not self.folder.is_dir():
            fix = f"set {FOLDER_VARIABLE} to your checkout of SeedVR; {_HELP}"
            raise MissingAssetError("the folder of SeedVR is not there", str(self.folder), fix)
        if self.command == SEEDVR_COMMAND:
            for name in SEEDVR_FILES:
                if not (self.folder / name).is_file():
                    raise MissingAssetError(f"SeedVR's {name} is not there", str(self.folder / name), _HELP)
        SEEDVR.check_program(self.folder, self._words(Path("in"), Path("out"), 0, 16, 16)[0])

    def __call__(self, frames: np.ndarray, fps: float, seed: int) -> np.ndarray:
        """See `Enhancer`.

        Raises:
            EnhancerError: the command failed, took too long, or wrote no video of this size and length.
        """
        count, height, width = frames.shape[:3]
        padded = _padded(frames)
        factor = max(1, math.ceil(self.longer_side / max(height, width)))
        with tempfile.TemporaryDirectory(prefix="unimo-seedvr-") as temporary:
            source, target = Path(temporary, "input"), Path(temporary, "output")
            for folder in (source, target):
                folder.mkdir()
            write_video(source / "video.mp4", padded, fps, crf=2, full_chroma=True)
            res_h, res_w = (factor * side for side in padded.shape[1:3])
            self._run(self._words(source, target, seed, res_h, res_w), Path(temporary, "log.txt"))
            enhanced = _read_only_video(target)
        scale = enhanced.shape[2] / padded.shape[2]
        if len(enhanced) != len(padded):
            raise EnhancerError(f"SeedVR gave back {len(enhanced)} frames for {len(padded)}", fix=_HELP)
        if abs(enhanced.shape[1] - padded.shape[1] * scale) > 0.5:
            shapes = " for ".join(f"{video.shape[2]}×{video.shape[1]}" for video in (enhanced, padded))
            what = f"SeedVR cropped or stretched the picture, so that the motion would not lie on it: {shapes} pixels"
            raise EnhancerError(what, fix=f"let the command keep the shape: --res_h {res_h} --res_w {res_w}")
        return enhanced[:count, : round(height * scale), : round(width * scale)]

    def _words(self, source: Path, target: Path, seed: int, res_h: int, res_w: int) -> list[str]:
        return SEEDVR.words(
            self.command, video_path=source, output_dir=target, seed=seed, res_h=res_h, res_w=res_w
        )

    def _run(self, words: list[str], log: Path) -> None:
        """Runs the command to its end in a process group of its own, so that its workers end with it."""
        with log.open("wb") as handle:
            try:
                process = subprocess.Popen(
                    words, cwd=self.folder, env=environment_of(self.folder), stdin=subprocess.DEVNULL, stdout=handle,
                    stderr=subprocess.STDOUT, start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                raise EnhancerError(f"SeedVR cannot be started ({error})", str(self.folder), _HELP) from error
            try:
                code = process.wait(self.timeout_s)
            except subprocess.TimeoutExpired as error:
                what = f"SeedVR was stopped, because it took longer than {self.timeout_s:g} s"
                raise EnhancerError(what, _tail(log), "a shorter video, or a faster graphics card") from error
            finally:
                _end_group(process)
        if code:
            what = f"SeedVR failed with exit code {code}; its last words:\n{_tail(log)}"
            fix = f"run it by hand in its own environment; if that is not the one on PATH, set {COMMAND_VARIABLE}"
            raise EnhancerError(what, f"{shlex.join(words)} in {self.folder}", fix)


def find_enhancer(name: str) -> Enhancer:
    """The enhancer of a name, ready to run.

    Raises:
        InputError: not one of `ENHANCERS`, or a malformed command.
        MissingAssetError: it is not on this machine.
    """
    if name not in ENHANCERS:
        raise InputError(f"unknown enhancer {name!r}", None, f"--enhancer {' or '.join(ENHANCERS)}")
    return SeedVREnhancer.from_environment() if name == "seedvr" else NoEnhancer()


def enhance_result(result: Result, enhancer: Enhancer) -> Result:
    """The result with enhanced frames; its intrinsics are scaled with them, the motion is untouched.

    Args:
        result: of `generate`, whose frames are ours to change.
        enhancer: see `Enhancer`.

    Returns:
        A new result; `run["enhancer"]` says what was done, with "frame_size" [height, width] in pixels.

    Raises:
        InputError: a captured result.
        EnhancerError: the enhancer failed, or what it gave back is no video of as many frames.
    """
    if result.task != "generate":
        raise InputError("only generated videos are enhanced; a captured clip stays as it is")
    started = time.perf_counter()
    frames, fps = result.frames, result.source.fps
    seed = result.run.get("seed", 0) + result.run.get("sample", 0)
    enhanced = enhancer(frames, fps, seed % 2**32)  # more than numpy's generators, and so SeedVR, take
    if enhanced.dtype != np.uint8 or enhanced.ndim != 4 or enhanced.shape[::3] != (len(frames), 3):
        found = f"{enhanced.dtype} {enhanced.shape}"
        raise EnhancerError(f"the enhancer gave back {found} for uint8 {frames.shape}: as many frames are wanted")
    height, width = enhanced.shape[1:3]
    motion = result.motion
    if motion.intrinsics is not None:
        scale = np.diag([width / frames.shape[2], height / frames.shape[1], 1.0])
        motion = replace(motion, intrinsics=scale @ motion.intrinsics)
    timings = {**result.run.get("timings_s", {}), "enhance": round(time.perf_counter() - started, 3)}
    record = {**enhancer.record, "frame_size": [height, width]}
    run = {**result.run, "enhancer": record, "timings_s": timings}
    return replace(result, motion=motion, source=FrameSource.of(enhanced, fps), run=run)


def _padded(frames: np.ndarray) -> np.ndarray:
    """Frames with their last row, column and frame repeated to multiples of 16 pixels and 4 n + 1 frames."""
    count, height, width = frames.shape[:3]
    time_, rows, columns = -(count - 1) % _STEP, -height % _GRID, -width % _GRID
    return np.pad(frames, ((0, time_), (0, rows), (0, columns), (0, 0)), mode="edge")


def _read_only_video(folder: Path) -> np.ndarray:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if len(found) != 1:
        what = f"SeedVR ended without an error, but wrote {len(found) or 'no'} videos where one was expected"
        raise EnhancerError(what, str(folder), f"the command must write into {{output_dir}}; {_HELP}")
    try:
        return read_video(found[0])
    except InputError as error:
        raise EnhancerError(f"the video that SeedVR wrote cannot be read: {error.what}", found[0].name) from error


def _tail(log: Path) -> str:
    """The last lines a process printed; progress bars go back to a line's start instead of beginning a new one."""
    lines = [line for line in log.read_text("utf-8", errors="replace").splitlines() if line.strip()]
    return "\n".join(lines[-_LINES:]) or "(it printed nothing)"


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and what it left behind; torchrun first gets time to end its workers, which are sessions apart."""
    for number, patience in ((signal.SIGTERM, _PATIENCE_S), (signal.SIGKILL, None)):
        try:
            os.killpg(process.pid, number)
            process.wait(patience)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
