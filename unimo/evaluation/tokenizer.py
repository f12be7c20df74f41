"""What the tokenizers lose: motion → ids → motion and frames → ids → frames, over clips with known answers.

In: clips of the bundle's length and a bundle. Out: an `Evaluation`, see docs/evaluation.md. The visual tokenizer stands
beside a copy of the frames that is 16× down-sampled and enlarged again, the motion tokenizer beside held poses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from unimo.bundle import DECODERS, DIFFUSION_PARTS, Bundle
from unimo.data.clips import ClipSet
from unimo.evaluation.baselines import baseline_errors, baseline_numbers, constant_pose_errors
from unimo.evaluation.clip_motions import Parts, check_clips, decoded_parts, true_parts
from unimo.evaluation.details import details
from unimo.evaluation.outcome import Evaluation, predictions_of
from unimo.evaluation.pose_errors import (
    clip_joints,
    clip_pve_mm,
    joint_errors_mm,
    mpjpe_hips_mm,
    pose_errors,
    with_accel_per_second,
)
from unimo.evaluation.summary import Numbers, per_clip_lists, prefixed, summarize
from unimo.evaluation.world_errors import clip_world_errors
from unimo.metrics.codebook import codebook_perplexity, codebook_use
from unimo.metrics.pictures import PictureScores
from unimo.metrics.pose import drift_mm
from unimo.metrics.video import box_downsampled
from unimo.motion.batches import canonical_features
from unimo.motion.features import rotation_form, with_rotation_form
from unimo.pipeline import UniMoPipeline
from unimo.result import Progress
from visual_tokenizer import GUIDANCE, STEPS


def evaluate_tokenizer(
    clips: ClipSet,
    bundle: Bundle,
    batch_size: int = 8,
    device: str = "cpu",
    steps: int = STEPS,
    guidance: float = GUIDANCE,
    progress: Progress | None = None,
    decoders: Sequence[str] = DECODERS,
) -> Evaluation:
    """Measures both tokenizers.

    Args:
        clips: of the bundle's length, rate and size.
        bundle: the weights.
        batch_size: clips encoded at once.
        device: as `UniMoPipeline` takes it.
        steps, guidance: of the diffusion decoder.
        progress: see `Progress`.
        decoders: ways to draw the pictures, those that the bundle lacks are left out; "direct" alone takes a fraction
            of the time that "diffusion" does, with which the continuous tokenizer is measured too.

    Returns:
        The numbers of docs/evaluation.md, "Tokenizers". Motion: errors, `root_drift_mm` (at the clip's end, the first
        frame's offset taken off), `codebook_use`, `codebook_perplexity`, `constant_pose.*`, `first_frame_pose.*`,
        `previous_frame.*`.
        Pictures: `PictureScores` of the direct decoder (means over clips), of the coarse copy (`downsampled_16x.*`)
        and, where the bundle has them, of the diffusion decoder (`diffusion.*`)
        and of the continuous tokenizer (`continuous.*`); `gain_over_downsampled_16x_in_mask_db`,
        `visual_codebook_use`, `visual_codebook_perplexity`. `interval95.*`, `clips`, `fps`, `per_clip`, `by_joint_mm`,
        `by_time_mm`.

    Raises:
        InputError: the clips are not of the bundle's length, rate or size.
    """
    check_clips(clips, bundle.settings)
    pipeline = UniMoPipeline(bundle, device)
    truth, body = true_parts(clips), bundle.settings.body
    ids = _motion_ids(pipeline, clips, batch_size)
    motions = decoded_parts(pipeline.motion_tokenizer, ids, clips.intrinsics, batch_size)
    errors = _motion_errors(motions, truth, clips, body)
    constant, fitted_to = constant_pose_errors(truth, clips, bundle)
    baselines = {"constant_pose": constant, **baseline_errors(truth, clips, body)}
    codes = pipeline.motion_tokenizer.model.config.codebook_size
    diffusion = "diffusion" in decoders and DIFFUSION_PARTS <= bundle.info.components.keys()
    sampling = (steps, guidance) if diffusion else None
    pictures, per_picture = _visual_numbers(pipeline, clips, batch_size, sampling, progress)
    parts = details(clips, truth, errors, baselines, joint_errors_mm(motions, truth, body), body)
    parts["per_clip"] |= per_clip_lists(per_picture)
    numbers = {
        "clips": len(clips),
        "fps": clips.fps,
        **summarize(errors),
        **baseline_numbers(baselines),
        "constant_pose.fitted_to": fitted_to,
        "codebook_use": codebook_use(ids, codes),
        "codebook_perplexity": codebook_perplexity(ids, codes),
        **pictures,
        **parts,
    }
    return Evaluation(numbers, predictions_of(motions, (len(clips), 1)))


@torch.inference_mode()
def _motion_ids(pipeline: UniMoPipeline, clips: ClipSet, batch_size: int) -> Tensor:
    settings, tokenizer = pipeline.settings, pipeline.motion_tokenizer
    features = canonical_features(
        clips.motions, clips.intrinsics, settings.side, settings.canonical_focal, settings.body
    )
    features = with_rotation_form(features, rotation_form(tokenizer.model.config.feature_dim))
    device = next(tokenizer.model.parameters()).device
    return torch.cat([tokenizer.model.encode(chunk.to(device)).cpu() for chunk in features.split(batch_size)])


@torch.inference_mode()
def _motion_errors(motions: Parts, truth: Parts, clips: ClipSet, body: str) -> dict[str, Tensor]:
    pelvis = [clip_joints(parts, body)[:, :, 0] for parts in (motions, truth)]
    return with_accel_per_second(pose_errors(motions, truth, body), clips.fps) | {
        "mpjpe_hips_mm": mpjpe_hips_mm(motions, truth, body),
        "root_drift_mm": drift_mm(*pelvis),
        "pve_mm": clip_pve_mm(motions, truth, body),
        **clip_world_errors(motions, truth, clips, body),
    }


def _visual_numbers(
    pipeline: UniMoPipeline,
    clips: ClipSet,
    batch_size: int,
    sampling: tuple[int, float] | None,
    progress: Progress | None,
) -> tuple[Numbers, Mapping[str, np.ndarray]]:
    """Scores of every way to draw the clips, and those (N,) of the direct one; no `sampling`, no diffusion."""
    tokenizer = pipeline.visual_tokenizer
    scores = {name: PictureScores() for name in ("direct", "downsampled_16x")}
    if sampling:
        scores |= {"diffusion": PictureScores(), "continuous": PictureScores()}
    all_ids = []
    for start in range(0, len(clips), batch_size):
        rows = np.arange(start, min(start + batch_size, len(clips)))
        real, masks = np.asarray(clips.frames[rows]), clips.masks(rows)
        ids = tokenizer.encode(real)
        all_ids.append(ids.cpu())
        drawn = {"direct": tokenizer.decode(ids), "downsampled_16x": np.stack([box_downsampled(clip) for clip in real])}
        if sampling:
            drawn["diffusion"] = pipeline.diffusion_decoder.decode(ids, rows.tolist(), *sampling)
            drawn["continuous"] = pipeline.diffusion_decoder.reconstruct(real)
        for name, videos in drawn.items():
            for video, clip, mask in zip(videos, real, masks, strict=True):
                scores[name].add(video, clip, mask)
        if progress:
            progress("encoding and decoding frames", len(scores["direct"]), len(clips))
    values = {name: each.values for name, each in scores.items()}
    own, base = values.pop("direct"), values["downsampled_16x"]
    gain = {"gain_over_downsampled_16x_in_mask_db": own["psnr_in_mask_db"] - base["psnr_in_mask_db"]}
    numbers = summarize(own | gain)
    for name, other in values.items():
        numbers |= prefixed(name, other)
    if sampling:
        numbers |= {"diffusion.steps": sampling[0], "diffusion.guidance": sampling[1]}
    ids, codes = torch.cat(all_ids), tokenizer.num_ids
    use, perplexity = codebook_use(ids, codes), codebook_perplexity(ids, codes)
    return numbers | {"visual_codebook_use": use, "visual_codebook_perplexity": perplexity}, own
