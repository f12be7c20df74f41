"""What the tokenizers lose: motion → ids → motion and frames → ids → frames, over clips with known answers.

In: clips of the bundle's length and a bundle. Out: a flat dictionary, units in its keys, see docs/results.md. The
visual tokenizer stands beside a copy of the frames that is 16× down-sampled and enlarged again.
"""

from __future__ import annotations

import numpy as np
import torch

from unimo.bundle import Bundle
from unimo.data.clips import Clips
from unimo.evaluation.clip_motions import check_clips, decoded_parts, true_parts
from unimo.evaluation.pose_errors import clip_joints, clip_pve_mm, pose_errors, with_accel_per_second
from unimo.evaluation.summary import Numbers, prefixed, summarize
from unimo.metrics.pose import codebook_use, drift_mm
from unimo.metrics.video import box_downsampled, psnr_db
from unimo.motion.batches import canonical_features
from unimo.motion.features import rotation_form, with_rotation_form
from unimo.pipeline import UniMoPipeline
from unimo.result import Progress


def evaluate_tokenizer(
    clips: Clips, bundle: Bundle, batch_size: int = 8, device: str = "cpu", progress: Progress | None = None
) -> Numbers:
    """Measures both tokenizers.

    Args:
        clips: of the bundle's length, rate and size.
        bundle: the weights.
        batch_size: clips encoded at once.
        device: as `UniMoPipeline` takes it.
        progress: see `Progress`.

    Returns:
        Motion: `mpjpe_mm`, `pa_mpjpe_mm`, `pve_mm` (all vertices), `accel_mm_per_frame2`, `accel_m_per_s2`,
        `root_orientation_deg`, `root_translation_m`, `root_drift_mm` (at the clip's end, the first frame's offset taken
        off), `codebook_use`.
        Pictures: `psnr_db`, `psnr_in_mask_db` (each clip's PSNR, then the mean), `downsampled_16x.*`,
        `gain_over_downsampled_16x_in_mask_db`, `visual_codebook_use`. `interval95.*`, `clips`, `fps`.

    Raises:
        InputError: the clips are not of the bundle's length, rate or size.
    """
    check_clips(clips, bundle.settings)
    pipeline = UniMoPipeline(bundle, device)
    return {
        "clips": len(clips),
        "fps": clips.fps,
        **_motion_numbers(pipeline, clips, batch_size),
        **_visual_numbers(pipeline, clips, batch_size, progress),
    }


@torch.inference_mode()
def _motion_numbers(pipeline: UniMoPipeline, clips: Clips, batch_size: int) -> Numbers:
    settings, tokenizer = pipeline.settings, pipeline.motion_tokenizer
    features = canonical_features(
        clips.motions, clips.intrinsics, settings.side, settings.canonical_focal, settings.body
    )
    features = with_rotation_form(features, rotation_form(tokenizer.model.config.feature_dim))
    device = next(tokenizer.model.parameters()).device
    ids = torch.cat([tokenizer.model.encode(chunk.to(device)).cpu() for chunk in features.split(batch_size)])
    predicted, truth = decoded_parts(tokenizer, ids, clips.intrinsics, batch_size), true_parts(clips)
    errors = with_accel_per_second(pose_errors(predicted, truth, settings.body), clips.fps)
    pelvis = [clip_joints(parts, settings.body)[:, :, 0] for parts in (predicted, truth)]
    errors["root_drift_mm"] = drift_mm(*pelvis)
    errors["pve_mm"] = clip_pve_mm(predicted, truth, settings.body)
    return summarize(errors) | {"codebook_use": codebook_use(ids, tokenizer.model.config.codebook_size)}


def _visual_numbers(pipeline: UniMoPipeline, clips: Clips, batch_size: int, progress: Progress | None) -> Numbers:
    tokenizer = pipeline.visual_tokenizer
    own: dict[str, list[float]] = {"psnr_db": [], "psnr_in_mask_db": []}
    coarse: dict[str, list[float]] = {"psnr_db": [], "psnr_in_mask_db": []}
    ids = []
    for start in range(0, len(clips), batch_size):
        rows = np.arange(start, min(start + batch_size, len(clips)))
        batch = np.asarray(clips.frames[rows])
        ids.append(tokenizer.encode(batch).cpu())
        decoded = tokenizer.decode(ids[-1])
        for frames, copy, mask in zip(batch, decoded, clips.masks(rows), strict=True):
            for numbers, picture in ((own, copy), (coarse, box_downsampled(frames))):
                numbers["psnr_db"].append(psnr_db(picture, frames))
                numbers["psnr_in_mask_db"].append(psnr_db(picture, frames, mask))
        if progress:
            progress("encoding and decoding frames", len(own["psnr_db"]), len(clips))
    values, base = ({key: np.array(value) for key, value in side.items()} for side in (own, coarse))
    gain = {"gain_over_downsampled_16x_in_mask_db": values["psnr_in_mask_db"] - base["psnr_in_mask_db"]}
    return {
        **summarize(values | gain),
        **prefixed("downsampled_16x", base),
        "visual_codebook_use": codebook_use(torch.cat(ids), tokenizer.num_ids),
    }
