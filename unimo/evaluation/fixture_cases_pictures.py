"""Cases of the metric fixtures on pictures and geometry: depth, flow, normals, mattes, tracks, cameras, VBench.

The contract is that of `fixture_cases_body`.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch

from unimo.evaluation.fixture_cases_body import Arrays, Case, arrays, tensors
from unimo.geometry.alignment import apply_similarity, umeyama
from unimo.metrics import camera_poses, depth, matting, normals, optical_flow, tracks, vbench
from unimo.metrics.flicker import temporal_flickering

# degrees stand in the names; these are computed also where the index does not describe its outputs
_POSE_SCORES = ("auc30", "auc15", "auc5", "auc3", "racc5", "tacc5")


def aligned_depth(inputs: Arrays, params: dict[str, Any], case: dict[str, Any]) -> Arrays:
    """Depth of a clip from disparity with one scale and shift."""
    if params.get("domain", "depth") != "depth":
        raise ValueError(f"this project scores depth, not {params['domain']!r}")
    data = tensors(inputs)
    target, largest = data["gt_depth"], params["dataset_max_depth"]
    nearest = _least_valid_depth(params.get("valid"))
    least = params.get("disp_clip_min", depth.LEAST_DISPARITY)
    low, high = params.get("depth_clip", (nearest, largest))
    if not nearest <= low < high <= largest:
        raise ValueError(f"depth_clip {low:g} to {high:g} lies outside the valid depths, {nearest:g} to {largest:g}")
    ours, scale, shift = depth.align_disparity(data["pred_disparity"], target, largest, nearest, least)
    found = _depth_scores(ours.clamp(low, high), target, depth.valid_depth(target, largest, nearest))
    return arrays({**found, "scale": scale, "shift": shift})


def _least_valid_depth(rule: str | None) -> float:
    """The number of "NUMBER < gt < max_depth"."""
    if rule is None:
        return depth.NEAREST_M
    least, _, rest = rule.partition(" < ")
    if rest != "gt < max_depth":
        raise ValueError(f"this project's valid depths are those with NUMBER < gt < max_depth, not {rule!r}")
    return float(least)


def plain_depth(inputs: Arrays, params: dict[str, Any], case: dict[str, Any]) -> Arrays:
    """Depth as it is, with a given mask."""
    data = tensors(inputs)
    return arrays(_depth_scores(data["pred"], data["gt"], data["mask"].bool()))


def _depth_scores(ours: torch.Tensor, true: torch.Tensor, valid: torch.Tensor) -> dict[str, torch.Tensor]:
    scores = {"abs_rel": depth.abs_rel, "rmse": depth.depth_rmse_m, "delta1": depth.share_within_ratio}
    return {key: depth.mean_of_frames(score(ours, true, valid)) for key, score in scores.items()}


def flow_errors(inputs: Arrays, params: dict[str, Any], case: dict[str, Any]) -> Arrays:
    """Optical flow (B, 2, H, W), over all pixels and over valid ones."""
    data = tensors(inputs)
    true = data["gt"].movedim(1, -1)
    errors, valid = optical_flow.end_point_errors_px(data["pred"].movedim(1, -1), true), data["valid"].bool()
    found = {
        "epe": optical_flow.mean_epe_px(errors),
        "epe_lt1": optical_flow.share_below_px(errors, 1.0),
        "epe_valid": optical_flow.mean_epe_px(errors, valid),
        "f1_all_percent": optical_flow.kitti_outliers_percent(errors, true, valid),
    }
    return arrays(found)


def normal_errors(inputs: Arrays, params: dict[str, Any], case: dict[str, Any]) -> Arrays:
    """Normals (B, 3, H, W), pooled over the pixels of the mask."""
    data = tensors(inputs)
    angles = normals.normal_angles_deg(data["pred"].movedim(1, -1), data["gt"].movedim(1, -1))
    scores = normals.normal_scores(angles, data["mask"].bool())
    names = {key: key.removesuffix("_deg").removesuffix("_percent").replace(".", "_") for key in scores}
    return arrays({"error_deg": angles, **{names[key]: score for key, score in scores.items()}})


def matte_errors(inputs: Arrays, params: dict[str, Any], case: dict[str, Any]) -> Arrays:
    """All of a clip's frames, then their means; scales of the index, should they be others than those of RVM."""
    data = tensors(inputs)
    ours, true = data["pred_alpha"], data["true_alpha"]
    sigma, step = params.get("sigma", matting.SIGMA), params.get("conn_step", matting.STEP)
    gradients = [matting.gradient_error_per_1000(ours, true, stretch, sigma) for stretch in (True, False)]
    per_gradient, per_region = (params.get(key, 1000) / 1000 for key in ("grad_div", "conn_div"))
    found = {
        "mad": matting.mad_x1000(ours, true) * params.get("mad_scale", 1000) / 1000,
        "mse": matting.mse_x1000(ours, true) * params.get("mse_scale", 1000) / 1000,
        "dtssd": matting.dtssd_x100(ours, true) * params.get("dtssd_scale", 100) / 100,
        "grad": gradients[0] / per_gradient,
        "grad_hr": gradients[1] / per_gradient,
        "conn": matting.connectivity_error_per_1000(ours, true, step) / per_region,
    }
    means = {f"{key}_mean": value.mean() for key, value in found.items()}
    return arrays({**found, **means})


def pose_errors(inputs: Arrays, params: dict[str, Any], case: dict[str, Any]) -> Arrays:
    """Relative poses of all pairs, and AUC and accuracies at the limits that the names of the outputs say."""
    data = tensors(inputs)
    rotation, translation = camera_poses.relative_pose_errors_deg(data["pred_w2c"], data["gt_w2c"])
    found = {"r_err": rotation, "t_err": translation}
    named = (re.fullmatch(r"(auc|racc|tacc)([1-9]\d*)", name) for name in (*_POSE_SCORES, *case["outputs"]))
    for name, kind, limit in ((match[0], match[1], int(match[2])) for match in named if match):
        if kind == "auc":
            found[name] = camera_poses.pose_auc(rotation, translation, limit)
        else:
            found[name] = (found[f"{kind[0]}_err"] < limit).double().mean()
    return arrays(found)


def aligned_points(inputs: Arrays, params: dict[str, Any], case: dict[str, Any]) -> Arrays:
    """Umeyama's transform with and without scale, and the mean distances it leaves."""
    data = tensors(inputs)
    source, target = data["source"], data["target"]
    rotation, offset, scale = umeyama(source, target)
    rigid_rotation, rigid_offset, _ = umeyama(source, target, with_scale=False)
    found = {
        "scale": scale,
        "R": rotation,
        "t": offset,
        "aligned": apply_similarity(source, rotation, offset, scale),
        "mean_l2": camera_poses.aligned_point_errors(source, target).mean(-1),
        "R_rigid": rigid_rotation,
        "t_rigid": rigid_offset,
        "mean_l2_rigid": camera_poses.aligned_point_errors(source, target, with_scale=False).mean(-1),
    }
    return arrays(found)


def track_errors(inputs: Arrays, params: dict[str, Any], case: dict[str, Any]) -> Arrays:
    """One clip of TAPVid-3D."""
    if params.get("scaling", "median") != "median":
        raise ValueError(f"this project scales tracks by medians, not by {params['scaling']!r}")
    data = tensors(inputs)
    ours_seen, true_seen = (~data[f"{side}_occluded"].bool() for side in ("pred", "gt"))
    focal, thresholds = data["intrinsics"].reshape(-1)[:2], tuple(params.get("thresholds", tracks.THRESHOLDS_PX))
    scores = tracks.tapvid3d_scores(data["pred_tracks"], data["gt_tracks"], ours_seen, true_seen, focal, thresholds)
    found = {
        "occlusion_accuracy": scores.occlusion_accuracy,
        "average_jaccard": scores.average_jaccard,
        "average_pts_within_thresh": scores.average_within,
        "jaccard": scores.jaccard,
        "pts_within": scores.within,
    }
    return arrays(found)


def vbench_parts(inputs: Arrays, params: dict[str, Any], case: dict[str, Any]) -> Arrays:
    """VBench's dimensions from what its networks would have made."""
    data = tensors(inputs)
    height, width = data["flows"].shape[-2:]
    motions = vbench.largest_motion_px(data["flows"], params.get("top_fraction", vbench.TOP_SHARE))
    found = {
        "temporal_flickering": temporal_flickering(inputs["video"]),
        "consistency": vbench.consistency(data["features"]),
        "dynamic_scores": motions,
        "dynamic_threshold": vbench.motion_threshold_px(height, width),
        "dynamic_count_needed": vbench.pairs_needed(params.get("sampled_frames", len(motions) + 1)),
        "dynamic_is_moving": vbench.is_dynamic(motions, height, width),
        "motion_smoothness": vbench.motion_smoothness(inputs["ms_original"], inputs["ms_interpolated"]),
    }
    return arrays(found)


def overall_scores(inputs: Arrays, params: dict[str, Any], case: dict[str, Any]) -> Arrays:
    """Table 9's two means of three dimensions, a row a method."""
    rows = inputs["per_dimension"].tolist()
    found = {
        "app": np.array([vbench.appearance_overall(*appearance) for *appearance, _, _, _ in rows]),
        "mot": np.array([vbench.motion_overall(*motion) for _, _, _, *motion in rows]),
    }
    return arrays(found)


CASES: dict[str, Case] = {
    "Video depth after scale-shift alignment in disparity space (AbsRel, RMSE, delta1)": aligned_depth,
    "plain masked depth metrics": plain_depth,
    "optical-flow EPE": flow_errors,
    "surface-normal angular error": normal_errors,
    "Alpha-matte MAD, MSE, Grad, Conn, dtSSD": matte_errors,
    "relative-pose AUC@30 (RRA/RTA)": pose_errors,
    "Umeyama alignment and mean point error": aligned_points,
    "TAPVid-3D 3D-AJ, APD, OA": track_errors,
    "VBench arithmetic without the networks": vbench_parts,
    "UniMo App./Mot. overall": overall_scores,
}
"""Metric of the index → case."""
