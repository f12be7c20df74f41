"""Writes synthetic clips to disk, one folder a clip, on several processes; a stopped run goes on where it was.

In: named world motions, a count and a seed. Out, under the output folder:
`clips/NNNNNN/` with the files of `unimo.synth.clip_files` (video, motion, camera, keypoints, mask, layers when asked
for); `manifest.jsonl` (one line a clip) and `synth.json` (what the run was asked for).
A clip's folder appears whole or not at all, and depends on its own seed alone, not on the number of workers.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from unimo.errors import InputError
from unimo.files import atomic_write
from unimo.motion.library import NamedMotion
from unimo.synth.clip_files import arrays_digest, write_clip
from unimo.synth.layers import parse_layers
from unimo.synth.render import render_clips
from unimo.synth.scene import SceneConfig, scene_sampler

_CHUNK = 4


@dataclass(frozen=True)
class _Job:
    """What a worker needs to make any clip of a run."""

    library: Sequence[NamedMotion]
    seed: int
    folder: Path
    config: SceneConfig
    layers: tuple[str, ...]


def clip_seed(seed: int, index: int) -> int:
    """Seed of clip `index` of a run, 0 .. 2^63 - 1."""
    words = np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))


def library_digest(library: Sequence[NamedMotion]) -> str:
    """SHA-256 of the names and motions of a library, in order."""
    digest = hashlib.sha256()
    for named in library:
        motion = named.motion
        arrays = arrays_digest([motion.body_pose, motion.betas, motion.global_orient, motion.transl])
        digest.update(json.dumps([named.name, named.subject, motion.fps, arrays]).encode())
    return digest.hexdigest()


def generate_clips(
    library: Sequence[NamedMotion],
    count: int,
    seed: int,
    output: str | Path,
    config: SceneConfig | None = None,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
    layers: Sequence[str] = (),
) -> Path:
    """Renders `count` clips.

    Args:
        library: named world motions, such as `unimo.motion.library.MotionLibrary` or `unimo.synth.gait.gait_library`.
        count: clips to have in the end.
        seed: seed of the run.
        output: folder; clips of an earlier run with the same arguments are kept, a larger `count` adds to them.
        config: what clips look like; None takes the defaults.
        workers: processes; 1 renders in this one.
        progress: called with (finished, count).
        layers: names from `unimo.synth.layers.LAYERS` to store as well.

    Returns:
        Path of `manifest.jsonl`.

    Raises:
        InputError: count or workers below 1, an unknown layer, no motion long enough, or `output` holds clips made
            otherwise.
        MissingAssetError: no EGL driver on this machine.
    """
    if count < 1 or workers < 1:
        raise InputError(f"count and workers must be at least 1, not {count} and {workers}")
    layers = parse_layers(",".join(layers))
    output, config = Path(output), config or SceneConfig()
    folder = output / "clips"
    scene_sampler(library, config)  # refuses a library that cannot serve before anything is written
    request = {"seed": seed, "layers": list(layers), "scene": asdict(config), "library": library_digest(library)}
    _check_output(output, request)
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".*.part"):
        shutil.rmtree(leftover)
    job = _Job(library, seed, folder, config, layers)
    todo = [index for index in range(count) if not (folder / _name(index) / "clip.json").is_file()]
    finished = count - len(todo)
    if progress:
        progress(finished, count)
    for made in _make_all(job, [todo[i : i + _CHUNK] for i in range(0, len(todo), _CHUNK)], workers):
        finished += made
        if progress:
            progress(finished, count)
    manifest = output / "manifest.jsonl"
    with atomic_write(manifest) as path, path.open("w") as lines:
        for index in range(count):
            record = json.loads((folder / _name(index) / "clip.json").read_text())
            lines.write(json.dumps(record) + "\n")
    return manifest


def _make_all(job: _Job, chunks: list[list[int]], workers: int) -> Iterator[int]:
    """Yields the number of clips of every finished chunk."""
    if workers == 1 or len(chunks) <= 1:
        for chunk in chunks:
            yield _make_chunk(job, chunk)
        return
    context = multiprocessing.get_context("spawn")  # an OpenGL context does not survive a fork
    with context.Pool(min(workers, len(chunks)), _start_worker, (job,)) as pool:
        yield from pool.imap_unordered(_work, chunks)


_job: _Job


def _start_worker(job: _Job) -> None:
    global _job
    import torch

    # one software rasteriser thread a process: the processes already fill the cores
    os.environ.setdefault("LP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    _job = job


def _work(indices: list[int]) -> int:
    return _make_chunk(_job, indices)


def _make_chunk(job: _Job, indices: list[int]) -> int:
    seeds = [clip_seed(job.seed, index) for index in indices]
    for index, clip in zip(indices, render_clips(job.library, seeds, job.config), strict=True):
        write_clip(clip, job.folder, _name(index), job.layers)
    return len(indices)


def _check_output(output: Path, request: dict) -> None:
    """Refuses a folder that holds clips made with other settings; remembers the settings of a new one."""
    path = output / "synth.json"
    text = json.dumps(request, indent=2, sort_keys=True)
    if path.is_file():
        if (there := path.read_text()) != text:
            raise InputError(_difference(there, json.loads(text)), str(path), "another --output, or remove the folder")
        return
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError("the output folder is not empty and holds no synthetic clips", str(output), "a new folder")
    with atomic_write(path) as temporary:
        temporary.write_text(text)


def _difference(text: str, request: dict) -> str:
    """Says in what the `synth.json` of a folder differs from what is asked for now."""
    try:
        made = dict(json.loads(text))
    except (ValueError, TypeError):
        return "this folder's record of how its clips were made is damaged"
    if "library" not in made:
        return "this folder was made by an earlier version, which did not record the motions of its clips"
    if "layers" not in made:
        return "this folder was made by an earlier version, whose clips have other files"
    if all(made.get(key) == value for key, value in request.items() if key != "library"):
        return "this folder holds synthetic clips made from other motions (mocap or subjects)"
    return "this folder holds synthetic clips made with another seed or configuration"


def _name(index: int) -> str:
    return f"{index:06d}"
