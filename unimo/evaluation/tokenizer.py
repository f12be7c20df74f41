"""What the tokenizers lose: motion → ids → motion and frames → ids → frames, over clips with known answers.

In: clips of the bundle's length and a bundle. Out: a flat dictionary, units in its keys, see docs/results.md. The
visual tokenizer stands beside a copy of the frames that is 16× down-sampled and enlarged again.
"""

from __future__ import annotations

import numpy as np
import torch

from unimo.bundle import DIFFUSION_PARTS, Bundle
from unimo.data.clips import Clips
from unimo.evaluation.clip_motions import check_clips, decoded_parts, true_parts
from unimo.evaluation.pose_errors import clip_joints, clip_pve_mm, pose_errors, with_accel_per_second
from unimo.evaluation.summary import Numbers, prefixed, summarize
from unimo.metrics.pictures import PictureScores
from unimo.metrics.pose import codebook_use, drift_mm
from unimo.metrics.video import box_downsampled
from unimo.motion.batches import canonical_features
from unimo.motion.features import rotation_form, with_rotation_form
from unimo.pipeline import UniMoPipeline
from unimo.result import Progress
from visual_tokenizer import GUIDANCE, STEPS


def evaluate_tokenizer(
    clips: Clips,
    bundle: Bundle,
    batch_size: int = 8,
    device: str = "cpu",
    steps: int = STEPS,
    guidance: float = GUIDANCE,
    progress: Progress | None = None,
) -> Numbers:
    """Measures both tokenizers.

    Args:
        clips: of the bundle's length, rate and size.
        bundle: the weights.
        batch_size: clips encoded at once.
        device: as `UniMoPipeline` takes it.
        steps, guidance: of the diffusion decoder.
        progress: see `Progress`.

    Returns:
        Motion: `mpjpe_mm`, `pa_mpjpe_mm`, `pve_mm` (all vertices), `accel_mm_per_frame2`, `accel_m_per_s2`,
        `root_orientation_deg`, `root_translation_m`, `root_drift_mm` (at the clip's end, the first frame's offset taken
        off), `codebook_use`.
        Pictures: `PictureScores` of the direct decoder (means over clips), of the coarse copy (`downsampled_16x.*`)
        and, where the bundle has them, of the diffusion decoder (`diffusion.*`)
        and of the continuous tokenizer (`continuous.*`); `gain_over_downsampled_16x_in_mask_db`,
        `visual_codebook_use`. `interval95.*`, `clips`, `fps`.

    Raises:
        InputError: the clips are not of the bundle's length, rate or size.
    """
    check_clips(clips, bundle.settings)
    pipeline = UniMoPipeline(bundle, device)
    return {
        "clips": len(clips),
        "fps": clips.fps,
        **_motion_numbers(pipeline, clips, batch_size),
        **_visual_numbers(pipeline, clips, batch_size, (steps, guidance), progress),
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


def _visual_numbers(
    pipeline: UniMoPipeline, clips: Clips, batch_size: int, sampling: tuple[int, float], progress: Progress | None
) -> Numbers:
    """Scores of every way to draw the clips from tokens or latents that the bundle has."""
    tokenizer = pipeline.visual_tokenizer
    scores = {name: PictureScores() for name in ("direct", "downsampled_16x")}
    if DIFFUSION_PARTS <= pipeline.bundle.info.components.keys():
        scores |= {"diffusion": PictureScores(), "continuous": PictureScores()}
    all_ids = []
    for start in range(0, len(clips), batch_size):
        rows = np.arange(start, min(start + batch_size, len(clips)))
        real, masks = np.asarray(clips.frames[rows]), clips.masks(rows)
        ids = tokenizer.encode(real)
        all_ids.append(ids.cpu())
        drawn = {"direct": tokenizer.decode(ids), "downsampled_16x": np.stack([box_downsampled(clip) for clip in real])}
        if "diffusion" in scores:
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
    if "diffusion" in scores:
        numbers |= {"diffusion.steps": sampling[0], "diffusion.guidance": sampling[1]}
    return numbers | {"visual_codebook_use": codebook_use(torch.cat(all_ids), tokenizer.num_ids)}
