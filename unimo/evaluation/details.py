"""The parts of a report that are more than one number: by clip, by joint, by time, by class of motion."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from unimo.data.clips import ClipSet
from unimo.evaluation.clip_motions import Parts, in_world
from unimo.evaluation.motion_classes import motion_classes
from unimo.evaluation.pose_errors import by_joint_and_time, clip_joints
from unimo.evaluation.summary import Numbers, per_clip_lists


def details(
    clips: ClipSet,
    truth: Parts,
    per_clip: Mapping[str, np.ndarray | Tensor],
    baselines: Mapping[str, Mapping[str, Tensor]],
    joint_errors: Tensor,
    body: str,
) -> Numbers:
    """`per_clip`, `by_joint_mm` and `by_time_mm` of a report.

    Args:
        clips: N clips.
        truth: their motions.
        per_clip: measures (N,) or (N, samples).
        baselines: measures (N,) by baseline; they stand as `<baseline>.<measure>`.
        joint_errors: (N · samples, T, 22) mm.
        body: of the motions.
    """
    classes = motion_classes(in_world(clip_joints(truth, body), clips.cam2world), clips.fps)
    lists = {"clip": list(clips.names), "motion_class": classes, **per_clip_lists(per_clip)}
    for name, errors in baselines.items():
        lists |= per_clip_lists(errors, name)
    return {"per_clip": lists, **by_joint_and_time(joint_errors)}
