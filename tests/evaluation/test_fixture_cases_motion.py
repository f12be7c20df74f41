"""Cases of the metric fixtures follow their parameters, and are right where a fixture documents a mistake."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from unimo.evaluation.metric_fixtures import CASES

CAMERA = "camera-space MPJPE / PA-MPJPE / PVE / Accel"
WORLD = "W-MPJPE, WA-MPJPE, RTE, Jitter, Foot sliding"


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def run(metric: str, inputs: dict[str, np.ndarray], **params: Any) -> dict[str, np.ndarray]:
    return CASES[metric](inputs, params, {"metric": metric, "params": params, "outputs": {}})


def test_camera_errors_follow_pelvis_rate_and_mask(rng) -> None:
    target = rng.normal(size=(9, 8, 3))
    predicted = target + 0.05 * rng.normal(size=target.shape)
    mask = np.array([1, 1, 0, 1, 1, 1, 1, 0, 1], bool)
    found = run(CAMERA, {"pred_j3d": predicted, "target_j3d": target, "mask": mask}, pelvis_idxs=[3, 5, 6], fps=50)
    error = (predicted - predicted[:, [3, 5, 6]].mean(1)[:, None] - target + target[:, [3, 5, 6]].mean(1)[:, None])[
        mask
    ]
    np.testing.assert_allclose(found["mpjpe"], 1000 * np.linalg.norm(error, axis=-1).mean(-1))
    accel = np.linalg.norm(np.diff(error, n=2, axis=0), axis=-1).mean(-1) * 50**2
    np.testing.assert_allclose(found["accel"], accel)
    np.testing.assert_allclose(found["accel_wham_trimmed"], accel[1:-1])
    np.testing.assert_allclose(found["accel_mean"], accel.mean())
    assert "pve" not in found


def test_world_errors_follow_chunk_root_and_threshold(rng) -> None:
    target = np.cumsum(0.02 * rng.normal(size=(50, 24, 3)), 0) + rng.normal(size=(1, 24, 3))
    inputs = {"pred_j3d": target + 0.01 * rng.normal(size=target.shape), "target_j3d": target}
    inputs |= {"pred_feet": inputs["pred_j3d"][:, :4], "target_feet": target[:, :4]}
    params = {"fps": 30, "chunk": 100, "root_joint": 0, "contact_threshold_m": 0.01}
    plain = run(WORLD, inputs, **params)
    changes = {"w_mpjpe": {"chunk": 20}, "wa_mpjpe": {"chunk": 20}, "rte": {"root_joint": 3}, "jitter": {"fps": 60}}
    for key, change in changes.items():
        assert np.abs(run(WORLD, inputs, **{**params, **change})[key] - plain[key]).max() > 1e-3
    more = run(WORLD, inputs, **{**params, "contact_threshold_m": 0.03})["foot_sliding"]
    assert len(more) > len(plain["foot_sliding"])
    np.testing.assert_allclose(plain["fs_mean"], plain["foot_sliding"].mean())


def test_dance_features_follow_hands_up_axis_and_frame_time(rng) -> None:
    joints = np.cumsum(0.02 * rng.normal(size=(12, 55, 3)), 0) + rng.normal(size=(1, 55, 3))
    metric = "Duolando feature pipeline"
    usual, other = (run(metric, {"gt0": joints, "pred0": joints}, hand_idx_left=i) for i in ([25, 28, 31, 34, 37], [9]))
    assert np.argwhere(usual["kin_gt"] != other["kin_gt"])[:, 1].min() == 66
    body = joints[:, :24]
    z_up = np.stack([body[..., 0], -body[..., 2], body[..., 1]], -1)
    metric = "AIST++ kinetic (72) and manual/geometric (32) features"
    upright, lying = run(metric, {"motion7": body}), run(metric, {"motion7": z_up}, up="z")
    np.testing.assert_allclose(lying["kinetic7"], upright["kinetic7"])
    slow = run(metric, {"motion7": body}, frame_time_kinetic_fixed=1 / 15)
    np.testing.assert_allclose(4 * slow["kinetic_fixed7"][::3], upright["kinetic_fixed7"][::3])


def test_rows_of_sets_stand_in_the_order_of_their_numbers(rng) -> None:
    inputs = {f"{side}{i}": rng.normal(size=(6, 55, 3)) for side in ("gt", "pred") for i in (10, 2, 1)}
    found = run("Duolando feature pipeline", inputs)
    alone = run("Duolando feature pipeline", {"gt0": inputs["gt2"], "pred0": inputs["pred10"]})
    np.testing.assert_array_equal(found["kin_gt"][1], alone["kin_gt"][0])
    np.testing.assert_array_equal(found["man_pred"][2], alone["man_pred"][0])


def test_a_step_of_the_quantiser_is_the_moving_average_of_its_rows(rng) -> None:
    codebook, rows = rng.normal(size=(5, 3)).astype(np.float32), rng.normal(size=(2, 3, 30)).astype(np.float32)
    count = np.array([3, 3, 0.4, 3, 3], np.float32)
    codebook[2] = 40  # never the nearest
    inputs = {"x_NCT": rows, "codebook": codebook, "ema_sum": codebook * count[:, None], "ema_count": count}
    found = run("Jukebox/Duolando EMA codebook step", inputs, decay=0.9, threshold=1.0)
    flat = rows.transpose(0, 2, 1).reshape(-1, 3)
    ids = np.linalg.norm(flat[:, None] - codebook, axis=-1).argmin(1)
    np.testing.assert_array_equal(found["indices"], ids)
    np.testing.assert_allclose(found["commit_loss"], ((flat - codebook[ids]) ** 2).mean(), rtol=1e-5)
    counts = 0.9 * count + 0.1 * np.bincount(ids, minlength=5)
    sums = 0.9 * inputs["ema_sum"] + 0.1 * np.stack([flat[ids == i].sum(0) for i in range(5)])
    np.testing.assert_allclose(found["ema_count_after"], counts, rtol=1e-5)
    np.testing.assert_array_equal(found["reset_mask"], [False, False, True, False, False])
    kept = ~found["reset_mask"]
    np.testing.assert_allclose(found["new_codebook"][kept], (sums / counts[:, None])[kept], rtol=1e-4, atol=1e-5)


def test_documented_mistakes_are_not_repeated(rng) -> None:
    source, target = rng.normal(size=(2, 3, 14, 3))
    found = run("Procrustes trap", {"S1": source, "S2": target})
    np.testing.assert_array_equal(found["pa_err_reference_bug"], found["pa_err_correct"])
    camera = np.eye(4)[None].repeat(2, 0)
    camera[:, :3, :3] = np.diag([-1.0, 1, -1])
    inputs = {"global_orient_w": np.zeros((2, 3)), "transl_w": np.zeros((2, 3)), "T_w2c": camera}
    found = run("SMPL-X root parameters under a rigid transform", {**inputs, "pelvis_rest": np.array([0.1, -0.3, 0.2])})
    np.testing.assert_allclose(found["transl_c"], [[-0.2, 0, -0.4]] * 2, atol=1e-12)
    np.testing.assert_array_equal(found["transl_c_naive_WRONG"], found["transl_c"])


def test_text_to_motion_follows_batch_and_index_lists(rng) -> None:
    text, motion = rng.normal(size=(2, 24, 6))
    lists = {
        "div_idx1": np.array([0, 3]),
        "div_idx2": np.array([5, 3]),
        "mm_idx1": np.array([1]),
        "mm_idx2": np.array([2]),
    }
    inputs = {"text_emb": text, "motion_emb": motion, "mm_emb": rng.normal(size=(4, 5, 6)), **lists}
    metric = "HumanML3D R-precision top1-3, matching score (MM-Dist), Diversity, MultiModality"
    small, large = (run(metric, inputs, batch=size) for size in (4, 24))
    assert (small["r_precision"] > large["r_precision"]).all()
    np.testing.assert_allclose(small["diversity"], np.linalg.norm(motion[0] - motion[5]) / 2)


@pytest.mark.parametrize("kind", [">f8", ">f4", "<f2"])
def test_numbers_of_any_byte_order_and_width_are_taken(rng, kind: str) -> None:
    source, target = (side.astype(kind) for side in rng.normal(size=(2, 2, 9, 3)))
    metric = "Umeyama alignment and mean point error"
    found = run(metric, {"source": source, "target": target})
    plain = run(metric, {"source": source.astype(float), "target": target.astype(float)})
    np.testing.assert_allclose(found["mean_l2"], plain["mean_l2"], rtol=1e-4)


def test_depth_follows_its_clip_and_its_rule_of_validity(rng) -> None:
    metric = "Video depth after scale-shift alignment in disparity space (AbsRel, RMSE, delta1)"
    depth = rng.uniform(0.05, 30, (2, 6, 7))
    disparity = 0.7 / depth + 0.02 * rng.normal(size=depth.shape) + 0.1

    def plain(least: float, low: float, high: float) -> float:
        """RMSE by the definition."""
        valid = (depth > least) & (depth < 20)
        fitted = np.stack([disparity[valid], np.ones(valid.sum())], 1)
        scale, shift = np.linalg.lstsq(fitted, 1 / (depth[valid] + 1e-8), rcond=None)[0]
        ours = np.clip(1 / np.maximum(scale * disparity + shift, 1e-3), low, high)
        return float(np.mean([np.sqrt(((a - b)[m] ** 2).mean()) for a, b, m in zip(ours, depth, valid, strict=True)]))

    inputs, found = {"pred_disparity": disparity, "gt_depth": depth}, []
    for least, low, high in ((1e-3, 1e-3, 20), (1e-3, 0.1, 15), (2.0, 2.0, 20)):
        rules = {"valid": f"{least:g} < gt < max_depth", "depth_clip": [low, high]}
        found.append(float(run(metric, inputs, dataset_max_depth=20, **rules)["rmse"]))
        assert found[-1] == pytest.approx(plain(least, low, high), rel=1e-6)
    assert len(set(found)) == 3
    for rules, words in (({"valid": "gt > 0"}, "valid depths are those"), ({"depth_clip": [1e-3, 30]}, "lies outside")):
        with pytest.raises(ValueError, match=words):
            run(metric, inputs, dataset_max_depth=20, **rules)


def test_limits_of_pose_scores_are_those_of_the_outputs_names() -> None:
    angles = np.radians([0.0, 7.5])
    poses = np.eye(4)[None].repeat(2, 0)
    poses[:, 0, 0] = poses[:, 1, 1] = np.cos(angles)
    poses[:, 1, 0], poses[:, 0, 1] = np.sin(angles), -np.sin(angles)
    still = np.eye(4)[None].repeat(2, 0)
    still[1, :3, 3] = poses[1, :3, 3] = (0, 0, 1)
    metric = "relative-pose AUC@30 (RRA/RTA)"
    entry = {"outputs": dict.fromkeys(("auc10", "racc6", "racc8", "auc30", "auc0", "aucx"))}
    found = CASES[metric]({"pred_w2c": poses, "gt_w2c": still}, {}, entry)
    assert float(found["r_err"][0]) == pytest.approx(7.5) and float(found["t_err"][0]) == pytest.approx(0, abs=1e-6)
    assert float(found["auc10"]) == pytest.approx(3 / 10) and float(found["auc30"]) == pytest.approx(23 / 30)
    assert (float(found["racc6"]), float(found["racc8"])) == (0, 1)
    assert "auc5" in found and not {"auc0", "aucx"} & set(found)
