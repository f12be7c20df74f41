"""What a motion tokenizer loses on windows of features: the field's errors, root errors, drift and sliding feet."""

from __future__ import annotations

import torch
from torch import Tensor

from unimo.body import load_body
from unimo.body.names import FEET
from unimo.evaluation.pose_errors import clip_joints, clip_vertices, pose_errors
from unimo.metrics.pose import drift_mm, foot_slide_mm_per_frame, pve_mm
from unimo.motion.features import feature_slices, from_features, rotation_form


def reconstruction_metrics(predicted: Tensor, target: Tensor, body: str = "open") -> dict[str, float]:
    """Errors of reconstructed features (N,T,D), both sides in the canonical camera, averaged over all frames.

    Returns:
        `mpjpe_mm`, `pa_mpjpe_mm`, `pve_mm` (over the vertices of the low-poly body), `accel_mm_per_frame2` (NaN below
        three frames), `root_orientation_deg`, `root_translation_m`, `root_drift_mm` (at the last frame, the first
        frame's offset taken off), `foot_slide_mm_per_frame` (NaN when no foot stands).
    """
    parts, truth = from_features(predicted), from_features(target)
    joints, true_joints = clip_joints(parts, body), clip_joints(truth, body)
    pelvis, true_pelvis = joints[:, :, 0], true_joints[:, :, 0]
    index = torch.from_numpy(load_body(body).low_poly()[0])  # type: ignore[arg-type]
    vertices, true_vertices = clip_vertices(parts, body, index), clip_vertices(truth, body, index)
    errors = pose_errors(parts, truth, body) | {
        "pve_mm": pve_mm(vertices, true_vertices, pelvis, true_pelvis),
        "root_drift_mm": drift_mm(pelvis, true_pelvis),
    }
    numbers = {key: float(value.mean()) for key, value in errors.items()}
    slide = foot_slide_mm_per_frame(joints[:, :, list(FEET)], true_joints[:, :, list(FEET)])
    return numbers | {"foot_slide_mm_per_frame": float(slide)}


def with_mean_shape(features: Tensor) -> Tensor:
    """Replaces the shape of every frame by the clip's mean, as decoding does: (N,T,D) → (N,T,D)."""
    shape = feature_slices(rotation_form(features.shape[-1]))["shape"]
    mean = features[..., shape].mean(-2, keepdim=True).expand_as(features[..., shape])
    return torch.cat([features[..., : shape.start], mean, features[..., shape.stop :]], -1)
