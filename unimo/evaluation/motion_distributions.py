"""Whether generated motions are spread as true ones are: FID and diversity of the dance features of AIST++.

In: the true and the generated motions of the same references, in camera axes. Out: flat numbers. Both sides are put
into the world by the camera of the clip's first frame, held still, since a generated video has no other; a camera that
moves then moves the true person too. 24 joints (hands flat: the mean of the finger bases), from the first frame's root.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from unimo.body import load_body
from unimo.body.names import ALL_JOINT_NAMES, ALL_PARENTS
from unimo.data.clips import ClipSet
from unimo.evaluation.baselines import first_frame_pose
from unimo.evaluation.clip_motions import Parts, in_world
from unimo.evaluation.pose_errors import clip_joints
from unimo.evaluation.summary import Numbers
from unimo.metrics.distributions import constant_features, frechet_distance, mean_pairwise_distance, z_scores
from unimo.metrics.motion_features import FORMS, from_first_root, geometric_features, kinetic_features

KINDS = {"k": kinetic_features, "g": geometric_features}


def distribution_numbers(clips: ClipSet, truth: Parts, generated: Parts, body: str) -> Numbers:
    """FID and diversity of the generated motions, beside those of the true clips and of held first frames.

    Args:
        clips: N clips.
        truth: their motions.
        generated: N · S motions.
        body: of all motions.

    Returns:
        By form ("strict", "fixed") and kind ("k" kinetic, "g" geometric) `<form>.fid_<kind>`,
        `<form>.diversity_<kind>`, `data.<form>.diversity_<kind>`, `first_frame_pose.<form>.fid_<kind>`, and
        `<form>.constant_<kind>`: features that never vary in the true clips, which are left out. "fixed" is in true
        units of the clips' rate. Nothing for fewer than two clips.
    """
    if len(clips) < 2:
        return {}
    sides = {name: _upright(parts, clips, body) for name, parts in
             {"": generated, "data": truth, "first_frame_pose": first_frame_pose(truth)}.items()}  # fmt: skip
    numbers: Numbers = {}
    for form in FORMS:
        for kind, measure in KINDS.items():
            seconds = 1 / clips.fps if form == "fixed" else None
            features = {name: measure(joints, form, seconds) for name, joints in sides.items()}
            true = features["data"]
            scored = {name: z_scores(each, true, drop_constant=True) for name, each in features.items()}
            label = f"{form}.fid_{kind}"
            numbers |= {
                label: float(frechet_distance(scored[""], scored["data"])),
                f"first_frame_pose.{label}": float(frechet_distance(scored["first_frame_pose"], scored["data"])),
                f"{form}.diversity_{kind}": float(mean_pairwise_distance(scored[""])),
                f"data.{form}.diversity_{kind}": float(mean_pairwise_distance(scored["data"])),
                f"{form}.constant_{kind}": int(constant_features(true).sum()),
            }
    return numbers


def _upright(parts: Parts, clips: ClipSet, body: str) -> Tensor:
    """24 joints (M,T,24,3) in the world of each clip's first camera, about the first frame's root."""
    joints = torch.cat([clip_joints(parts, body), hand_positions(parts, body)], dim=2)
    if clips.cam2world is None:
        return from_first_root(in_world(joints, None))
    still = clips.cam2world[:, :1].repeat(joints.shape[1], axis=1).repeat(len(joints) // len(clips), axis=0)
    return from_first_root(in_world(joints, still))


def hand_positions(parts: Parts, body: str = "open") -> Tensor:
    """Where flat hands are, the mean of the five finger bases: parts (N,T,…) → (N,T,2,3) metres, left before right."""
    wrists, template, directions = _hands(body)
    rest = template + torch.einsum("hcs,nts->nthc", directions, parts["betas"])
    turns = torch.stack([_global_turn(parts["rotations"], wrist) for wrist in wrists], dim=2)
    return clip_joints(parts, body)[:, :, list(wrists)] + (turns @ rest[..., None])[..., 0]


def _global_turn(rotations: Tensor, joint: int) -> Tensor:
    """Rotation (N,T,3,3) of a joint in the frame of the motion: the product along its chain."""
    parent = ALL_PARENTS[joint]
    own = rotations[:, :, joint]
    return own if parent < 0 else _global_turn(rotations, parent) @ own


@functools.lru_cache(maxsize=2)
def _hands(body: str) -> tuple[tuple[int, ...], Tensor, Tensor]:
    """The wrists, and from each to its hand at rest: (2,3) and by betas (2,3,10)."""
    with np.load(load_body(body).path, allow_pickle=False) as archive:  # type: ignore[arg-type]
        regressor, template = archive["J_regressor"].astype(np.float64), archive["v_template"].astype(np.float64)
        shapes = archive["shapedirs"][..., :10].astype(np.float64)
    wrists = tuple(ALL_JOINT_NAMES.index(f"{side}_wrist") for side in ("left", "right"))
    # a finger's first joint hangs on the wrist
    rows = [[joint for joint, parent in enumerate(ALL_PARENTS) if parent == wrist] for wrist in wrists]
    arms = np.stack([regressor[bases].mean(0) - regressor[wrist] for bases, wrist in zip(rows, wrists, strict=True)])
    rest, directions = arms @ template, np.einsum("hv,vcs->hcs", arms, shapes)
    return wrists, torch.from_numpy(rest).float(), torch.from_numpy(directions).float()
