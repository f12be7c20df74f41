"""Errors in the world: the predicted motion seen through the true camera path of its clip.

In: motions in camera axes and the cameras' paths. Out: numbers of each clip. With the true camera these are errors of
the motion alone; a method that must find the camera too is worse off, so they are not the field's numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unimo.body.names import FEET
from unimo.data.clips import ClipSet
from unimo.evaluation.clip_motions import Parts, in_world, repeated
from unimo.evaluation.pose_errors import clip_joints
from unimo.metrics.world import foot_slide_mm_per_frame, jitter_10_m_per_s3, rte_percent, w_mpjpe_mm, wa_mpjpe_mm

SHORTEST_PATH_M = 0.25
"""RTE, a share of the pelvis's path, says nothing of people who stay where they are: shorter paths have none."""


def world_errors(joints: Tensor, truth: Tensor, fps: float) -> dict[str, Tensor]:
    """Numbers (N,) of joints (N,T,22,3) in world axes (y up, metres) beside the true ones; NaN where one is undefined.

    Returns:
        `w_mpjpe_mm`, `wa_mpjpe_mm` (all 22 joints; a clip of up to 100 frames is one chunk), `rte_percent` (joint 0; of
        paths of at least `SHORTEST_PATH_M`), `jitter_10_m_per_s3` (no truth in it), `foot_sliding_mm` (ankles and balls
        of the feet where the true ones move less than 10 mm a frame; the field takes four vertices of SMPL).
    """
    feet, pelvis, true_pelvis = list(FEET), joints[:, :, 0], truth[:, :, 0]
    slides = [foot_slide_mm_per_frame(mine[:, feet], true[:, feet]) for mine, true in zip(joints, truth, strict=True)]
    length = true_pelvis.diff(dim=1).norm(dim=-1).sum(1)
    paths = rte_percent(pelvis, true_pelvis).mean(1)
    return {
        "w_mpjpe_mm": w_mpjpe_mm(joints, truth).mean(1),
        "wa_mpjpe_mm": wa_mpjpe_mm(joints, truth).mean(1),
        "rte_percent": torch.where(length >= SHORTEST_PATH_M, paths, torch.nan),
        "jitter_10_m_per_s3": jitter_10_m_per_s3(joints, fps).mean(1),
        "foot_sliding_mm": torch.stack(slides),
    }


def own_numbers(truth: Parts, clips: ClipSet, body: str) -> dict[str, Tensor]:
    """The truth's own `jitter_10_m_per_s3` and `foot_sliding_mm`, each (N,); nothing without cameras."""
    numbers = clip_world_errors(truth, truth, clips, body)
    return {key: numbers[key] for key in ("jitter_10_m_per_s3", "foot_sliding_mm") if key in numbers}


def clip_world_errors(predicted: Parts, truth: Parts, clips: ClipSet, body: str) -> dict[str, Tensor]:
    """`world_errors` of N · S motions in the cameras of N clips; nothing where the cameras' paths are not known.

    Args:
        predicted: camera axes, the samples of a clip in a row.
        truth: of the N clips.
        clips: the cameras' paths and the frame rate.
        body: of all motions.
    """
    if clips.cam2world is None:
        return {}
    copies = len(predicted["transl"]) // len(clips)
    cameras = clips.cam2world.repeat(copies, axis=0)
    sides = (clip_joints(parts, body) for parts in (predicted, repeated(truth, copies)))
    joints, true_joints = (in_world(side, cameras) for side in sides)
    return world_errors(joints, true_joints, clips.fps)
