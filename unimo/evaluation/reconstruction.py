"""What a motion tokenizer loses on windows of features: the field's errors, root errors, drift and sliding feet."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from unimo.body import load_body
from unimo.body.names import FEET
from unimo.evaluation.pose_errors import clip_joints, clip_pve_mm, pose_errors
from unimo.metrics.pose import drift_mm
from unimo.metrics.world import foot_slide_mm_per_frame
from unimo.motion.features import feature_slices, from_features, motion_to_features, rotation_form
from unimo.motion.library import NamedMotion
from unimo.motion.tokenizer import MotionTokenizer
from unimo.synth.scene import VALIDATION_SEED, SceneConfig, SceneSampler


def reconstruction_metrics(predicted: Tensor, target: Tensor, body: str = "open") -> dict[str, float]:
    """Errors of reconstructed features (N,T,D), both sides in the same camera, averaged over all frames.

    Returns:
        `mpjpe_mm`, `pa_mpjpe_mm`, `pve_low_poly_mm` (over the vertices of the low-poly body), `accel_mm_per_frame2`,
        `root_orientation_deg`, `root_translation_m`, `root_drift_mm` (at the last frame, the first frame's offset
        taken off), `foot_slide_mm_per_frame` (camera coordinates). What is undefined, such as Accel below three
        frames or the slide when no foot stands, is left out.
    """
    parts, truth = from_features(predicted), from_features(target)
    joints, true_joints = clip_joints(parts, body), clip_joints(truth, body)
    pelvis, true_pelvis = joints[:, :, 0], true_joints[:, :, 0]
    index = torch.from_numpy(load_body(body).low_poly()[0])  # type: ignore[arg-type]
    errors = pose_errors(parts, truth, body) | {
        "pve_low_poly_mm": clip_pve_mm(parts, truth, body, index),
        "root_drift_mm": drift_mm(pelvis, true_pelvis),
    }
    numbers = {key: float(value.mean()) for key, value in errors.items()}
    slide = foot_slide_mm_per_frame(joints[:, :, list(FEET)], true_joints[:, :, list(FEET)])
    numbers["foot_slide_mm_per_frame"] = float(slide)
    return {key: value for key, value in numbers.items() if math.isfinite(value)}


def tokenizer_metrics(
    tokenizer: MotionTokenizer, library: Sequence[NamedMotion], frames: int, count: int
) -> dict[str, float]:
    """What a tokenizer loses on clips of any length, which it takes in windows of its own.

    Args:
        tokenizer: of a bundle.
        library: world motions of subjects that it was not trained on.
        frames: of a clip, at the tokenizer's rate.
        count: clips, in random cameras as the synthetic engine draws them, from fixed seeds.

    Returns:
        `reconstruction_metrics` and `codebook_use`, `codebook_perplexity`.

    Raises:
        InputError: no motion is long enough.
    """
    scene = SceneConfig(side=tokenizer.side, frames=frames, fps=tokenizer.fps, body=tokenizer.body)
    sampler = SceneSampler(library, scene)
    motions = [sampler.sample(seed).motion for seed in range(VALIDATION_SEED, VALIDATION_SEED + count)]
    tokens = tokenizer.encode_batch(motions)
    rebuilt = tokenizer.decode_batch(tokens)
    predicted, target = (torch.stack([motion_to_features(motion) for motion in side]) for side in (rebuilt, motions))
    usage = tokenizer.codebook_usage(tokens)
    numbers = reconstruction_metrics(predicted, target, tokenizer.body)
    return numbers | {"codebook_use": usage.share, "codebook_perplexity": usage.perplexity}


def with_mean_shape(features: Tensor) -> Tensor:
    """Replaces the shape of every frame by the clip's mean, as decoding does: (N,T,D) → (N,T,D)."""
    shape = feature_slices(rotation_form(features.shape[-1]))["shape"]
    mean = features[..., shape].mean(-2, keepdim=True).expand_as(features[..., shape])
    return torch.cat([features[..., : shape.start], mean, features[..., shape.stop :]], -1)
