"""Cases of the metric fixtures on bodies and their motion: errors in camera and world, alignment, root parameters.

A case takes the inputs by name, the parameters and the whole entry of the index, and returns what the metrics of this
project say for each output by its name. Outputs that document a mistake get the right value: it has to differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unimo.geometry.alignment import apply_similarity, umeyama
from unimo.geometry.root_frames import camera_to_gravity_view, world_to_camera_of_roots
from unimo.metrics import pose, world
from unimo.metrics.statistics import pooled_mean
from unimo.motion.frames import transform_root

Arrays = dict[str, np.ndarray]
Case = Callable[[Arrays, dict[str, Any], dict[str, Any]], Arrays]


def tensors(inputs: Arrays) -> dict[str, Tensor]:
    """The inputs as tensors of the same types; half precision, too coarse to compute in, becomes single."""

    def native(value: np.ndarray) -> np.ndarray:
        own = value.dtype.newbyteorder("=")
        return np.array(value, dtype=np.promote_types(own, np.float32) if own.kind == "f" else own)

    return {key: torch.from_numpy(native(value)) for key, value in inputs.items()}


def arrays(outputs: Mapping[str, Tensor | np.ndarray | float]) -> Arrays:
    """The outputs as arrays."""
    return {key: np.asarray(value) for key, value in outputs.items()}


def camera_errors(inputs: Arrays, params: dict[str, Any], case: dict[str, Any]) -> Arrays:
    """WHAM and GVHMR's MPJPE, PA-MPJPE, PVE and Accel; a mask takes frames out first."""
    data = tensors(inputs)
    if "mask" in data:
        mask = data.pop("mask").bool()
        data = {key: value[mask] for key, value in data.items()}
    ours, true, pelvis, fps = data["pred_j3d"], data["target_j3d"], params["pelvis_idxs"], params["fps"]
    errors = {
        "mpjpe": pose.mpjpe_mm(ours, true, pelvis),
        "pa_mpjpe": pose.pa_mpjpe_mm(ours, true),
        "accel": pose.accel_m_per_s2(ours, true, fps, pelvis),
    }
    if "pred_verts" in data:
        centres = (pose.pelvis_position(side, pelvis) for side in (ours, true))
        errors["pve"] = pose.pve_mm(data["pred_verts"], data["target_verts"], *centres)
    means = {f"{key}_mean": pooled_mean([value.numpy()]) for key, value in errors.items()}
    per_frame = pose.accel_mm_per_frame2(ours, true, pelvis)
    trimmed = pose.accel_m_per_s2(ours, true, fps, pelvis, trim=True)
    return arrays({**errors, **means, "accel_mm_per_frame2": per_frame, "accel_wham_trimmed": trimmed})


def accel_with_visibility(inputs: Arrays, params: dict[str, Any], case: dict[str, Any]) -> Arrays:
    """Accel of joints as they are, of the triples of visible frames only."""
    data = tensors(inputs)
    seen = pose.valid_triples(data["vis"].bool())
    per_frame = pose.accel_mm_per_frame2(data["pred"], data["gt"], pelvis=None)[seen]
    per_second = pose.accel_m_per_s2(data["pred"], data["gt"], params["fps"], pelvis=None)[seen]
    own = pose.acceleration_m_per_s2(data["gt"], fps=1)
    return arrays({"accel": per_second, "accel_per_frame2_wham": per_frame / 1000, "abs_accel_gt": own})


def procrustes_batch(inputs: Arrays, params: dict[str, Any], case: dict[str, Any]) -> Arrays:
    """Similarity alignment of S1 onto S2 and all of its parts."""
    data = tensors(inputs)
    source, target = data["S1"].double(), data["S2"].double()
    rotation, translation, scale = umeyama(source, target)
    moved = apply_similarity(source, rotation, translation, scale)
    single = source.float(), target.float()
    error = (moved - target).norm(dim=-1).mean(dim=-1)
    parts = {"R": rotation, "t": translation, "scale": scale, "det_R": torch.linalg.det(rotation)}
    moved_single = apply_similarity(single[0], *umeyama(*single))
    return arrays({**parts, "S1_hat": moved, "S1_hat_torch32": moved_single, "pa_err": error})


def procrustes_of_few_frames(inputs: Arrays, params: dict[str, Any], case: dict[str, Any]) -> Arrays:
    """The same for two or three frames, where the field's batch function goes wrong."""
    found = procrustes_batch(inputs, params, case)
    error = found["pa_err"]
    return {"S1_hat_correct": found["S1_hat"], "pa_err_correct": error, "pa_err_reference_bug": error}


def world_errors(inputs: Arrays, params: dict[str, Any], case: dict[str, Any]) -> Arrays:
    """W-MPJPE, WA-MPJPE, RTE, jitter and foot sliding; a mask takes frames out first, as GVHMR does it."""
    data = tensors(inputs)
    if "mask" in data:
        mask = data.pop("mask").bool()
        data = {key: value[mask] for key, value in data.items()}
    ours, true = data["pred_j3d"], data["target_j3d"]
    chunk, root = params["chunk"], params["root_joint"]
    still_mm = 1000 * params["contact_threshold_m"]
    found = {
        "w_mpjpe": world.w_mpjpe_mm(ours, true, chunk),
        "wa_mpjpe": world.wa_mpjpe_mm(ours, true, chunk),
        "rte": world.rte_percent(ours[:, root], true[:, root]),
        "jitter": world.jitter_10_m_per_s3(ours, params["fps"]),
        "foot_sliding": world.foot_sliding_mm(data["pred_feet"], data["target_feet"], still_mm),
    }
    printed = {"w_mpjpe": "wa2_mpjpe", "wa_mpjpe": "waa_mpjpe", "foot_sliding": "fs"}
    means = {f"{printed.get(key, key)}_mean": pooled_mean([value.numpy()]) for key, value in found.items()}
    return arrays({**found, **means})


def hmr_errors(inputs: Arrays, params: dict[str, Any], case: dict[str, Any]) -> Arrays:
    """4D-Humans: one keypoint as pelvis, some keypoints scored."""
    data, scored = tensors(inputs), list(params["keypoint_list"])
    ours, true = data["pred"], data["gt"]
    aligned = pose.mpjpe_mm(ours, true, [params["pelvis_ind"]], scored)
    return arrays({"mpjpe": aligned, "pa_mpjpe": pose.pa_mpjpe_mm(ours[:, scored], true[:, scored])})


def motiongpt_errors(inputs: Arrays, params: dict[str, Any], case: dict[str, Any]) -> Arrays:
    """MotionGPT and SOLAMI: Accel is neither root-aligned nor scaled by the rate."""
    data = tensors(inputs)
    ours, true = data["pred"], data["gt"]
    found = {
        "mpjpe": pose.mpjpe_mm(ours, true, params["align_inds"]),
        "pa_mpjpe": pose.pa_mpjpe_mm(ours, true),
        "accel": pose.accel_mm_per_frame2(ours, true, pelvis=None),
    }
    return arrays(found)


def root_parameters(inputs: Arrays, params: dict[str, Any], case: dict[str, Any]) -> Arrays:
    """A rigid map of SMPL-X root parameters, the camera they imply, and GVHMR's gravity view."""
    camera, pelvis = inputs["T_w2c"], inputs["pelvis_rest"]
    rotation, offset = camera[:, :3, :3], camera[:, :3, 3]
    gravity = params.get("gravity", (0, -1, 0))
    before = inputs["global_orient_w"], inputs["transl_w"]
    after = transform_root(*before, rotation, offset, pelvis)
    roots = (torch.from_numpy(np.asarray(values, np.float64)) for values in (*before, *after, pelvis))
    return arrays(
        {
            "global_orient_c": after[0],
            "transl_c": after[1],
            "transl_c_naive_WRONG": after[1],
            "T_w2c_recovered": world_to_camera_of_roots(*roots),
            "R_c2gv": camera_to_gravity_view(torch.from_numpy(np.asarray(rotation, np.float64)), gravity),
        }
    )


CASES: dict[str, Case] = {
    "camera-space MPJPE / PA-MPJPE / PVE / Accel": camera_errors,
    "Accel with visibility": accel_with_visibility,
    "batch Procrustes (PA alignment)": procrustes_batch,
    "Procrustes trap": procrustes_of_few_frames,
    "W-MPJPE, WA-MPJPE, RTE, Jitter, Foot sliding": world_errors,
    "4D-Humans MPJPE / PA": hmr_errors,
    "MotionGPT/SOLAMI reconstruction metrics": motiongpt_errors,
    "SMPL-X root parameters under a rigid transform": root_parameters,
}
"""Metric of the index → case."""
