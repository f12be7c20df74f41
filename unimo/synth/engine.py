"""Writes synthetic clips to disk, one folder a clip, on several processes; a stopped run goes on where it was.

In: named world motions, a count and a seed. Out, under the output folder:
`clips/NNNNNN/` with the files of `unimo.synth.clip_files` (video, motion, camera, keypoints, mask, layers when asked
for); `manifest.jsonl` (one line a clip) and `synth.json` (what the run was asked for).
A clip's folder appears whole or not at all, and depends on its own seed alone, not on the number of workers.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from unimo.errors import InputError
from unimo.files import atomic_write, writing_into
from unimo.motion.library import NamedMotion
from unimo.render.renderer import shared_renderer
from unimo.synth.background import check_pictures
from unimo.synth.clip_files import arrays_digest, write_clip
from unimo.synth.layers import parse_layers
from unimo.synth.processes import drawing_pool
from unimo.synth.render import render_clips
from unimo.synth.request import RECORD, check_folder, clips_there
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
            otherwise or more than `count`, or cannot be written.
        MissingAssetError: no EGL driver on this machine.
    """
    if count < 1 or workers < 1:
        raise InputError(f"count and workers must be at least 1, not {count} and {workers}")
    layers = parse_layers(",".join(layers))
    output, config = Path(output), config or SceneConfig()
    check_pictures(scene_sampler(library, config).images)  # the sampler refuses a library that cannot serve
    request = {"seed": seed, "layers": list(layers), "scene": asdict(config), "library": library_digest(library)}
    check_folder(output, request, count)
    shared_renderer()  # refuses a machine that cannot draw; from here on there is something to write
    job = _Job(library, seed, output / "clips", config, layers)
    with writing_into(output), _tidy(output):
        job.folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(output / RECORD) as path:
            path.write_text(json.dumps(request, indent=2, sort_keys=True))
        _make_missing(job, count, workers, progress)
        manifest = output / "manifest.jsonl"
        with atomic_write(manifest) as path, path.open("w") as lines:
            for index in range(count):
                record = json.loads((job.folder / _name(index) / "clip.json").read_text())
                lines.write(json.dumps(record) + "\n")
    return manifest


@contextmanager
def _tidy(output: Path) -> Iterator[None]:
    """Leaves no half clip behind, and nothing at all when a run ends before its first clip was made."""
    made = next(path for path in (output, *output.absolute().parents) if path.exists())
    _remove_halves(output)
    try:
        yield
    except BaseException:  # an interrupt as well
        _remove_halves(output)
        if not clips_there(output):
            (output / RECORD).unlink(missing_ok=True)
            for folder in (output / "clips", output, *output.absolute().parents):
                if folder == made or (folder.is_dir() and any(folder.iterdir())):
                    break
                folder.rmdir()
        raise


def _remove_halves(output: Path) -> None:
    for leftover in (output / "clips").glob(".*.part"):
        shutil.rmtree(leftover)


def _make_missing(job: _Job, count: int, workers: int, progress: Callable[[int, int], None] | None) -> None:
    todo = [index for index in range(count) if not (job.folder / _name(index) / "clip.json").is_file()]
    finished = count - len(todo)
    if progress:
        progress(finished, count)
    # closed at once when the caller's progress is interrupted: its processes end before their leftovers are removed
    with closing(_make_all(job, [todo[i : i + _CHUNK] for i in range(0, len(todo), _CHUNK)], workers)) as chunks:
        for made in chunks:
            finished += made
            if progress:
                progress(finished, count)


def _make_all(job: _Job, chunks: list[list[int]], workers: int) -> Generator[int, None, None]:
    """Yields the number of clips of every finished chunk."""
    if workers == 1 or len(chunks) <= 1:
        for chunk in chunks:
            yield _make_chunk(job, chunk)
        return
    with drawing_pool(min(workers, len(chunks)), _start_worker, (job,)) as pool:
        yield from pool.imap_unordered(_work, chunks)


_job: _Job


def _start_worker(job: _Job) -> None:
    global _job
    _job = job


def _work(indices: list[int]) -> int:
    return _make_chunk(_job, indices)


def _make_chunk(job: _Job, indices: list[int]) -> int:
    seeds = [clip_seed(job.seed, index) for index in indices]
    for index, clip in zip(indices, render_clips(job.library, seeds, job.config), strict=True):
        write_clip(clip, job.folder, _name(index), job.layers)
    return len(indices)


def _name(index: int) -> str:
    return f"{index:06d}"
