"""One source, all stages: what every worker does, on whatever machine, and what it leaves for the shards.

In: a `Source` and a `Job`. Out, in the job's work folder: `ID.tar` with the samples (rgb.mp4, motion.npz, tokens.npz,
json) and `ID.json`, the record, which is written last: a source with a record is done. A source that cannot be used has
a record with the reason. The bytes of samples follow from the source's files, the settings and the bundle.
"""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from motion_tokenizer import MotionVQVAE
from unimo.bundle import load_bundle
from unimo.data import stages
from unimo.data.extractors.protocol import MotionExtractor
from unimo.data.shards import Files, write_tar
from unimo.data.sources import Source
from unimo.data.stages import ClipPlan, Cutting
from unimo.errors import CheckpointError, ConfigError, MissingAssetError, UniMoError
from unimo.files import atomic_write
from unimo.media.letterbox import Letterbox
from unimo.media.pixels import to_video
from unimo.media.video_writer import write_video
from unimo.motion.batches import canonical_features
from unimo.motion.features import rotation_form, with_rotation_form
from unimo.motion.motion import Motion
from unimo.motion.npz import save_motion
from visual_tokenizer import DiscreteVisualTokenizer

CRF = 4
# not the source's fault: these end the run
_FATAL = (MissingAssetError, ConfigError, CheckpointError)
_OF_THE_MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE)
_NO_MEMORY = "DefaultCPUAllocator"  # what torch's RuntimeError names then


@dataclass(frozen=True)
class Job:
    """What a worker needs to know.

    Attributes:
        work: folder for results, which all workers see.
        bundle: name, path or id.
        extractor: its name, or None.
        cutting: how clips are cut.
    """

    work: Path
    bundle: str
    extractor: str | None
    cutting: Cutting

    def record_path(self, source: Source) -> Path:
        """Where the source's record lies once it is done."""
        return self.work / f"{source.id}.json"

    def samples_path(self, source: Source) -> Path:
        """Where the source's samples lie."""
        return self.work / f"{source.id}.tar"


@dataclass(frozen=True)
class Tools:
    """The models of a process."""

    visual: DiscreteVisualTokenizer
    motion: MotionVQVAE
    canonical_focal: float
    extractor: MotionExtractor | None


class Unusable(Exception):
    """A source that gives no samples, with the reason."""


@cache
def load_tools(bundle: str, extractor: str | None) -> Tools:
    """Tokenizers and extractor, once a process."""
    opened = load_bundle(bundle)
    models = opened.visual_tokenizer, opened.motion_tokenizer
    return Tools(*models, opened.settings.canonical_focal, extractor_called(extractor))


def extractor_called(name: str | None) -> MotionExtractor | None:
    """The extractor of this name; None has none."""
    if name is None:
        return None
    from unimo.data.extractors import extractor

    return extractor(name)


def prepare_source(job: Job, source: Source) -> None:
    """Does all stages of one source and writes samples and record.

    Raises:
        MissingAssetError, ConfigError, CheckpointError: nothing can go on.
        MemoryError: this source took too much; no record is written.
        OSError: the results cannot be written.
    """
    record: dict[str, Any] = {"source": source.name, "files": file_stamps(source)}
    facts: dict[str, Any] = {}
    try:
        with one_thread(), atomic_write(job.samples_path(source)) as path:
            index = write_tar(path, _guarded(samples_of(job, source, facts)))
        record |= {"samples": [{"key": sample.key, "files": sample.files} for sample in index]}
    except Unusable as error:
        record["reason"] = str(error)
        facts = {key: facts[key] for key in ("sha256", "subject") if key in facts}
    write_record(job, source, facts | record)


def write_record(job: Job, source: Source, record: dict[str, Any]) -> None:
    """Writes the record that says that a source is done."""
    with atomic_write(job.record_path(source)) as path:
        path.write_text(json.dumps(record), encoding="utf-8")


def file_stamps(source: Source) -> list[list[int]]:
    """Size and time of change of each of the source's files, to see quickly that nothing changed."""
    return [[stat.st_size, stat.st_mtime_ns] for stat in (path.stat() for path in source.files() if path.is_file())]


def samples_of(job: Job, source: Source, facts: dict[str, Any]) -> Iterator[tuple[str, Files]]:
    """Yields the samples of a source, key and files; notes in `facts` what is known of the source as a whole."""
    tools, cutting = load_tools(job.bundle, job.extractor), job.cutting
    subject, text = source.facts()
    facts |= {"sha256": source.sha256(), "subject": subject}
    info, times, shots = stages.look_at(source)
    tracks = stages.label(source, info, len(times), tools.extractor)
    stretches, left_out = stages.single_person(tracks, shots, times, cutting.min_confidence)
    plans: list[ClipPlan] = []
    for stretch in stretches:
        clips, short = stages.cut_clips(stretch, times, info, cutting)
        plans += clips
        left_out += Counter({stages.SHORT: short})
    facts |= {
        "seconds": round(float(stages.frame_lengths(times).sum()), 3),
        "shots": len(shots),
        "clips": len(plans),
        "left_out_s": {reason: round(seconds, 3) for reason, seconds in sorted(left_out.items()) if seconds > 0},
    }
    box = Letterbox(info.height, info.width, cutting.side)
    about = {"source": source.name, "subject": subject, "text": text}
    about["label"] = "file" if source.motion else str(job.extractor)
    for number, (plan, frames) in enumerate(zip(plans, stages.clip_frames(source, plans, box), strict=True)):
        yield f"{source.id}-{number:06d}", sample_files(plan, frames, box, about, tools)


def sample_files(
    plan: ClipPlan, frames: np.ndarray, box: Letterbox, about: dict[str, str], tools: Tools
) -> dict[str, bytes]:
    """The files of one sample: rgb.mp4, motion.npz, tokens.npz and json."""
    motion = plan.motion
    assert motion.intrinsics is not None
    square = Motion(
        motion.body_pose, motion.betas, motion.global_orient, motion.transl, motion.fps, motion.axes, motion.body,
        motion.cam2world, box.intrinsics_to_square(motion.intrinsics),
    )  # fmt: skip
    buffer = BytesIO()
    np.savez(buffer, **tokenize(frames, square, tools))  # pyright: ignore[reportArgumentType]
    note = about | {
        "start_s": round(plan.start_s, 4),
        "confidence": round(plan.confidence, 4),
        "focal": round(float(square.intrinsics[0, 0]), 4) if square.intrinsics is not None else None,
        "frames": len(frames),
        "fps": motion.fps,
    }
    with tempfile.TemporaryDirectory() as folder:
        video, file = Path(folder) / "rgb.mp4", Path(folder) / "motion.npz"
        write_video(video, frames, motion.fps, crf=CRF, full_chroma=True, reproducible=True)
        save_motion(file, square)
        files = {"rgb.mp4": video.read_bytes(), "motion.npz": file.read_bytes()}
    return files | {"tokens.npz": buffer.getvalue(), "json": json.dumps(note, sort_keys=True).encode()}


@torch.inference_mode()
def tokenize(frames: np.ndarray, motion: Motion, tools: Tools) -> dict[str, np.ndarray]:
    """Stage 6, the numbers of `unimo.data.tokens.tokenize_pack` for one clip.

    Args:
        frames: (T, side, side, 3) uint8.
        motion: T rows, camera axes, intrinsics in pixels of the square.
        tools: the tokenizers.

    Returns:
        visual_ids (K,h,w) uint16, motion_ids (T,36) uint16, features (T,145) float32 in the canonical camera.
    """
    assert motion.intrinsics is not None
    parts = {name: getattr(motion, name)[None] for name in ("body_pose", "betas", "global_orient", "transl")}
    features = canonical_features(parts, motion.intrinsics[None], frames.shape[1], tools.canonical_focal, motion.body)
    rows = with_rotation_form(features, rotation_form(tools.motion.config.feature_dim))
    return {
        "visual_ids": tools.visual.encode(to_video(frames[None]))[0].numpy().astype(np.uint16),
        "motion_ids": tools.motion.encode(rows)[0].numpy().astype(np.uint16),
        "features": features[0].numpy(),
    }


def _guarded(samples: Iterator[tuple[str, Files]]) -> Iterator[tuple[str, Files]]:
    """Turns what goes wrong in a stage, but not in writing, into `Unusable`."""
    try:
        yield from samples
    except _FATAL:
        raise
    except UniMoError as error:
        raise _trouble_of_the_machine(error) or Unusable(error.what) from error
    except Exception as error:  # an odd video must not end a run of days
        raise _trouble_of_the_machine(error) or Unusable(f"{type(error).__name__}: {error}") from error


def _trouble_of_the_machine(error: BaseException | None) -> OSError | MemoryError | None:
    """A full disk, too many open files or too little memory, where that is behind an error: no video must go to the
    quarantine at once for it."""
    while error is not None:
        number = getattr(error, "errno", None)
        if number in _OF_THE_MACHINE:
            return OSError(number, os.strerror(number))
        if isinstance(error, MemoryError) or number == errno.ENOMEM or _NO_MEMORY in str(error):
            return MemoryError()  # a fresh one: those of libraries do not all travel between processes
        error = error.__cause__
    return None


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums, and so ids, must not depend on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
