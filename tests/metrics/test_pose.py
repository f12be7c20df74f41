"""Pose metrics: invariances, exact values, and the numbers of the reference implementations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import roma
import torch

from unimo.metrics.pose import (
    HMR_PELVIS,
    HMR_SCORED,
    LSP_HIPS,
    SMPL_HIPS,
    accel_m_per_s2,
    accel_mm_per_frame2,
    acceleration_m_per_s2,
    drift_mm,
    joint_speed_m_per_s,
    mpjpe_mm,
    pa_mpjpe_mm,
    pelvis_position,
    pve_mm,
    rotation_error_deg,
    translation_error_m,
    valid_triples,
)
from unimo.metrics.statistics import pooled_mean

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "metrics"


def fixture(name: str) -> dict[str, torch.Tensor]:
    with np.load(FIXTURES / f"{name}.npz", allow_pickle=False) as archive:
        return {key: torch.from_numpy(np.array(archive[key])) for key in archive.files}


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(7, 22, 3, generator=generator)
    return target + 0.1 * torch.randn(7, 22, 3, generator=generator), target


def test_mpjpe_forgets_the_translation_but_not_the_rotation(pair) -> None:
    predicted, target = pair
    shift = torch.randn(7, 1, 3)
    torch.testing.assert_close(mpjpe_mm(predicted + shift, target), mpjpe_mm(predicted, target), rtol=1e-4, atol=1e-3)
    assert mpjpe_mm(target @ roma.random_rotmat(), target).min() > 100


def test_mpjpe_of_one_joint_moved_by_22_millimetres_is_one_millimetre() -> None:
    target = torch.randn(5, 22, 3)
    predicted = target.clone()
    predicted[:, 9, 1] += 0.022
    torch.testing.assert_close(mpjpe_mm(predicted, target), torch.ones(5), rtol=1e-3, atol=1e-3)


def test_pa_mpjpe_forgets_a_similarity_but_not_a_mirror(pair) -> None:
    predicted, target = pair
    rotation = roma.random_rotmat(7)
    moved = 1.7 * predicted @ rotation + torch.randn(7, 1, 3)
    torch.testing.assert_close(pa_mpjpe_mm(moved, target), pa_mpjpe_mm(predicted, target), rtol=1e-3, atol=1e-2)
    assert pa_mpjpe_mm(1.7 * target @ rotation, target).max() < 0.01
    assert pa_mpjpe_mm(target * torch.tensor([-1.0, 1, 1]), target).min() > 100


def test_accel_sees_neither_constant_velocity_nor_the_root(pair) -> None:
    _, target = pair
    time = torch.arange(7.0)[:, None, None]
    steady = target + time * torch.randn(1, 22, 3)
    assert accel_mm_per_frame2(steady, target).max() < 0.01
    assert accel_mm_per_frame2(target + 5 * time**2, target).max() < 0.02
    jerk = target.clone()
    jerk[3, 1:] += 0.01
    expected = 21 / 22 * torch.tensor([1.0, 2.0, 1.0]) * 10 * 3**0.5
    torch.testing.assert_close(accel_mm_per_frame2(jerk, target)[1:4], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("degrees", [0.0, 1e-3, 1.0, 90.0, 179.0, 179.999, 180.0])
def test_rotation_error_is_exact_at_every_angle(degrees: float) -> None:
    axis = torch.nn.functional.normalize(torch.tensor([0.3, -0.5, 0.8]), dim=0)
    base = roma.random_rotmat()
    turned = base @ roma.rotvec_to_rotmat(axis * np.deg2rad(degrees))
    assert float(rotation_error_deg(turned, base)) == pytest.approx(degrees, abs=2e-4)


def test_rotation_error_has_a_gradient_at_both_ends() -> None:
    for degrees in (0.0, 180.0):
        vector = torch.tensor([0.0, np.deg2rad(degrees), 0.0], dtype=torch.float32, requires_grad=True)
        rotation_error_deg(roma.rotvec_to_rotmat(vector), torch.eye(3)).backward()
        assert vector.grad is not None and bool(vector.grad.isfinite().all())


def test_drift_is_what_grows_over_the_clip() -> None:
    target = torch.randn(3, 9, 3)
    assert drift_mm(target + torch.randn(3, 1, 3), target).max() < 1e-3
    predicted = target + torch.linspace(0, 0.04, 9)[:, None] * torch.tensor([1.0, 0, 0])
    torch.testing.assert_close(drift_mm(predicted, target), torch.full((3,), 40.0), rtol=1e-4, atol=1e-3)


def test_speed_and_translation_have_their_units() -> None:
    joints = torch.arange(4.0)[:, None, None] * torch.tensor([0.0, 0.1, 0.0]).expand(4, 22, 3)
    torch.testing.assert_close(joint_speed_m_per_s(joints, 15), torch.full((3,), 1.5))
    assert float(translation_error_m(torch.tensor([3.0, 0, 4]), torch.zeros(3))) == 5


def test_the_reference_numbers_of_root_aligned_errors() -> None:
    data = fixture("camcoord_24j_pelvisjoint")
    predicted, target = data["in_pred_j3d"], data["in_target_j3d"]
    torch.testing.assert_close(mpjpe_mm(predicted, target), data["out_mpjpe"], rtol=2e-4, atol=2e-3)
    torch.testing.assert_close(pa_mpjpe_mm(predicted, target), data["out_pa_mpjpe"], rtol=2e-4, atol=2e-3)
    accel = accel_mm_per_frame2(predicted, target)
    torch.testing.assert_close(accel, data["out_accel_mm_per_frame2"], rtol=2e-4, atol=2e-3)
    torch.testing.assert_close(accel * 30**2 / 1000, data["out_accel"], rtol=2e-4, atol=2e-3)


def test_the_reference_numbers_of_22_joints() -> None:
    data = fixture("camcoord_22j_25fps")
    errors = pa_mpjpe_mm(data["in_pred_j3d"], data["in_target_j3d"])
    torch.testing.assert_close(errors, data["out_pa_mpjpe"], rtol=2e-4, atol=2e-3)
    data = fixture("motiongpt_mr")
    torch.testing.assert_close(mpjpe_mm(data["in_pred"], data["in_gt"]), data["out_mpjpe"], rtol=2e-4, atol=2e-3)


@pytest.mark.parametrize(
    ("name", "key"), [("procrustes_batch", "out_pa_err"), ("procrustes_trap_batch3", "out_pa_err_correct")]
)
def test_the_reference_numbers_of_procrustes(name: str, key: str) -> None:
    data = fixture(name)
    errors = pa_mpjpe_mm(data["in_S1"], data["in_S2"]) / 1000
    torch.testing.assert_close(errors, data[key], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("pelvis", [SMPL_HIPS, LSP_HIPS, (0,), (3, 7, 9)])
def test_each_pelvis_is_a_mean_of_joints(pair, pelvis) -> None:
    predicted, target = (side.double() for side in pair)
    errors = mpjpe_mm(predicted, target, pelvis)
    torch.testing.assert_close(mpjpe_mm(predicted + torch.randn(7, 1, 3), target, pelvis), errors)
    centred = [side - side[:, list(pelvis)].mean(1, keepdim=True) for side in (predicted, target)]
    torch.testing.assert_close(errors, 1000 * (centred[0] - centred[1]).norm(dim=-1).mean(-1))
    torch.testing.assert_close(mpjpe_mm(*centred, pelvis=None), errors)
    others = [joint for joint in range(22) if joint not in pelvis]
    assert float((mpjpe_mm(predicted, target, others) - errors).abs().min()) > 0


def test_without_alignment_a_shift_is_the_error(pair) -> None:
    _, target = pair
    shift = torch.tensor([0.03, 0, 0.04])
    torch.testing.assert_close(mpjpe_mm(target + shift, target, pelvis=None), torch.full((7,), 50.0), rtol=1e-4, atol=0)
    assert mpjpe_mm(target + shift, target).max() < 1e-3


def test_the_layout_of_4d_humans_scores_14_keypoints_about_one_other(pair) -> None:
    target = torch.randn(3, 44, 3, dtype=torch.float64)
    predicted = target.clone()
    predicted[:, :25] += 1
    assert len(HMR_SCORED) == 14 and mpjpe_mm(predicted, target, HMR_PELVIS, HMR_SCORED).max() < 1e-9
    predicted[:, 43, 0] += 0.14
    errors = mpjpe_mm(predicted, target, HMR_PELVIS, HMR_SCORED)
    torch.testing.assert_close(errors, torch.full((3,), 10.0, dtype=torch.float64))
    predicted[:, 39] -= 0.1
    assert mpjpe_mm(predicted, target, HMR_PELVIS, HMR_SCORED).min() > 100


def test_vertices_go_with_the_pelvis_of_the_joints(pair) -> None:
    predicted, target = (side.double() for side in pair)
    centres = [pelvis_position(side, SMPL_HIPS) for side in (predicted, target)]
    vertices = torch.randn(7, 50, 3, dtype=torch.float64)
    offset = (centres[0] - centres[1])[:, None]
    assert pve_mm(vertices + offset, vertices, *centres).max() < 1e-9
    lifted = pve_mm(vertices + offset + torch.tensor([0, 0.01, 0]), vertices, *centres)
    torch.testing.assert_close(lifted, torch.full((7,), 10.0, dtype=torch.float64), rtol=1e-6, atol=0)


@pytest.mark.parametrize("frames", [1, 2, 3, 5])
def test_pa_mpjpe_of_a_frame_does_not_depend_on_how_many_there_are(pair, frames: int) -> None:
    predicted, target = pair
    errors = pa_mpjpe_mm(predicted, target)
    torch.testing.assert_close(pa_mpjpe_mm(predicted[:frames], target[:frames]), errors[:frames])
    halves = pa_mpjpe_mm(predicted[:6].unflatten(0, (2, 3)), target[:6].unflatten(0, (2, 3)))
    torch.testing.assert_close(halves.flatten(), errors[:6])


def test_accel_units_trim_and_alignment(pair) -> None:
    predicted, target = (side.double() for side in pair)
    errors = accel_m_per_s2(predicted, target, 30)
    torch.testing.assert_close(errors, 0.9 * accel_mm_per_frame2(predicted, target))
    torch.testing.assert_close(accel_m_per_s2(predicted, target, 24), 0.576 * accel_mm_per_frame2(predicted, target))
    torch.testing.assert_close(accel_m_per_s2(predicted, target, 30, trim=True), errors[1:-1])
    time = torch.arange(7.0, dtype=torch.float64)[:, None, None]
    fall = torch.tensor([0, -0.5 * 9.81, 0]) * (time / 30) ** 2
    assert accel_m_per_s2(target + fall, target, 30).max() < 1e-9
    unaligned = accel_m_per_s2(target + fall, target, 30, pelvis=None)
    torch.testing.assert_close(unaligned, torch.full((5,), 9.81, dtype=torch.float64), rtol=1e-6, atol=0)
    torch.testing.assert_close(acceleration_m_per_s2(fall + target[:1], 30), unaligned)


def test_a_gap_leaves_out_every_triple_that_touches_it(pair) -> None:
    predicted, target = pair
    valid = torch.tensor([True, True, True, True, False, True, True])
    assert valid_triples(valid).tolist() == [True, True, False, False, False]
    spoilt = predicted.clone()
    spoilt[4] = 1e6
    seen = accel_mm_per_frame2(spoilt, target)[valid_triples(valid)]
    torch.testing.assert_close(seen, accel_mm_per_frame2(predicted, target)[:2])
    closed = accel_mm_per_frame2(spoilt[valid], target[valid])
    assert closed.shape == (4,) and closed.max() < 1e4


def test_the_pooled_mean_weighs_frames_not_sequences() -> None:
    assert pooled_mean([np.zeros(3), np.ones((1, 1))]) == 0.25
    assert np.isnan(pooled_mean([np.array([1.0, np.nan])]))
    with pytest.raises(ValueError, match="at least one"):
        pooled_mean([np.zeros(0)])
