"""Whether generated clips are plausible: the reference's person, as much movement as the data, video and motion agree.

In: clips whose first frames are the reference pictures, and a bundle. Out: an `Evaluation`, see docs/evaluation.md.
Clip and seed give what `unimo generate --seed` gives for that picture (but for the noise of a diffusion decoder, which
here is another for every clip); all are decoded in batches.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ar_model.sampling import Sampling
from unimo.bundle import Bundle
from unimo.data.clips import ClipSet
from unimo.defaults import CAPTURE_SAMPLES
from unimo.evaluation.baselines import first_frame_pose
from unimo.evaluation.capture import capture_ids
from unimo.evaluation.clip_motions import Parts, check_clips, decoded_parts, repeated, true_parts
from unimo.evaluation.details import details
from unimo.evaluation.entropy import watched
from unimo.evaluation.motion_distributions import distribution_numbers
from unimo.evaluation.outcome import Evaluation, predictions_of
from unimo.evaluation.pose_errors import clip_joints, joint_errors_mm, pose_errors
from unimo.evaluation.summary import Numbers, known_means, prefixed, ratios, summarize
from unimo.geometry.cameras import project
from unimo.metrics.flicker import temporal_flickering
from unimo.metrics.pose import joint_speed_m_per_s
from unimo.metrics.structure import ssim
from unimo.metrics.video import colors_at, psnr_db
from unimo.options import check_decoding
from unimo.pipeline import UniMoPipeline
from unimo.result import Progress, share_of


@dataclass(frozen=True)
class Generated:
    """N · seeds clips; the samples of a reference stand in a row.

    Attributes:
        frames: (N·S,T,H,W,3) uint8.
        parts: motion in the references' cameras, see `clip_motions`.
        own_first: (N,H,W,3) uint8, the tokenizer's reconstruction of each reference.
        nats: (N·S,) mean entropy of the motion tokens.
    """

    frames: np.ndarray
    parts: Parts
    own_first: np.ndarray
    nats: Tensor


def evaluate_generate(
    clips: ClipSet,
    bundle: Bundle,
    seeds: Sequence[int] = (0, 1, 2),
    batch_size: int = 24,
    device: str = "cpu",
    dtype: str | None = None,
    temperature: float = 1.0,
    top_p: float = 0.8,
    progress: Progress | None = None,
) -> Evaluation:
    """Generates from the first frame of every clip, once per seed.

    Args:
        clips, bundle, seeds, batch_size, device, dtype, temperature, top_p, progress: as `evaluate_capture` takes them.

    Returns:
        The numbers of docs/evaluation.md, "Generate", with `interval95.*`, `per_seed.*`, `clips`, `fps`,
        `decode_seconds`, `per_clip`, and `by_joint_mm` and `by_time_mm` of `consistency.mpjpe_mm`; motions and videos.

    Raises:
        InputError: the clips are not of the bundle's length, rate or size.
    """
    check_clips(clips, bundle.settings)
    pipeline = UniMoPipeline(bundle, device, dtype)
    started = time.perf_counter()
    made = generate_clips(pipeline, clips, seeds, batch_size, Sampling(temperature, top_p), progress)
    seconds = time.perf_counter() - started
    body, truth, samples = pipeline.settings.body, true_parts(clips), (len(clips), len(seeds))
    joints, true_joints = clip_joints(made.parts, body), clip_joints(truth, body)
    measures, baselines = _video_measures(clips, made, samples)
    speed = {"joint_speed_m_per_s": joint_speed_m_per_s(joints, clips.fps).mean(1).reshape(samples)}
    data_speed = {"joint_speed_m_per_s": joint_speed_m_per_s(true_joints, clips.fps).mean(1)}
    to_true = {"mpjpe_to_true_mm": pose_errors(made.parts, repeated(truth, len(seeds)), body)["mpjpe_mm"]}
    held = pose_errors(first_frame_pose(truth), truth, body)
    baselines["first_frame_pose"] = {"mpjpe_to_true_mm": held["mpjpe_mm"]}
    colors = color_differences(clips, made, joints, true_joints)
    consistency = _consistency(pipeline, made, clips.intrinsics, seeds, batch_size, progress)
    per_clip: dict[str, np.ndarray | Tensor] = {
        **measures,
        **speed,
        "mpjpe_to_true_mm": to_true["mpjpe_to_true_mm"].reshape(samples),
        "joint_color_difference_8bit": colors["own"].reshape(samples),
        "consistency.mpjpe_mm": consistency.errors.mean((1, 2)).reshape(samples),
        "entropy_nats": made.nats.reshape(samples),
    }
    baselines["data"] |= data_speed | {"joint_color_difference_8bit": colors["data"]}
    if len(clips) > 1:
        baselines["other_person"] = {"joint_color_difference_8bit": colors["other_person"]}
        baselines["consistency.other_clip"] = {"mpjpe_mm": consistency.other_clip}
    numbers: Numbers = {
        "clips": len(clips),
        "fps": clips.fps,
        **summarize(per_clip),
        **{key: value for name, each in baselines.items() for key, value in prefixed(name, each).items()},
        **ratios(speed, data_speed, "data"),
        **{f"per_seed.{key}": known_means(value) for key, value in per_clip.items()},
        **distribution_numbers(clips, truth, made.parts, body),
        "consistency.num_samples": CAPTURE_SAMPLES,
        "decode_seconds": seconds,
        **details(clips, truth, per_clip, {"data": data_speed}, consistency.errors, body),
    }
    names = [f"{name}-seed{seed}.mp4" for name in clips.names for seed in seeds]
    videos = dict(zip(names, made.frames, strict=True))
    return Evaluation(numbers, predictions_of(made.parts, samples), videos, clips.fps)


def _video_measures(
    clips: ClipSet, made: Generated, samples: tuple[int, int]
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, np.ndarray | Tensor]]]:
    """Measures (N, samples) of the generated pictures, and by baseline (N,) those of what they stand beside."""
    count, copies = samples
    real = [np.asarray(clips.frames[i]) for i in range(count)]
    still = [np.broadcast_to(clip[:1], clip.shape) for clip in real]

    def measure(videos: np.ndarray | list[np.ndarray], copies: int) -> dict[str, np.ndarray]:
        beside = [real[i // copies] for i in range(len(videos))]
        pairs = list(zip(videos, beside, strict=True))
        values = {
            "psnr_to_true_db": [psnr_db(mine, true) for mine, true in pairs],
            "ssim_to_true": [ssim(mine, true) for mine, true in pairs],
            "temporal_flickering": [temporal_flickering(mine) for mine in videos],
        }
        return {key: np.array(value) for key, value in values.items()}

    def first(pictures: np.ndarray, copies: int) -> dict[str, np.ndarray]:
        pairs = [(mine, real[i // copies][0]) for i, mine in enumerate(pictures)]
        values = {
            "first_frame_psnr_db": [psnr_db(mine, true) for mine, true in pairs],
            "first_frame_ssim": [ssim(mine[None], true[None]) for mine, true in pairs],
        }
        return {key: np.array(value) for key, value in values.items()}

    own = measure(made.frames, copies) | first(made.frames[:, 0], copies)
    beside: dict[str, dict[str, np.ndarray | Tensor]] = {
        "tokenizer": {**first(made.own_first, 1)},
        "still_picture": {**measure(still, 1)},
        "data": {"temporal_flickering": np.array([temporal_flickering(clip) for clip in real])},
    }
    return {key: value.reshape(samples) for key, value in own.items()}, beside


def generate_clips(
    pipeline: UniMoPipeline,
    clips: ClipSet,
    seeds: Sequence[int],
    batch_size: int,
    sampling: Sampling,
    progress: Progress | None = None,
) -> Generated:
    """Video and motion from the clips' first frames, in batches of about `batch_size` sequences."""
    settings, copies = pipeline.settings, len(seeds)
    total, step = len(clips) * copies, max(1, batch_size // copies)
    decoding = check_decoding(None, None, None, pipeline.bundle)
    frames, ids, own = [], [], []
    with watched(pipeline.engine, sampling.temperature) as meter:
        for start in range(0, len(clips), step):
            first = pipeline.visual_tokenizer.encode(np.asarray(clips.frames[start : start + step, :1]))
            report = share_of(progress, "writing tokens", start * copies, len(first) * copies, total)
            rows = [*seeds] * len(first)
            text = pipeline.context()
            context = None if text is None else text.shared_by(len(first))
            visual, motion = pipeline.engine.generate_video_motion(
                first[:, 0], 1 + (settings.frames - 1) // 8, settings.frames, sampling, rows, copies, report, context
            )
            meter.end_batch()
            for first_row in range(0, len(visual), 8):
                part = slice(first_row, first_row + 8)
                # another noise for every clip, or errors of one draw would stand in all of them
                drawn_by = [start + number // copies + 1_000_003 * seed for number, seed in enumerate(rows)][part]
                frames.append(pipeline.draw(visual[part], drawn_by, decoding))
            own.append(pipeline.visual_tokenizer.decode(first)[:, 0])
            ids.append(motion.cpu())
    intrinsics = clips.intrinsics.repeat(copies, axis=0)
    parts = decoded_parts(pipeline.motion_tokenizer, torch.cat(ids), intrinsics)
    return Generated(np.concatenate(frames), parts, np.concatenate(own), meter.nats)


def color_differences(clips: ClipSet, made: Generated, joints: Tensor, true_joints: Tensor) -> dict[str, np.ndarray]:
    """How far colours at the joints are from those at the reference's joints, 0-255.

    Returns:
        `own` (N · samples,); `data` (N,), of the true clips; `other_person` (N · samples,), against another reference.
    """
    copies = len(made.frames) // len(clips)
    true_points = _points(true_joints, clips.intrinsics)
    points = _points(joints, clips.intrinsics.repeat(copies, axis=0))
    true_colors = np.stack([colors_at(clips.frames[i], true_points[i]) for i in range(len(clips))])
    colors = np.stack([colors_at(frames, at) for frames, at in zip(made.frames, points, strict=True)])
    reference = true_colors[:, :1].repeat(copies, axis=0)
    return {
        "own": _difference(colors, reference),
        "data": _difference(true_colors, true_colors[:, :1]),
        "other_person": _difference(colors, np.roll(reference, copies, axis=0)),
    }


def _points(joints: Tensor, intrinsics: np.ndarray) -> np.ndarray:
    return project(joints, torch.from_numpy(intrinsics).float()[:, None, None]).numpy()


def _difference(colors: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Mean absolute difference of (N,T,J,3) over frames and joints that are inside both pictures: (N,), NaN if none."""
    difference = np.abs(colors - reference)
    seen = np.isfinite(difference)
    count = seen.sum((1, 2, 3))
    return np.where(count > 0, np.where(seen, difference, 0).sum((1, 2, 3)) / np.maximum(count, 1), np.nan)


class _Consistency(NamedTuple):
    """Attributes: errors (N · samples,T,22) mm; other_clip (N · samples,) MPJPE against another clip's motion."""

    errors: Tensor
    other_clip: Tensor


def _consistency(
    pipeline: UniMoPipeline,
    made: Generated,
    intrinsics: np.ndarray,
    seeds: Sequence[int],
    batch_size: int,
    progress: Progress | None,
) -> _Consistency:
    """The motion captured from the generated frames against the generated motion."""
    copies, body = len(seeds), pipeline.settings.body
    ids = capture_ids(pipeline, made.frames, seeds[:1], batch_size, progress=progress).ids
    cameras = intrinsics.repeat(copies, axis=0)
    captured = decoded_parts(pipeline.motion_tokenizer, ids, cameras, num_samples=CAPTURE_SAMPLES)
    other = {key: value.roll(copies, dims=0) for key, value in made.parts.items()}
    return _Consistency(joint_errors_mm(captured, made.parts, body), pose_errors(captured, other, body)["mpjpe_mm"])
