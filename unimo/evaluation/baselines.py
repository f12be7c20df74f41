"""Dumb estimates of motion that know more than a model does, or less: what every number is set beside.

In: the true motions. Out: motions of the same shape: the pose of frame 0 held, and the pose of the frame before. The
constant pose, which knows nothing of the clip, is in `constant_pose.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from unimo.data.clips import ClipSet
from unimo.evaluation.clip_motions import Parts
from unimo.evaluation.pose_errors import clip_pve_mm, mpjpe_hips_mm, pose_errors, with_accel_per_second
from unimo.evaluation.summary import Numbers, prefixed
from unimo.evaluation.world_errors import clip_world_errors, own_numbers


def first_frame_pose(truth: Mapping[str, Tensor]) -> Parts:
    """The true pose, heading and place of frame 0 in every frame; parts as in `clip_motions`."""
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
