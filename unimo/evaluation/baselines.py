"""Dumb estimates of motion that know more than a model does, or less: what every number is set beside.

In: the true motions. Out: the errors of the pose of frame 0 held, of the pose of the frame before, and of the constant
pose, which knows nothing of the clip (`constant_pose.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from torch import Tensor

from unimo.bundle import Bundle
from unimo.data.clips import ClipSet
from unimo.evaluation.clip_motions import Parts
from unimo.evaluation.constant_pose import ConstantPose, fit_constant_pose
from unimo.evaluation.pose_errors import clip_joints, clip_pve_mm, mpjpe_hips_mm, pose_errors, with_accel_per_second
from unimo.evaluation.summary import Numbers, prefixed
from unimo.evaluation.world_errors import clip_world_errors, own_numbers
from unimo.motion.batches import canonical_features
from unimo.motion.features import from_features

log = logging.getLogger(__name__)


def first_frame_pose(truth: Mapping[str, Tensor]) -> Parts:
    """The true pose, heading and place before the camera of frame 0 in every frame; parts as in `clip_motions`."""
    return {key: value[:, :1].expand_as(value) for key, value in truth.items()}


def previous_frame(truth: Mapping[str, Tensor]) -> Parts:
    """The truth one frame late; frame 0 is right."""
    rows = [0, *range(truth["transl"].shape[1] - 1)]
    return {key: value[:, rows] for key, value in truth.items()}


def baseline_errors(truth: Parts, clips: ClipSet, body: str) -> dict[str, dict[str, Tensor]]:
    """Errors (N,) of each clip by baseline; all frames count, the known ones too. `data`: the truth's own numbers."""
    made = {"first_frame_pose": first_frame_pose(truth), "previous_frame": previous_frame(truth)}
    errors = {}
    for name, parts in made.items():
        numbers = pose_errors(parts, truth, body) | {
            "mpjpe_hips_mm": mpjpe_hips_mm(parts, truth, body),
            "pve_mm": clip_pve_mm(parts, truth, body),
            **clip_world_errors(parts, truth, clips, body),
        }
        errors[name] = with_accel_per_second(numbers, clips.fps)
    return errors | {"data": own_numbers(truth, clips, body)}


def baseline_numbers(baselines: Mapping[str, Mapping[str, Tensor]]) -> Numbers:
    """Means over clips, `<baseline>.<key>`."""
    return {key: value for name, errors in baselines.items() for key, value in prefixed(name, errors).items()}


def constant_pose_errors(truth: Parts, clips: ClipSet, bundle: Bundle) -> tuple[dict[str, Tensor], str]:
    """Errors (N,) of the bundle's constant pose, and what it was fitted to.

    Args:
        truth: the clips' motions.
        clips: N clips.
        bundle: without a constant pose of its own, the constant that is best for these very clips is taken.
    """
    constant, fitted_to = _constant_pose(bundle, clips)
    settings = bundle.settings
    scale = torch.from_numpy(clips.intrinsics[:, 0, 0] / (settings.canonical_focal * settings.side)).float()
    joints, body = clip_joints(truth, settings.body), settings.body
    errors = constant.clip_errors(joints, truth["rotations"][:, :, 0], scale, body)
    held = constant.parts_like(truth)
    errors |= {"mpjpe_hips_mm": mpjpe_hips_mm(held, truth, body), "pve_mm": clip_pve_mm(held, truth, body)}
    return with_accel_per_second(errors, clips.fps), fitted_to


def _constant_pose(bundle: Bundle, clips: ClipSet) -> tuple[ConstantPose, str]:
    stored = bundle.info.training.get("constant_pose")
    if stored is not None:
        return ConstantPose.from_json(stored), "training clips"
    log.warning("the bundle stores no constant pose: the baseline is fitted to the evaluated clips")
    settings = bundle.settings
    features = canonical_features(
        clips.motions, clips.intrinsics, settings.side, settings.canonical_focal, settings.body
    )
    return fit_constant_pose(from_features(features)), "evaluated clips"
