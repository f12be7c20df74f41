"""How well a bundle reads motion from video: errors over clips with known answers, beside the best constant pose.

In: clips of the bundle's length and a bundle. Out: a flat dictionary, units in its keys, see docs/results.md. Clip and
seed give what `unimo capture --seed` gives for that clip with its true focal length; all are decoded in batches.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ar_model.sampling import Sampling
from unimo.bundle import Bundle
from unimo.data.clips import Clips
from unimo.defaults import CAPTURE_SAMPLES
from unimo.evaluation.clip_motions import Parts, check_clips, decoded_parts, repeated, true_parts
from unimo.evaluation.constant_pose import ConstantPose, fit_constant_pose
from unimo.evaluation.pose_errors import clip_joints, pose_errors, with_accel_per_second
from unimo.evaluation.summary import Numbers, prefixed, ratios, summarize
from unimo.motion.batches import canonical_features
from unimo.motion.features import from_features
from unimo.pipeline import UniMoPipeline
from unimo.result import Progress, share_of

log = logging.getLogger(__name__)


def evaluate_capture(
    clips: Clips,
    bundle: Bundle,
    seeds: Sequence[int] = (0,),
    batch_size: int = 32,
    device: str = "cpu",
    dtype: str | None = None,
    temperature: float = 1.0,
    top_p: float = 0.8,
    num_samples: int = CAPTURE_SAMPLES,
    progress: Progress | None = None,
) -> Numbers:
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
        `mpjpe_mm`, `pa_mpjpe_mm`, `accel_mm_per_frame2`, `accel_m_per_s2`, `root_orientation_deg`,
        `root_translation_m`: means over frames, seeds and clips; `interval95.*`, `per_seed.*`, `constant_pose.*`,
        `ratio_to_constant_pose.*`, `one_sample.*` (of the first sample alone, not of the mean of all), `clips`, `fps`,
        `num_samples`, `decode_seconds`, `motion_tokens_per_second`.

    Raises:
        InputError: the clips are not of the bundle's length, rate or size.
    """
    settings = bundle.settings
    check_clips(clips, settings)
    pipeline = UniMoPipeline(bundle, device, dtype)
    started = time.perf_counter()
    sampling, num_samples = Sampling(temperature, top_p), num_samples if temperature else 1
    ids = capture_ids(pipeline, clips.frames, seeds, batch_size, sampling, num_samples, progress)
    seconds = time.perf_counter() - started
    truth = true_parts(clips)

    def errors_of(ids: Tensor, num_samples: int) -> dict[str, Tensor]:
        """Errors (clips, seeds) of motion ids (clips · seeds · num_samples, T, 36)."""
        cameras = clips.intrinsics.repeat(len(seeds), axis=0)
        parts = decoded_parts(pipeline.motion_tokenizer, ids, cameras, num_samples=num_samples)
        errors = with_accel_per_second(pose_errors(parts, repeated(truth, len(seeds)), settings.body), clips.fps)
        return {key: value.unflatten(0, (len(clips), len(seeds))) for key, value in errors.items()}

    per_clip = errors_of(ids, num_samples)
    constant, fitted_to = _constant_pose(bundle, clips)
    baseline = with_accel_per_second(_constant_errors(constant, clips, truth, bundle), clips.fps)
    return {
        "clips": len(clips),
        "fps": clips.fps,
        **summarize(per_clip),
        **prefixed("constant_pose", baseline),
        "constant_pose.fitted_to": fitted_to,
        **ratios(per_clip, baseline, "constant_pose"),
        **prefixed("one_sample", errors_of(ids[::num_samples], 1)),
        **{f"per_seed.{key}": value.mean(0).tolist() for key, value in per_clip.items()},
        "num_samples": num_samples,
        "decode_seconds": seconds,
        "motion_tokens_per_second": ids.numel() / seconds,
    }


def capture_ids(
    pipeline: UniMoPipeline,
    frames: np.ndarray,
    seeds: Sequence[int],
    batch_size: int,
    sampling: Sampling | None = None,
    num_samples: int = CAPTURE_SAMPLES,
    progress: Progress | None = None,
) -> Tensor:
    """Motion ids (N · seeds · num_samples, T, 36) of frames (N,T,H,W,3) uint8, sorted by clip, then by seed."""
    rows = []
    total = len(frames) * len(seeds)
    step = max(1, batch_size // len(seeds))
    for start in range(0, len(frames), step):
        visual = pipeline.visual_tokenizer.encode(np.asarray(frames[start : start + step]))
        report = share_of(progress, "reading motion", start * len(seeds), len(visual) * len(seeds), total)
        repeated_ids = visual.repeat_interleave(len(seeds), dim=0)
        rows.append(pipeline.capture_ids(repeated_ids, [*seeds] * len(visual), sampling, num_samples, report).cpu())
    return torch.cat(rows)


def _constant_pose(bundle: Bundle, clips: Clips) -> tuple[ConstantPose, str]:
    """The bundle's constant pose; without one, the constant that is best for these very clips."""
    stored = bundle.info.training.get("constant_pose")
    if stored is not None:
        return ConstantPose.from_json(stored), "training clips"
    log.warning("the bundle stores no constant pose: the baseline is fitted to the evaluated clips")
    settings = bundle.settings
    features = canonical_features(
        clips.motions, clips.intrinsics, settings.side, settings.canonical_focal, settings.body
    )
    return fit_constant_pose(from_features(features)), "evaluated clips"


def _constant_errors(constant: ConstantPose, clips: Clips, truth: Parts, bundle: Bundle) -> dict[str, Tensor]:
    settings = bundle.settings
    scale = torch.from_numpy(clips.intrinsics[:, 0, 0] / (settings.canonical_focal * settings.side)).float()
    joints = clip_joints(truth, settings.body)
    return constant.clip_errors(joints, truth["rotations"][:, :, 0], scale, settings.body)
