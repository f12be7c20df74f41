"""VBench's dimensions of generated videos as numbers of a report, by the user's own installation (`vbench_adapter`)."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unimo.errors import InputError
from unimo.evaluation.outcome import Evaluation
from unimo.evaluation.summary import Numbers, summarize
from unimo.evaluation.vbench_adapter import DIMENSIONS, find_python, run_vbench
from unimo.media.video_writer import write_video


def check_vbench_dimensions(names: Sequence[str]) -> tuple[str, ...]:
    """The dimensions of a wish, "all" for all; nothing for none.

    Raises:
        InputError: one is unknown.
        MissingAssetError: VBench is not there.
    """
    chosen = DIMENSIONS if "all" in names else tuple(names)
    if unknown := [name for name in chosen if name not in DIMENSIONS]:
        fix = f"all, or some of {', '.join(DIMENSIONS)}"
        raise InputError(f"unknown dimension of VBench {unknown[0]!r}", None, fix)
    if chosen:
        find_python()
    return chosen


def vbench_numbers(evaluation: Evaluation, dimensions: Sequence[str]) -> Numbers:
    """`vbench.<dimension>`: VBench's own mean over all generated videos, with the interval over clips.

    Raises:
        UniMoError: VBench failed.
    """
    samples = evaluation.predictions["transl"].shape[:2]
    with tempfile.TemporaryDirectory() as work:
        paths = [Path(work) / name for name in evaluation.videos]
        for path, frames in zip(paths, evaluation.videos.values(), strict=True):
            write_video(path, frames, evaluation.fps)
        scores = run_vbench(paths, dimensions)
    per_clip = {f"vbench.{name}": np.reshape(score.per_video, samples) for name, score in scores.items()}
    return summarize(per_clip) | {f"vbench.{name}": score.mean for name, score in scores.items()}
