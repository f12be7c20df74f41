"""Whether a generated video shows the generated motion, asked of the same model: its own capture of the video.

In: results of `UniMoPipeline.generate`. Out: how far the motion captured from each video is from the motion that was
generated with it, and the best of several results. Nothing but the pixels and their focal length goes into the capture,
and no other program is needed (the paper asks GVHMR).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch

from unimo.defaults import CAPTURE_SAMPLES
from unimo.errors import InputError
from unimo.media.letterbox import Letterbox
from unimo.metrics.pose import mpjpe_mm, pa_mpjpe_mm, rotation_error_deg, translation_error_m
from unimo.motion.frames import joint_positions
from unimo.motion.motion import Motion
from unimo.pipeline import WINDOWS_AT_ONCE, UniMoPipeline
from unimo.result import Progress, Result, share_of


@dataclass(frozen=True)
class Disagreement:
    """Captured against generated motion, in the camera's axes; means over the frames of one result.

    Attributes:
        mpjpe_mm: of 22 joints, pelvises put together and nothing turned: a person who faces elsewhere in the video
            than in the motion is far off. What `best_of` goes by.
        pa_mpjpe_mm: the same after the best rotation, scale and shift of every frame: pose alone.
        root_orientation_deg: angle between the global orientations.
        root_translation_m: distance of the pelvises; depth, which one camera hardly tells, counts in full.
    """

    mpjpe_mm: float
    pa_mpjpe_mm: float
    root_orientation_deg: float
    root_translation_m: float


def disagreements(
    pipeline: UniMoPipeline,
    results: Sequence[Result],
    seed: int = 0,
    num_samples: int = CAPTURE_SAMPLES,
    progress: Progress | None = None,
) -> list[Disagreement]:
    """Captures the videos of generated results again and compares.

    Args:
        pipeline: that made them, or another one: whose eyes are to be used.
        results: of `generate`, at most the bundle's window long.
        seed: of the capture, the same for every result, so that chance favours none.
        num_samples: as `UniMoPipeline.capture` takes it.
        progress: see `Progress`.

    Raises:
        InputError: see `captured_again`.
    """
    captured = captured_again(pipeline, results, seed, num_samples, progress)
    return [_compared(one, result.motion) for one, result in zip(captured, results, strict=True)]


def captured_again(
    pipeline: UniMoPipeline,
    results: Sequence[Result],
    seed: int = 0,
    num_samples: int = CAPTURE_SAMPLES,
    progress: Progress | None = None,
) -> list[Motion]:
    """The motions that `UniMoPipeline.capture` reads in the results' frames, `WINDOWS_AT_ONCE` videos at a time.

    Arguments are those of `disagreements`.

    Raises:
        InputError: a result that was not generated, is longer than the window, or has another rate than the bundle.
    """
    for result in results:
        _check(pipeline, result)
    motions: list[Motion] = []
    for start in range(0, len(results), WINDOWS_AT_ONCE):
        batch = results[start : start + WINDOWS_AT_ONCE]
        visual = pipeline.visual_tokenizer.encode(np.stack([_window(pipeline, result) for result in batch]))
        report = share_of(progress, "capturing again", start, len(batch), len(results))
        ids = pipeline.capture_ids(visual, [seed] * len(batch), None, num_samples, report)
        for own, result in zip(ids.split(num_samples), batch, strict=True):
            (motion,) = pipeline.motion_tokenizer.decode_windows(own, _focal(result), num_samples)
            motions.append(motion[: len(result.motion)])
    return motions


def best_of(
    pipeline: UniMoPipeline,
    results: Sequence[Result],
    seed: int = 0,
    num_samples: int = CAPTURE_SAMPLES,
    progress: Progress | None = None,
) -> Result:
    """The result whose video shows its motion best: the smallest `Disagreement.mpjpe_mm`, the first of equals.

    Arguments and errors are those of `disagreements`.

    Returns:
        One of the results; `run["rerank"]` holds the scores of all.

    Raises:
        InputError: no results, or see `captured_again`.
    """
    if not results:
        raise InputError("there are no results to choose from")
    started = time.perf_counter()
    found = disagreements(pipeline, results, seed, num_samples, progress)
    chosen = min(range(len(results)), key=lambda index: found[index].mpjpe_mm)
    scores = [
        {"sample": result.run.get("sample", index), **{key: round(value, 4) for key, value in asdict(one).items()}}
        for index, (result, one) in enumerate(zip(results, found, strict=True))
    ]
    best = results[chosen]
    record = {
        "by": "mpjpe_mm",
        "chosen": scores[chosen]["sample"],
        "capture_seed": seed,
        "capture_samples": num_samples,
        "scores": scores,
    }
    timings = {**best.run.get("timings_s", {}), "rerank": round(time.perf_counter() - started, 3)}
    return replace(best, run={**best.run, "rerank": record, "timings_s": timings})


def _check(pipeline: UniMoPipeline, result: Result) -> None:
    if result.task != "generate":
        raise InputError("only generated results have a motion to compare a capture with, this one was captured")
    frames, fps, settings = len(result.motion), result.source.fps, pipeline.settings
    if frames > settings.frames or abs(fps - settings.fps) > 1e-3:
        what = f"a result of {frames} frames at {fps:g} per second"
        raise InputError(f"{what} does not fit this bundle's window of {settings.frames} at {settings.fps:g}")


def _window(pipeline: UniMoPipeline, result: Result) -> np.ndarray:
    """The frames as capture sees them: uint8 (T, side, side, 3), a shorter video held at its last frame."""
    frames, settings = result.frames, pipeline.settings
    square = Letterbox(frames.shape[1], frames.shape[2], settings.side).apply(frames)
    return np.concatenate([square, np.repeat(square[-1:], settings.frames - len(square), axis=0)])


def _focal(result: Result) -> float:
    """Focal length in longer sides of the frame."""
    if result.motion.intrinsics is None:
        raise InputError("the motion has no intrinsics, so the focal length of its video is unknown")
    return float(result.motion.intrinsics[0, 0]) / max(result.source.height, result.source.width)


def _compared(captured: Motion, generated: Motion) -> Disagreement:
    joints, true_joints = (torch.from_numpy(joint_positions(motion)) for motion in (captured, generated))
    turned = rotation_error_deg(*(torch.from_numpy(motion.rotations()[:, 0]) for motion in (captured, generated)))
    return Disagreement(
        mpjpe_mm=float(mpjpe_mm(joints, true_joints).mean()),
        pa_mpjpe_mm=float(pa_mpjpe_mm(joints, true_joints).mean()),
        root_orientation_deg=float(turned.mean()),
        root_translation_m=float(translation_error_m(joints[:, 0], true_joints[:, 0]).mean()),
    )
