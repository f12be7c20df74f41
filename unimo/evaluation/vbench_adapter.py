"""The dimensions of VBench that need networks, by the user's own installation of it (github.com/Vchitect/VBench).

In: videos (mp4) and names of dimensions. Out: a number for each, 0..1, and those of each video. VBench pins numpy < 2
and transformers 4.33, so it lives in an environment of its own, whose Python `$UNIMO_VBENCH_PYTHON` names; nothing of
it is imported here. It needs an NVIDIA GPU and fetches its networks at their first use into its own cache.
Written after version 0.1.5 and tested with a stand-in: it has not been run against the real one.
"""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unimo.errors import InputError, MissingAssetError, UniMoError

PYTHON_VARIABLE = "UNIMO_VBENCH_PYTHON"
DIMENSIONS = (
    "subject_consistency", "background_consistency", "aesthetic_quality", "imaging_quality", "motion_smoothness",
    "temporal_flickering", "dynamic_degree",
)  # fmt: skip
"""Those that judge any video; the others of VBench compare it with one of VBench's own prompts."""
_FIX = (
    "python3.10 -m venv vbench; vbench/bin/pip install torch torchvision vbench; "
    f'export {PYTHON_VARIABLE}="$PWD/vbench/bin/python" (an NVIDIA GPU is needed)'
)
_MODULE, _RESULTS = "vbench.launch.evaluate", "*_eval_results.json"
# VBench divides the mean of this dimension by 100, but not the values of the videos
_PERCENT = "imaging_quality"
_LINES = 8


class VBenchError(UniMoError):
    """VBench failed, or wrote something else than a score for every video."""


@dataclass(frozen=True)
class Scores:
    """One dimension: what VBench prints, and each video in the order they were given; all 0..1, larger is better.

    `mean` is VBench's own: of the two consistencies over the frames of all videos, of the others over videos.
    """

    mean: float
    per_video: tuple[float, ...]


def run_vbench(
    videos: Sequence[Path], dimensions: Sequence[str] = DIMENSIONS, timeout_s: float = 24 * 3600
) -> dict[str, Scores]:
    """Runs VBench once over some videos, each judged by itself (mode "custom_input").

    Args:
        videos: mp4 files; the frame rate that they state decides which frames `dynamic_degree` looks at.
        dimensions: of `DIMENSIONS`.
        timeout_s: seconds after which the process is killed.

    Returns:
        Scores by dimension.

    Raises:
        InputError: no videos, one that is missing or no mp4, or another dimension.
        MissingAssetError: VBench is not configured, or its Python is not there.
        VBenchError: it failed, took too long, or left out a video.
    """
    _check(videos, dimensions)
    python = find_python()
    with tempfile.TemporaryDirectory(prefix="unimo-vbench-") as temporary:
        folder = Path(temporary)
        source, target = folder / "videos", folder / "results"
        source.mkdir()
        for number, video in enumerate(videos):
            # several may have one name, and VBench reads the folder in any order
            _linked(source, number).symlink_to(video.expanduser().resolve())
        # isolated: neither PYTHONPATH nor the folder leads it to our packages
        words = [str(python), "-I", "-m", _MODULE, "--videos_path", str(source), "--output_path", str(target)]
        words += ["--mode", "custom_input", "--dimension", *dimensions]
        _run(words, folder, timeout_s)
        found = _read(target)
    return {name: _scores(found, name, source, len(videos)) for name in dimensions}


def find_python() -> Path:
    """The Python that has VBench.

    Raises:
        MissingAssetError: not configured, or not there.
    """
    configured = os.environ.get(PYTHON_VARIABLE)
    if not configured:
        raise MissingAssetError("VBench is not configured", f"the environment variable {PYTHON_VARIABLE}", _FIX)
    path = Path(configured).expanduser().absolute()
    if not path.is_file() or not os.access(path, os.X_OK):
        raise MissingAssetError("the Python of VBench is not there", f"{path} ({PYTHON_VARIABLE})", _FIX)
    return path


def check_vbench() -> str:
    """What `unimo doctor` says: the interpreter and the version of VBench.

    Raises:
        MissingAssetError: not configured, or VBench is not in that environment.
    """
    python = find_python()
    code = "from importlib.metadata import version; print('vbench', version('vbench'))"
    try:
        done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=False, timeout=60)
        said = (done.stdout.strip() or done.stderr.strip() or "(it printed nothing)").splitlines()[-1]
        failed = done.returncode != 0 or not said.startswith("vbench ")
    except (OSError, subprocess.TimeoutExpired) as error:
        failed, said = True, str(error)
    if failed:
        raise MissingAssetError(f"VBench is not in its environment: {said}", f"{python} ({PYTHON_VARIABLE})", _FIX)
    return f"{python}: {said}"


def _check(videos: Sequence[Path], dimensions: Sequence[str]) -> None:
    if not videos:
        raise InputError("there is no video for VBench", None, "give at least one mp4")
    for video in videos:
        if video.suffix.lower() != ".mp4" or not video.expanduser().is_file():
            raise InputError("VBench needs mp4 files; this is none", str(video), "write it as mp4")
    unknown = [name for name in dimensions if name not in DIMENSIONS]
    if unknown or not dimensions:
        what = f"not a dimension of VBench that any video has: {', '.join(unknown) or '(none given)'}"
        raise InputError(what, None, f"some of {', '.join(DIMENSIONS)}")


def _linked(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.mp4"


def _run(words: list[str], folder: Path, timeout_s: float) -> None:
    # VBench opens a process group of one; values of a group around us must not reach it
    alone = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": "1"}
    environment = {**os.environ, **alone, "RANK": "0", "LOCAL_RANK": "0"}
    log = folder / "log.txt"
    with log.open("wb") as handle:
        try:
            code = subprocess.run(
                words, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=handle,
                stderr=subprocess.STDOUT, timeout=timeout_s, check=False,
            ).returncode  # fmt: skip
        except OSError as error:
            raise VBenchError(f"VBench cannot be started ({error})", words[0], _FIX) from error
        except subprocess.TimeoutExpired as error:
            what = f"VBench was stopped, because it took longer than {timeout_s:g} s"
            raise VBenchError(what, words[0], "fewer videos at a time") from error
    if code:
        lines = [line for line in log.read_text("utf-8", errors="replace").splitlines() if line.strip()]
        last = "\n".join(lines[-_LINES:]) or "(it printed nothing)"
        what = f"VBench failed with exit code {code}; its last words:\n{last}"
        raise VBenchError(what, words[0], f"run `vbench evaluate` by hand in that environment; {_FIX}")


def _read(target: Path) -> dict[str, Any]:
    found = sorted(target.glob(_RESULTS))
    if len(found) != 1:
        what = f"VBench ended without an error, but wrote {len(found) or 'no'} files {_RESULTS} where one was expected"
        raise VBenchError(what, None, _FIX)
    try:
        results = json.loads(found[0].read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise VBenchError(f"the results of VBench cannot be read ({error})", found[0].name) from error
    if not isinstance(results, dict):
        raise VBenchError("the results of VBench are no mapping of dimensions", found[0].name)
    return results


def _scores(found: dict[str, Any], name: str, source: Path, count: int) -> Scores:
    """One dimension: [mean, [{"video_path", "video_results"}, ...]]."""
    try:
        mean, videos = found[name]
        values = {Path(video["video_path"]).name: float(video["video_results"]) for video in videos}
        numbers = [float(mean), *(values[_linked(source, number).name] for number in range(count))]
    except (KeyError, TypeError, ValueError) as error:
        what = f"VBench gave no {name} for every one of {count} videos ({type(error).__name__}: {error})"
        raise VBenchError(what, None, "look whether it can read all of them: it leaves some out silently") from error
    if not all(math.isfinite(number) for number in numbers):
        raise VBenchError(f"VBench gave a {name} that is no number", None, "give videos of at least two frames")
    scale = 100 if name == _PERCENT else 1
    return Scores(numbers[0], tuple(number / scale for number in numbers[1:]))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]
