"""The paper's baseline (its table 2): the same transformer on video alone, beside those that write motion with it.

In: clips whose first frames are the reference pictures, a bundle, and transformers over its tokens. Out: numbers by
transformer. Videos are drawn by the bundle's tokenizer and judged by the bundle's own capture, since a transformer of
video alone has no motion. One seed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ar_model import Engine, Sampling, SequenceLayout, UniMoTransformer
from ar_model.sequence import VISUAL
from unimo.bundle import Bundle
from unimo.data.clips import ClipSet
from unimo.defaults import CAPTURE_SAMPLES
from unimo.errors import InputError
from unimo.evaluation.capture import capture_ids
from unimo.evaluation.clip_motions import Parts, check_clips, decoded_parts, true_parts
from unimo.evaluation.motion_distributions import distribution_numbers
from unimo.evaluation.pose_errors import clip_joints
from unimo.evaluation.summary import Numbers, summarize
from unimo.metrics.flicker import temporal_flickering
from unimo.metrics.pose import joint_speed_m_per_s
from unimo.metrics.structure import ssim
from unimo.metrics.video import psnr_db
from unimo.motion.batches import canonical_features
from unimo.motion.features import rotation_form, with_rotation_form
from unimo.options import check_decoding
from unimo.pipeline import UniMoPipeline
from unimo.result import Progress, share_of

BASELINE, UNIFIED = "video", "i2vm"
_AT_ONCE = 8


@dataclass(frozen=True)
class Row:
    """A transformer to compare.

    Attributes:
        model: over the bundle's visual ids.
        task: "video" (alone) or "i2vm" (with motion).
        about: what is known of it, such as its training; goes into the report as it is.
    """

    model: UniMoTransformer
    task: str
    about: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class VideoComparison:
    """Attributes: numbers of every row, ready for JSON; videos (N,T,H,W,3) uint8 by row."""

    numbers: Numbers
    videos: Mapping[str, np.ndarray]


def evaluate_video_baseline(
    clips: ClipSet,
    bundle: Bundle,
    rows: Mapping[str, Row],
    seed: int = 0,
    batch_size: int = 16,
    sampling: Sampling | None = None,
    num_samples: int = CAPTURE_SAMPLES,
    device: str = "cpu",
    progress: Progress | None = None,
) -> VideoComparison:
    """Writes a video from the first frame of every clip with every transformer, and measures all alike.

    Args:
        clips: of the bundle's length, rate and size.
        bundle: tokenizers, and the transformer that captures.
        rows: by name.
        seed: of sampling and of capture.
        batch_size: clips at once.
        sampling: the rule; None means `Sampling()`.
        num_samples: of capture, whose mean is taken.
        device: as `UniMoPipeline` takes it.
        progress: see `Progress`.

    Returns:
        By row: `visual_nats` a visual token of the true clips (`visual_nats_1`, … by latent frame), what
        `video_numbers` gives, `seconds`. The true clips (`data`), what the tokenizer leaves of them (`tokenizer`) and
        the first frame held (`still_picture`) have rows too.

    Raises:
        InputError: clips that do not fit the bundle, or a transformer of other ids.
    """
    check_clips(clips, bundle.settings)
    pipeline = UniMoPipeline(bundle, device)
    for name, row in rows.items():
        if row.model.config.visual_ids != pipeline.visual_tokenizer.num_ids:
            raise InputError(f"the transformer {name!r} has other visual ids than the bundle's tokenizer")
    visual, motion = clip_ids(pipeline, clips)
    decoding = check_decoding(None, None, None, bundle)
    seeds = range(seed, seed + len(clips))
    real = np.asarray(clips.frames)
    videos = {
        "data": real,
        "tokenizer": pipeline.draw(visual, seeds, decoding),
        "still_picture": np.broadcast_to(real[:, :1], real.shape),
    }
    likelihoods: dict[str, Numbers] = {}
    for name, row in rows.items():
        model = row.model.to(pipeline.device)
        likelihoods[name] = _nats_numbers(visual_nats(model, visual, motion if row.task == UNIFIED else None))
        started = time.perf_counter()
        parts = []
        for start in range(0, len(clips), batch_size):
            first = visual[start : start + batch_size, 0]
            report = share_of(progress, f"writing {name}", start, len(first), len(clips))
            parts.append(write_video_ids(model, row.task, first, visual.shape[1], seed, sampling, report))
        videos[name] = pipeline.draw(torch.cat(parts), seeds, decoding)
        likelihoods[name]["seconds"] = time.perf_counter() - started
    numbers: Numbers = {"clips": len(clips), "fps": clips.fps, "seed": seed, "capture_samples": num_samples, "rows": {}}
    for name, frames in videos.items():
        about = {"task": rows[name].task, **rows[name].about, **likelihoods[name]} if name in rows else {}
        numbers["rows"][name] = about | video_numbers(pipeline, clips, frames, seed, num_samples, progress)
    return VideoComparison(numbers, videos)


def clip_ids(pipeline: UniMoPipeline, clips: ClipSet) -> tuple[Tensor, Tensor]:
    """The clips as tokens: visual ids (N,K,h,w) and motion ids (N,T,36)."""
    settings, tokenizer, frames = pipeline.settings, pipeline.motion_tokenizer.model, np.asarray(clips.frames)
    parts = [pipeline.visual_tokenizer.encode(frames[i : i + _AT_ONCE]) for i in range(0, len(frames), _AT_ONCE)]
    features = canonical_features(
        clips.motions, clips.intrinsics, settings.side, settings.canonical_focal, settings.body
    )
    with torch.inference_mode():
        features = with_rotation_form(features, rotation_form(tokenizer.config.feature_dim))
        motion = tokenizer.encode(features.to(pipeline.device))
    return torch.cat(parts), motion


@torch.inference_mode()
def visual_nats(model: UniMoTransformer, visual_ids: Tensor, motion_ids: Tensor | None) -> Tensor:
    """Cross-entropy of the visual tokens after the first latent frame, each given all tokens before it.

    Args:
        model: the transformer.
        visual_ids: (N,K,h,w).
        motion_ids: (N,T,36) for image-to-video-and-motion, whose later latent frames also see the motion before them;
            None for video alone.

    Returns:
        (N, K-1) nats a token, mean over each latent frame.
    """
    model = model.eval()
    layout = _layout(model, visual_ids, motion_ids)
    positions = layout.targets(VISUAL).to(visual_ids.device)
    rows = []
    for start in range(0, len(visual_ids), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        begin = model.config.visual_ids if layout.begin_of_video else None
        tokens = layout.build(visual_ids[part], None if motion_ids is None else motion_ids[part], begin)
        logits = F.linear(model(tokens, layout)[:, positions - 1], model.output.weight).float()
        labels = visual_ids[part, 1:].flatten(1)
        rows.append(F.cross_entropy(logits.transpose(1, 2), labels, reduction="none"))
    return torch.cat(rows).unflatten(1, (-1, layout.cells)).mean(2)


def write_video_ids(
    model: UniMoTransformer,
    task: str,
    first_ids: Tensor,
    latent_frames: int,
    seed: int = 0,
    sampling: Sampling | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Visual ids (B,K,h,w) that go on from reference pictures (B,h,w), every row with the same seed.

    Args:
        model: the transformer.
        task: "video" or "i2vm", whose motion is thrown away.
        first_ids: of the pictures.
        latent_frames: K, the picture included.
        seed, sampling, progress: as `Engine` takes them.
    """
    engine, seeds = Engine(model.eval()), [seed] * len(first_ids)
    if task == BASELINE:
        return engine.generate_video(first_ids, latent_frames, sampling, seeds, callback=progress)
    frames = 1 + 8 * (latent_frames - 1)
    return engine.generate_video_motion(first_ids, latent_frames, frames, sampling, seeds, callback=progress)[0]


def video_numbers(
    pipeline: UniMoPipeline,
    clips: ClipSet,
    frames: np.ndarray,
    seed: int = 0,
    num_samples: int = CAPTURE_SAMPLES,
    progress: Progress | None = None,
) -> Numbers:
    """What videos (N,T,H,W,3) from the clips' first frames are like, and the motion that capture reads in them.

    Returns:
        `first_frame_psnr_db`; `later_psnr_db` and `later_ssim`, of all later frames against the true clip (which
        rewards a still picture: many other futures are as right as the true one); `temporal_flickering`;
        `change_from_first_8bit`, mean absolute difference of the last frame to the first (0-255);
        `captured.joint_speed_m_per_s`; `captured.*` FID and diversity as `distribution_numbers` has them; intervals
        under `interval95.`.
    """
    real = np.asarray(clips.frames)
    pairs = list(zip(frames, real, strict=True))
    found = _captured(pipeline, clips, frames, seed, num_samples, progress)
    measures: dict[str, Sequence[float]] = {
        "first_frame_psnr_db": [psnr_db(mine[0], true[0]) for mine, true in pairs],
        "later_psnr_db": [psnr_db(mine[1:], true[1:]) for mine, true in pairs],
        "later_ssim": [ssim(mine[1:], true[1:]) for mine, true in pairs],
        "temporal_flickering": [temporal_flickering(mine) for mine in frames],
        "change_from_first_8bit": [float(np.abs(mine[-1].astype(int) - mine[0]).mean()) for mine in frames],
        "captured.joint_speed_m_per_s": found.speed.tolist(),
    }
    spread = distribution_numbers(clips, true_parts(clips), found.parts, pipeline.settings.body)
    kept = {key: value for key, value in spread.items() if not key.startswith("first_frame_pose.")}
    return summarize({key: np.array(value) for key, value in measures.items()}) | {
        f"captured.{key}": value for key, value in kept.items()
    }


@dataclass(frozen=True)
class _Captured:
    """Attributes: parts, the motions (N, …); speed (N,) mean of the joints, m/s."""

    parts: Parts
    speed: Tensor


def _captured(
    pipeline: UniMoPipeline, clips: ClipSet, frames: np.ndarray, seed: int, num_samples: int, progress: Progress | None
) -> _Captured:
    """The motions that capture reads in videos, in the clips' cameras."""
    found = capture_ids(pipeline, frames, [seed], _AT_ONCE, num_samples=num_samples, progress=progress)
    parts = decoded_parts(pipeline.motion_tokenizer, found.ids, clips.intrinsics, num_samples=num_samples)
    joints = clip_joints(parts, pipeline.settings.body)
    return _Captured(parts, joint_speed_m_per_s(joints, clips.fps).flatten(1).mean(1))


def _layout(model: UniMoTransformer, visual_ids: Tensor, motion_ids: Tensor | None) -> SequenceLayout:
    _, latent_frames, height, width = visual_ids.shape
    if motion_ids is None:
        begins = model.config.embedding_rows > model.config.visual_ids
        return SequenceLayout(BASELINE, latent_frames, height, width, begin_of_video=begins)
    frames, motion_layout = motion_ids.shape[1], model.config.motion_layout
    return SequenceLayout(UNIFIED, latent_frames, height, width, frames, motion_layout=motion_layout)


def _nats_numbers(nats: Tensor) -> Numbers:
    by_frame = {f"visual_nats_{index + 1}": nats[:, index] for index in range(nats.shape[1])}
    return summarize({"visual_nats": nats.mean(1), **by_frame})
