"""What `unimo generate --rerank` gains: the best of N samples by one capture, judged by another and by colours.

In: clips whose first frames are the reference pictures, and a bundle. Out: flat numbers. The best of several noisy
scores looks better than it is, so what chooses (a capture with one seed) is never what judges (a capture with another
seed, which shares only the model's own mistakes; and colours at the joints, which know nothing of any capture).
"""

from __future__ import annotations

import time

import numpy as np
from torch import Tensor

from ar_model.sampling import Sampling
from unimo.bundle import Bundle
from unimo.data.clips import ClipSet
from unimo.defaults import CAPTURE_SAMPLES
from unimo.errors import InputError
from unimo.evaluation.capture import capture_ids
from unimo.evaluation.clip_motions import Parts, check_clips, decoded_parts, repeated, true_parts
from unimo.evaluation.generate import Generated, color_differences, generate_clips
from unimo.evaluation.pose_errors import clip_joints, pose_errors
from unimo.evaluation.summary import Numbers, prefixed, summarize
from unimo.metrics.pose import joint_speed_m_per_s
from unimo.pipeline import UniMoPipeline
from unimo.result import Progress


def evaluate_rerank(
    clips: ClipSet,
    bundle: Bundle,
    num_samples: int = 4,
    seed: int = 0,
    capture_seeds: tuple[int, int] = (0, 1),
    batch_size: int = 16,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Numbers:
    """Generates `num_samples` from the first frame of every clip and compares the first with the best.

    Args:
        clips: of the bundle's length, rate and size.
        bundle: the weights.
        num_samples: N.
        seed: of the first sample; the others count on from it.
        capture_seeds: of the capture that chooses, and of the one that judges.
        batch_size: sequences generated, and clips captured, at once.
        device: as `UniMoPipeline` takes it.
        progress: see `Progress`.

    Returns:
        By measure `first.*`, `mean.*` (of all samples), `best.*` (the chosen one), and `gain.*` with its interval: mean
        of all samples minus the chosen one, clip by clip. `calmest.*` is a control: the sample with the slowest
        motion, which needs no capture. Measures: `chooser.mpjpe_mm`, which is biased, `judge.mpjpe_mm`,
        `judge.pa_mpjpe_mm`, `judge.root_orientation_deg`, `joint_color_difference_8bit`, `mpjpe_to_true_mm`,
        `joint_speed_m_per_s`. `limit.judge.mpjpe_mm`: had the judge chosen. `agreement`: share of clips where both
        captures choose the same sample (chance: 1/N). `seconds` of generation and of one capture.

    Raises:
        InputError: clips that do not fit, fewer than two samples, or one seed for both captures.
    """
    check_clips(clips, bundle.settings)
    if num_samples < 2 or len(set(capture_seeds)) < 2:
        raise InputError("reranking is measured with at least two samples and two different capture seeds")
    pipeline = UniMoPipeline(bundle, device)
    started = time.perf_counter()
    seeds = range(seed, seed + num_samples)
    made = generate_clips(pipeline, clips, seeds, batch_size, Sampling(), progress)
    generated = time.perf_counter()
    chooser = _capture_errors(pipeline, clips, made, capture_seeds[0], batch_size, progress)
    captured = time.perf_counter()
    judge = _capture_errors(pipeline, clips, made, capture_seeds[1], batch_size, progress)
    body, samples = pipeline.settings.body, (len(clips), num_samples)
    joints, truth = clip_joints(made.parts, body), true_parts(clips)
    flat = {
        "chooser.mpjpe_mm": chooser["mpjpe_mm"],
        **{f"judge.{key}": judge[key] for key in ("mpjpe_mm", "pa_mpjpe_mm", "root_orientation_deg")},
        "joint_color_difference_8bit": color_differences(clips, made, joints, clip_joints(truth, body))["own"],
        "mpjpe_to_true_mm": pose_errors(made.parts, repeated(truth, num_samples), body)["mpjpe_mm"],
        "joint_speed_m_per_s": joint_speed_m_per_s(joints, clips.fps).mean(1),
    }
    measures = {key: np.asarray(value, np.float64).reshape(samples) for key, value in flat.items()}
    return {
        "clips": len(clips),
        "num_samples": num_samples,
        "seed": seed,
        "capture_seeds": list(capture_seeds),
        "capture_samples": CAPTURE_SAMPLES,
        **chosen_numbers(measures, "chooser.mpjpe_mm", "judge.mpjpe_mm"),
        **prefixed("calmest", _chosen(measures, "joint_speed_m_per_s")),
        "seconds.generate": generated - started,
        "seconds.capture": captured - generated,
    }


def chosen_numbers(measures: dict[str, np.ndarray], chooser: str, judge: str) -> Numbers:
    """First, mean and chosen sample of measures (N, samples), where the chosen one has the smallest `chooser`."""
    best, wanted = _chosen(measures, chooser), _chosen(measures, judge)
    gain = {f"gain.{key}": values.mean(1) - best[key] for key, values in measures.items()}
    first = {key: values[:, 0] for key, values in measures.items()}
    return {
        **prefixed("first", first),
        **prefixed("mean", measures),
        **summarize({f"best.{key}": value for key, value in best.items()}),
        **summarize(gain),
        f"limit.{judge}": float(wanted[judge].mean()),
        "agreement": float((measures[chooser].argmin(1) == measures[judge].argmin(1)).mean()),
    }


def _chosen(measures: dict[str, np.ndarray], by: str) -> dict[str, np.ndarray]:
    """Measures (N,) of the samples that have the smallest `by`."""
    chosen = measures[by].argmin(1)
    return {key: values[np.arange(len(values)), chosen] for key, values in measures.items()}


def _capture_errors(
    pipeline: UniMoPipeline, clips: ClipSet, made: Generated, seed: int, batch_size: int, progress: Progress | None
) -> dict[str, Tensor]:
    """Errors (N · samples,) of the motion captured from the generated frames against the generated one."""
    ids = capture_ids(pipeline, made.frames, [seed], batch_size, progress=progress).ids
    cameras = clips.intrinsics.repeat(len(made.frames) // len(clips), axis=0)
    captured: Parts = decoded_parts(pipeline.motion_tokenizer, ids, cameras, num_samples=CAPTURE_SAMPLES)
    return pose_errors(captured, made.parts, pipeline.settings.body)
