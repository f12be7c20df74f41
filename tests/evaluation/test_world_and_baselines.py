"""Baselines, numbers in the world, classes of motion, distributions: known motions score what they must."""

from __future__ import annotations

import numpy as np
import pytest
import roma
import torch

from unimo.body import load_body
from unimo.data.clips import ClipSet
from unimo.evaluation.baselines import baseline_errors, first_frame_pose, previous_frame
from unimo.evaluation.clip_motions import in_world, true_parts
from unimo.evaluation.details import details
from unimo.evaluation.motion_classes import CLASSES, motion_classes
from unimo.evaluation.motion_distributions import distribution_numbers, hand_positions
from unimo.evaluation.pose_errors import by_joint_and_time, clip_joints, joint_errors_mm, mpjpe_hips_mm, pose_errors
from unimo.evaluation.world_errors import clip_world_errors, world_errors
from unimo.metrics.motion_features import joints24


def test_held_and_late_poses_are_the_truth_of_other_frames(clips: ClipSet) -> None:
    truth = true_parts(clips)
    held, late = first_frame_pose(truth), previous_frame(truth)
    for key, value in truth.items():
        assert torch.equal(held[key][:, 5], value[:, 0])
        assert torch.equal(late[key][:, 1:], value[:, :-1]) and torch.equal(late[key][:, 0], value[:, 0])


def test_baseline_errors_are_what_these_poses_must_have(clips: ClipSet) -> None:
    truth = true_parts(clips)
    errors = baseline_errors(truth, clips, "open")
    joints = clip_joints(truth)
    own = joints - joints[:, :, :1]
    held = 1000 * (own - own[:, :1]).norm(dim=-1).mean((1, 2))
    torch.testing.assert_close(errors["first_frame_pose"]["mpjpe_mm"], held, rtol=1e-4, atol=1e-2)
    late = 1000 * own.diff(dim=1).norm(dim=-1).mean(2).sum(1) / own.shape[1]
    torch.testing.assert_close(errors["previous_frame"]["mpjpe_mm"], late, rtol=1e-4, atol=1e-2)
    # who does not move has the truth's own acceleration as error, and nothing slides or trembles
    still = own.diff(n=2, dim=1).norm(dim=-1).mean((1, 2)) * clips.fps**2
    torch.testing.assert_close(errors["first_frame_pose"]["accel_m_per_s2"], still, rtol=1e-3, atol=1e-3)
    assert errors["first_frame_pose"]["jitter_10_m_per_s3"].max() < 1e-2
    assert set(errors["data"]) == {"jitter_10_m_per_s3", "foot_sliding_mm"}


def test_joints_and_times_are_mpjpe_before_the_mean(clips: ClipSet) -> None:
    truth = true_parts(clips)
    held = first_frame_pose(truth)
    errors = joint_errors_mm(held, truth)
    torch.testing.assert_close(errors.mean((1, 2)), pose_errors(held, truth)["mpjpe_mm"])
    found = by_joint_and_time(errors)
    assert found["by_joint_mm"]["pelvis"] == 0 and found["by_time_mm"][0] == pytest.approx(0, abs=1e-3)
    assert np.mean(list(found["by_joint_mm"].values())) == pytest.approx(float(errors.mean()))
    assert np.mean(found["by_time_mm"]) == pytest.approx(float(errors.mean()))


def test_hips_alignment_forgives_a_moved_pelvis_and_not_a_moved_hip(clips: ClipSet) -> None:
    truth = true_parts(clips)
    moved = {**truth, "transl": truth["transl"] + 0.4}
    assert mpjpe_hips_mm(moved, truth).max() < 0.1
    assert mpjpe_hips_mm(first_frame_pose(truth), truth).min() > 1


def test_the_world_is_reached_by_each_frames_camera() -> None:
    turn = roma.rotvec_to_rotmat(torch.tensor([[0.0, 0.3, 0.0], [0.1, 0.0, 0.2]]))
    camera = torch.eye(4).repeat(1, 2, 1, 1)
    camera[0, :, :3, :3], camera[0, :, :3, 3] = turn, torch.tensor([[1.0, 2, 3], [4, 5, 6]])
    points = torch.randn(1, 2, 22, 3)
    expected = torch.stack([points[0, t] @ turn[t].T + camera[0, t, :3, 3] for t in range(2)])
    torch.testing.assert_close(in_world(points, camera)[0], expected)
    torch.testing.assert_close(in_world(points, None), points * torch.tensor([1.0, -1, -1]))


def test_a_moving_camera_makes_no_world_error_and_no_sliding(clips: ClipSet) -> None:
    truth = true_parts(clips)
    none = clip_world_errors(truth, truth, clips, "open")
    for key in ("w_mpjpe_mm", "wa_mpjpe_mm"):
        assert none[key].max() < 0.1
    assert clip_world_errors(truth, truth, ClipSet(**{**vars(clips), "cam2world": None}), "open") == {}
    copies = {key: value.repeat_interleave(3, 0) for key, value in truth.items()}
    again = clip_world_errors(copies, truth, clips, "open")["jitter_10_m_per_s3"]
    torch.testing.assert_close(again, none["jitter_10_m_per_s3"].repeat_interleave(3))


def walker(speed: float, swing: float = 0.0, frames: int = 17) -> torch.Tensor:
    """Joints (1,T,22,3) at 15 per second: a pelvis that goes along x, and joints that swing about it along y."""
    time = torch.arange(frames) / 15
    joints = torch.zeros(1, frames, 22, 3)
    joints[..., 0] += speed * time[None, :, None]
    joints[:, :, 1:, 1] += (swing * time)[None, :, None]
    return joints


def test_paths_too_short_for_rte_have_none() -> None:
    truth = torch.cat([walker(1.0), walker(0.1)])
    truth[..., 1:, 2] += torch.randn(2, 1, 21)
    found = world_errors(truth + 0.01 * torch.randn_like(truth), truth, 15)
    assert torch.isfinite(found["rte_percent"][0]) and torch.isnan(found["rte_percent"][1])


def test_classes_go_by_the_way_on_the_floor_then_by_the_limbs() -> None:
    joints = torch.cat([walker(0.1), walker(0.1, 0.5), walker(0.6), walker(2.5, 3.0)])
    assert motion_classes(joints, 15) == list(CLASSES)
    up = walker(0.0)
    up[..., 1] += 2 * torch.arange(17)[None, :, None] / 15
    assert motion_classes(up, 15) == ["standing"]  # who is lifted does not travel
    assert motion_classes(walker(0.1), 60) == ["travelling"]  # the same steps at four times the rate


def test_flat_hands_are_where_smplx_has_the_finger_bases(clips: ClipSet) -> None:
    truth = true_parts(clips)
    first = {key: value[:1, :3] for key, value in truth.items()}
    angles = roma.rotmat_to_rotvec(first["rotations"])[0]
    made = load_body("open").smplx(3)(
        global_orient=angles[:, 0],
        body_pose=angles[:, 1:].flatten(1),
        betas=first["betas"][0],
        transl=first["transl"][0],
    )
    expected = joints24(made.joints[:, :55].detach())[:, 22:]
    torch.testing.assert_close(hand_positions(first)[0], expected, rtol=1e-3, atol=1e-3)


def test_the_truth_has_no_distance_to_itself_and_a_held_pose_has(clips: ClipSet, make_clips) -> None:
    clips = make_clips(count=12)
    truth = true_parts(clips)
    numbers = distribution_numbers(clips, truth, truth, "open")
    for form in ("strict", "fixed"):
        for kind in ("k", "g"):
            name = f"{form}.fid_{kind}"
            assert abs(numbers[name]) < 1e-3 < 1 < numbers[f"first_frame_pose.{name}"]
            assert numbers[f"{form}.diversity_{kind}"] == pytest.approx(numbers[f"data.{form}.diversity_{kind}"])
    twice = {key: value.repeat_interleave(2, 0) for key, value in truth.items()}
    assert abs(distribution_numbers(clips, truth, twice, "open")["fixed.fid_g"]) < 1
    one = make_clips(count=1)
    assert distribution_numbers(one, true_parts(one), true_parts(one), "open") == {}


def test_details_name_clips_and_put_baselines_beside(clips: ClipSet) -> None:
    truth = true_parts(clips)
    per_clip = {"a_mm": torch.tensor([[1.0, 3.0], [2.0, 2.0], [torch.nan, 1.0], [4.0, 4.0]])}
    found = details(clips, truth, per_clip, {"still": {"a_mm": torch.ones(4)}}, joint_errors_mm(truth, truth), "open")
    table = found["per_clip"]
    assert table["clip"] == clips.names and table["a_mm"] == [2.0, 2.0, None, 4.0] and table["still.a_mm"] == [1.0] * 4
    assert len(table["motion_class"]) == 4 and set(table["motion_class"]) <= set(CLASSES)
