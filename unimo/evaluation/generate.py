"""Whether generated clips are plausible: the reference's person, as much movement as the data, video and motion agree.

In: clips whose first frames are the reference pictures, and a bundle. Out: a flat dictionary, units in its keys, see
docs/results.md. Clip and seed give what `unimo generate --seed` gives for that picture; all are decoded in batches.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ar_model.sampling import Sampling
from unimo.bundle import Bundle
from unimo.data.clips import Clips
from unimo.defaults import CAPTURE_SAMPLES
from unimo.evaluation.capture import capture_ids
from unimo.evaluation.clip_motions import Parts, check_clips, decoded_parts, true_parts
from unimo.evaluation.pose_errors import clip_joints, pose_errors
from unimo.evaluation.summary import Numbers, prefixed, ratios, summarize
from unimo.geometry.cameras import project
from unimo.metrics.pose import joint_speed_m_per_s
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
    """

    frames: np.ndarray
    parts: Parts
    own_first: np.ndarray


def evaluate_generate(
    clips: Clips,
    bundle: Bundle,
    seeds: Sequence[int] = (0, 1, 2),
    batch_size: int = 24,
    device: str = "cpu",
    dtype: str | None = None,
    temperature: float = 1.0,
    top_p: float = 0.8,
    progress: Progress | None = None,
) -> Numbers:
    """Generates from the first frame of every clip, once per seed.

    Args:
        clips, bundle, seeds, batch_size, device, dtype, temperature, top_p, progress: as `evaluate_capture` takes them.

    Returns:
        `first_frame_psnr_db` beside `tokenizer.first_frame_psnr_db`; `joint_speed_m_per_s` beside
        `data.joint_speed_m_per_s` and `ratio_to_data.joint_speed` (joints in camera axes);
        `joint_color_difference_8bit`: how far the colours at the generated motion's joints in the generated frames are
        from those at the reference's joints (0-255), beside the same of the true clips (`data.`) and of generated
        clips against another clip's reference (`other_person.`); `consistency.mpjpe_mm`: captured from the generated
        frames against the generated motion, beside `consistency.other_clip.mpjpe_mm`, against another clip's motion;
        `consistency.num_samples`: the mean of so many captures is taken.
        `interval95.*`, `clips`, `fps`, `decode_seconds`.

    Raises:
        InputError: the clips are not of the bundle's length, rate or size.
    """
    check_clips(clips, bundle.settings)
    pipeline = UniMoPipeline(bundle, device, dtype)
    sampling = Sampling(temperature, top_p)
    started = time.perf_counter()
    made = generate_clips(pipeline, clips, seeds, batch_size, sampling, progress)
    seconds = time.perf_counter() - started
    body, truth = pipeline.settings.body, true_parts(clips)
    joints, true_joints = clip_joints(made.parts, body), clip_joints(truth, body)
    samples = (len(clips), len(seeds))
    references = np.asarray(clips.frames[:, 0])
    first = [psnr_db(made.frames[i, 0], references[i // len(seeds)]) for i in range(len(made.frames))]
    speed = {"joint_speed_m_per_s": joint_speed_m_per_s(joints, clips.fps).mean(1).reshape(samples)}
    data_speed = {"joint_speed_m_per_s": joint_speed_m_per_s(true_joints, clips.fps).mean(1)}
    own = [psnr_db(a, b) for a, b in zip(made.own_first, references, strict=True)]
    return {
        "clips": len(clips),
        "fps": clips.fps,
        **summarize({"first_frame_psnr_db": np.array(first).reshape(samples), **speed}),
        **prefixed("tokenizer", {"first_frame_psnr_db": np.array(own)}),
        **prefixed("data", data_speed),
        **ratios(speed, data_speed, "data"),
        **_color_numbers(clips, made, joints, true_joints),
        **_consistency(pipeline, made, clips.intrinsics, seeds, batch_size, progress),
        "decode_seconds": seconds,
    }


def generate_clips(
    pipeline: UniMoPipeline,
    clips: Clips,
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
    for start in range(0, len(clips), step):
        first = pipeline.visual_tokenizer.encode(np.asarray(clips.frames[start : start + step, :1]))
        report = share_of(progress, "writing tokens", start * copies, len(first) * copies, total)
        rows = [*seeds] * len(first)
        text = pipeline.context()
        context = None if text is None else text.shared_by(len(first))
        visual, motion = pipeline.engine.generate_video_motion(
            first[:, 0], 1 + (settings.frames - 1) // 8, settings.frames, sampling, rows, copies, report, context
        )
        for first_row in range(0, len(visual), 8):
            part = slice(first_row, first_row + 8)
            # another noise for every clip, or errors of one draw would stand in all of them
            drawn_by = [start * copies + number + 1_000_003 * seed for number, seed in enumerate(rows)][part]
            frames.append(pipeline.draw(visual[part], drawn_by, decoding))
        own.append(pipeline.visual_tokenizer.decode(first)[:, 0])
        ids.append(motion.cpu())
    intrinsics = clips.intrinsics.repeat(copies, axis=0)
    parts = decoded_parts(pipeline.motion_tokenizer, torch.cat(ids), intrinsics)
    return Generated(np.concatenate(frames), parts, np.concatenate(own))


def _color_numbers(clips: Clips, made: Generated, joints: Tensor, true_joints: Tensor) -> Numbers:
    """Colours at the joints of generated and true clips against those of their own and of another reference."""
    copies = len(made.frames) // len(clips)
    true_points = _points(true_joints, clips.intrinsics)
    points = _points(joints, clips.intrinsics.repeat(copies, axis=0))
    true_colors = np.stack([colors_at(clips.frames[i], true_points[i]) for i in range(len(clips))])
    colors = np.stack([colors_at(frames, at) for frames, at in zip(made.frames, points, strict=True)])
    reference = true_colors[:, :1].repeat(copies, axis=0)
    key, samples = "joint_color_difference_8bit", (len(clips), copies)
    numbers = summarize({key: _difference(colors, reference).reshape(samples)})
    numbers |= prefixed("data", {key: _difference(true_colors, true_colors[:, :1])})
    if len(clips) > 1:
        numbers |= prefixed("other_person", {key: _difference(colors, np.roll(reference, copies, axis=0))})
    return numbers


def _points(joints: Tensor, intrinsics: np.ndarray) -> np.ndarray:
    return project(joints, torch.from_numpy(intrinsics).float()[:, None, None]).numpy()


def _difference(colors: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Mean absolute difference of (N,T,J,3) over frames and joints that are inside both pictures: (N,), NaN if none."""
    difference = np.abs(colors - reference)
    seen = np.isfinite(difference)
    count = seen.sum((1, 2, 3))
    return np.where(count > 0, np.where(seen, difference, 0).sum((1, 2, 3)) / np.maximum(count, 1), np.nan)


def _consistency(
    pipeline: UniMoPipeline,
    made: Generated,
    intrinsics: np.ndarray,
    seeds: Sequence[int],
    batch_size: int,
    progress: Progress | None,
) -> Numbers:
    """MPJPE between the motion captured from the generated frames and the generated motion."""
    copies, body = len(seeds), pipeline.settings.body
    ids = capture_ids(pipeline, made.frames, seeds[:1], batch_size, progress=progress)
    cameras = intrinsics.repeat(copies, axis=0)
    captured = decoded_parts(pipeline.motion_tokenizer, ids, cameras, num_samples=CAPTURE_SAMPLES)
    errors = {"mpjpe_mm": pose_errors(captured, made.parts, body)["mpjpe_mm"]}
    numbers = {"consistency.num_samples": CAPTURE_SAMPLES, **prefixed("consistency", errors)}
    if len(intrinsics) > 1:
        other = {key: value.roll(copies, dims=0) for key, value in made.parts.items()}
        numbers |= prefixed("consistency.other_clip", {"mpjpe_mm": pose_errors(captured, other, body)["mpjpe_mm"]})
    return numbers
