"""MediaPipe's landmarks of everybody in a video, by a process in an environment of its own (it needs numpy < 2).

In: RGB frames (H, W, 3) uint8 one after another. Out: a `LandmarkTrack` a person. The Python that has MediaPipe is
`$UNIMO_MEDIAPIPE_PYTHON`, else the one that `make mediapipe` puts into the cache; it runs `mediapipe_worker.py`.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unimo.assets import cache_dir
from unimo.data.extractors.protocol import ExtractorError
from unimo.errors import InputError, MissingAssetError

PYTHON_VARIABLE = "UNIMO_MEDIAPIPE_PYTHON"
WORKER = Path(__file__).with_name("mediapipe_worker.py")
NUM_LANDMARKS = 33
DETECT_EVERY, MOST_PEOPLE = 5, 6
"""Frames between two looks for new people, and how many are followed at most."""
_FIX = "make mediapipe (docs/extractors.md)"
_LINES = 8


@dataclass(frozen=True, eq=False)
class LandmarkTrack:
    """MediaPipe's 33 landmarks of one person.

    Attributes:
        frames: (T,) int64 frame numbers, rising, not all of them need be there.
        world: (T, 33, 3) metres about the middle of the hips: x right, y down, z away from the camera.
        image: (T, 33, 2) pixels.
        visibility: (T, 33) float32 in 0..1.
    """

    frames: np.ndarray
    world: np.ndarray
    image: np.ndarray
    visibility: np.ndarray

    def __len__(self) -> int:
        return len(self.frames)

    def boxes(self) -> np.ndarray:
        """(T, 4) float32: left, top, right, bottom in pixels around all landmarks."""
        return np.concatenate([self.image.min(1), self.image.max(1)], 1).astype(np.float32)


def find_python() -> Path:
    """The Python that has MediaPipe.

    Raises:
        MissingAssetError: there is none.
    """
    configured = os.environ.get(PYTHON_VARIABLE)
    path = Path(configured).expanduser() if configured else cache_dir() / "environments/mediapipe/bin/python"
    if not path.is_file():
        where = f"{path} ({PYTHON_VARIABLE})" if configured else str(path)
        raise MissingAssetError("the environment of MediaPipe is not installed", where, _FIX)
    return path


def check_mediapipe() -> str:
    """What `unimo doctor` says: the interpreter and the version of MediaPipe.

    Raises:
        MissingAssetError: there is no environment, or MediaPipe with numpy < 2 is not in it.
    """
    python = find_python()
    code = "from importlib.metadata import version as v; print('mediapipe', v('mediapipe'), 'numpy', v('numpy'))"
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=False)
    words = done.stdout.split()
    if done.returncode or len(words) != 4 or not words[3].startswith("1."):
        found = done.stdout.strip() or _tail(done.stderr)
        raise MissingAssetError(f"MediaPipe with numpy < 2 is not in its environment: {found}", str(python), _FIX)
    return f"{python}: {done.stdout.strip()}"


def read_landmarks(
    frames: Iterable[np.ndarray], height: int, width: int, detect_every: int = DETECT_EVERY
) -> tuple[list[LandmarkTrack], int]:
    """Runs the worker over a video.

    Args:
        frames: (H, W, 3) uint8 RGB.
        height, width: H and W.
        detect_every: see `DETECT_EVERY`.

    Returns:
        A track for every person, and the number of frames.

    Raises:
        MissingAssetError: the environment is not installed.
        ExtractorError: the worker failed or wrote something else than it should.
    """
    python = find_python()
    with tempfile.TemporaryDirectory(prefix="unimo-mediapipe-") as folder:
        output, log = Path(folder, "landmarks.npz"), Path(folder, "log.txt")
        sizes = {"height": height, "width": width, "detect-every": detect_every, "most-people": MOST_PEOPLE}
        # isolated: neither PYTHONPATH nor the folder of the worker leads it to our packages
        words = [str(python), "-I", str(WORKER), "--output", str(output)]
        words += [word for name, value in sizes.items() for word in (f"--{name}", str(value))]
        sent = _run(words, frames, (height, width, 3), log)
        return _tracks(output, sent), sent


def _run(words: list[str], frames: Iterable[np.ndarray], shape: tuple[int, int, int], log: Path) -> int:
    """Sends all frames to the worker and waits for its end; the number of frames."""
    sent = 0
    with log.open("wb") as handle:
        try:
            process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=handle, stderr=subprocess.STDOUT)
        except OSError as error:
            raise ExtractorError(f"MediaPipe's Python cannot be started ({error})", words[0], _FIX) from error
        assert process.stdin is not None
        try:
            for frame in frames:
                if frame.shape != shape:
                    raise InputError(f"frame {sent} is {frame.shape}, the first was {shape}")
                process.stdin.write(np.ascontiguousarray(frame).data)
                sent += 1
            process.stdin.close()
            process.wait()
        except BrokenPipeError:
            process.wait()  # it ended early: its exit code and last words say why
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            with suppress(BrokenPipeError):
                process.stdin.close()
    if process.returncode:
        last = _tail(log.read_text("utf-8", errors="replace"))
        what = f"MediaPipe failed with exit code {process.returncode} at frame {sent}; its last words:\n{last}"
        raise ExtractorError(what, words[0], "unimo doctor; make mediapipe anew")
    return sent


def _tracks(path: Path, count: int) -> list[LandmarkTrack]:
    """The worker's file, checked, cut into people."""
    names = ("frames", "people", "world", "image", "visibility", "count")
    try:
        with np.load(path, allow_pickle=False) as archive:
            frames, people, world, image, visibility, read = (archive[name] for name in names)
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        what = f"MediaPipe's worker ended without an error, but its landmarks cannot be read ({error})"
        raise ExtractorError(what, path.name, _FIX) from error
    rows = len(frames) if frames.ndim == 1 else -1
    wanted = {"people": (people, ()), "world": (world, (33, 3)), "image": (image, (33, 2))}
    wanted["visibility"] = (visibility, (33,))
    for name, (array, shape) in wanted.items():
        if array.shape != (rows, *shape) or array.dtype.kind not in "if" or not np.isfinite(array).all():
            raise ExtractorError(f"MediaPipe's worker gave back {name} {array.dtype} {array.shape} of {rows} rows")
    if read.shape != () or int(read) != count or (rows and not 0 <= frames.min() <= frames.max() < count):
        raise ExtractorError(f"MediaPipe's worker read other frames than the {count} it was sent")
    tracks = []
    for person in np.unique(people):
        mine = people == person
        if (np.diff(frames[mine]) <= 0).any():
            raise ExtractorError(f"MediaPipe's worker gave back frames of person {person} that do not rise")
        tracks.append(LandmarkTrack(frames[mine], world[mine], image[mine], visibility[mine].astype(np.float32)))
    return tracks


def _tail(text: str) -> str:
    """The last lines a process printed, less MediaPipe's own chatter."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(("W0000", "I0000", "INFO:"))]
    return "\n".join(lines[-_LINES:]) or "(it printed nothing)"
