"""Pose metrics: invariances, exact values, and the numbers of the reference implementations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import roma
import torch

from unimo.metrics.pose import (
    accel_mm_per_frame2,
    codebook_use,
    drift_mm,
    joint_speed_m_per_s,
    mpjpe_mm,
    pa_mpjpe_mm,
    rotation_error_deg,
    translation_error_m,
)

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


def test_codebook_use_counts_different_ids() -> None:
    data = fixture("codebook_usage")
    assert codebook_use(data["in_indices"], 512) == pytest.approx(float(data["out_utilisation"]))
    assert codebook_use(torch.zeros(2, 3, 4, dtype=torch.int64), 8) == 1 / 8
