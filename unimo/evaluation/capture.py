"""How well a bundle reads motion from video: errors over clips with known answers, beside those of dumb estimates.

In: clips of the bundle's length and a bundle. Out: an `Evaluation`, see docs/evaluation.md. Clip and seed give what
`unimo capture --seed` gives for that clip with its true focal length; all are decoded in batches.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ar_model.sampling import Sampling
from unimo.bundle import Bundle
from unimo.data.clips import ClipSet
from unimo.defaults import CAPTURE_SAMPLES
from unimo.evaluation.baselines import baseline_errors, baseline_numbers, constant_pose_errors
from unimo.evaluation.clip_motions import Parts, check_clips, decoded_parts, repeated, true_parts
from unimo.evaluation.details import details
from unimo.evaluation.entropy import watched
from unimo.evaluation.outcome import Evaluation, predictions_of
from unimo.evaluation.pose_errors import (
    clip_pve_mm,
    joint_errors_mm,
    mpjpe_hips_mm,
    pose_errors,
    with_accel_per_second,
)
from unimo.evaluation.summary import known_means, prefixed, ratios, summarize
from unimo.evaluation.world_errors import clip_world_errors
from unimo.pipeline import UniMoPipeline
from unimo.result import Progress, share_of


class Captured(NamedTuple):
    """Attributes: ids (N · seeds · num_samples, T, 36), sorted by clip, then by seed; nats (the same rows,)."""

    ids: Tensor
    nats: Tensor


def evaluate_capture(
    clips: ClipSet,
    bundle: Bundle,
    seeds: Sequence[int] = (0,),
    batch_size: int = 32,
    device: str = "cpu",
    dtype: str | None = None,
    temperature: float = 1.0,
    top_p: float = 0.8,
    num_samples: int = CAPTURE_SAMPLES,
    progress: Progress | None = None,
) -> Evaluation:
    """Captures every clip once per seed and measures the errors in each clip's own camera.

    Args:
        clips: of the bundle's length, rate and size.
        bundle: the weights.
        seeds: of sampling, each used for every clip.
        batch_size: clips times seeds decoded at once; every one of them is `num_samples` sequences.
        device, dtype: as `UniMoPipeline` takes them.
        temperature, top_p, num_samples: of sampling, as `UniMoPipeline.capture` takes them.
        progress: see `Progress`.

    Returns:
        The numbers of docs/evaluation.md, "Capture": means over frames, seeds and clips, `interval95.*`, `per_seed.*`,
        `constant_pose.*`, `first_frame_pose.*`, `previous_frame.*`, `ratio_to_constant_pose.*`, `one_sample.*` (of the
        first sample alone, not of the mean of all), `clips`, `fps`, `num_samples`, `decode_seconds`,
        `motion_tokens_per_second`, `per_clip`, `by_joint_mm`, `by_time_mm`. The motions are those of all samples' mean.

    Raises:
        InputError: the clips are not of the bundle's length, rate or size.
    """
    settings = bundle.settings
    check_clips(clips, settings)
    pipeline = UniMoPipeline(bundle, device, dtype)
    started = time.perf_counter()
    sampling, num_samples = Sampling(temperature, top_p), num_samples if temperature else 1
    captured = capture_ids(pipeline, clips.frames, seeds, batch_size, sampling, num_samples, progress)
    seconds = time.perf_counter() - started
    truth, samples = true_parts(clips), (len(clips), len(seeds))
    repeated_truth = repeated(truth, len(seeds))

    def decoded(ids: Tensor, num_samples: int) -> Parts:
        """Motions (clips · seeds) of motion ids (clips · seeds · num_samples, T, 36)."""
        cameras = clips.intrinsics.repeat(len(seeds), axis=0)
        return decoded_parts(pipeline.motion_tokenizer, ids, cameras, num_samples=num_samples)

    def by_seed(errors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Errors (clips · seeds) as (clips, seeds)."""
        return {key: value.unflatten(0, samples) for key, value in with_accel_per_second(errors, clips.fps).items()}

    motions, body = decoded(captured.ids, num_samples), settings.body
    errors = pose_errors(motions, repeated_truth, body)
    errors |= {
        "mpjpe_hips_mm": mpjpe_hips_mm(motions, repeated_truth, body),
        "pve_mm": clip_pve_mm(motions, repeated_truth, body),
        **clip_world_errors(motions, truth, clips, body),
        "entropy_nats": captured.nats.unflatten(0, (-1, num_samples)).mean(1),
    }
    per_clip = by_seed(errors)
    one_sample = by_seed(pose_errors(decoded(captured.ids[::num_samples], 1), repeated_truth, body))
    constant, fitted_to = constant_pose_errors(truth, clips, bundle)
    baselines = {"constant_pose": constant, **baseline_errors(truth, clips, body)}
    numbers = {
        "clips": len(clips),
        "fps": clips.fps,
        **summarize(per_clip),
        **baseline_numbers(baselines),
        "constant_pose.fitted_to": fitted_to,
        **ratios(per_clip, constant, "constant_pose"),
        **prefixed("one_sample", one_sample),
        **{f"per_seed.{key}": known_means(value) for key, value in per_clip.items()},
        "num_samples": num_samples,
        "decode_seconds": seconds,
        "motion_tokens_per_second": captured.ids.numel() / seconds,
        **details(clips, truth, per_clip, baselines, joint_errors_mm(motions, repeated_truth, body), body),
    }
    return Evaluation(numbers, predictions_of(motions, samples))


def capture_ids(
    pipeline: UniMoPipeline,
    frames: np.ndarray,
    seeds: Sequence[int],
    batch_size: int,
    sampling: Sampling | None = None,
    num_samples: int = CAPTURE_SAMPLES,
    progress: Progress | None = None,
) -> Captured:
    """Motion ids of frames (N,T,H,W,3) uint8 for every seed, and how sure the transformer was of them."""
    rows = []
    total = len(frames) * len(seeds)
    step = max(1, batch_size // len(seeds))
    with watched(pipeline.engine, (sampling or Sampling()).temperature) as meter:
        for start in range(0, len(frames), step):
            visual = pipeline.visual_tokenizer.encode(np.asarray(frames[start : start + step]))
            report = share_of(progress, "reading motion", start * len(seeds), len(visual) * len(seeds), total)
            repeated_ids = visual.repeat_interleave(len(seeds), dim=0)
            every = [*seeds] * len(visual)
            rows.append(pipeline.capture_ids(repeated_ids, every, sampling, num_samples, report).cpu())
            meter.end_batch()
    return Captured(torch.cat(rows), meter.nats)
