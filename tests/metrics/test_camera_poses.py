"""Errors of cameras and points: known angles, and that only what cannot be known is forgiven."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from unimo.geometry.rotations import axis_angle_to_matrix
from unimo.metrics.camera_poses import aligned_point_errors, pose_auc, relative_pose_errors_deg


def poses(rotation: torch.Tensor, translation: torch.Tensor) -> torch.Tensor:
    matrix = torch.eye(4, dtype=torch.float64).repeat(*rotation.shape[:-1], 1, 1)
    matrix[..., :3, :3], matrix[..., :3, 3] = axis_angle_to_matrix(rotation.double()), translation
    return matrix


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    """Predicted and true world-to-camera poses (2, 6, 4, 4)."""
    generator = torch.Generator().manual_seed(0)
    turns, places = (torch.randn(2, 6, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    noise = [0.15 * torch.randn(2, 6, 3, generator=generator, dtype=torch.float64) for _ in range(2)]
    return poses(noise[0], noise[1]) @ poses(turns, places), poses(turns, places)


def transform(rotation: list[float], translation: list[float]) -> torch.Tensor:
    return poses(torch.tensor(rotation), torch.tensor(translation, dtype=torch.float64))


def test_known_errors() -> None:
    still = [0.0, 0, 0]
    true = torch.stack([transform(still, still), transform(still, [1, 0, 0]), transform(still, [0, 1, 0])])
    ours = true.clone()
    ours[1] = transform([0, 0, math.radians(20)], [1, 0, 0])
    rotation, translation = relative_pose_errors_deg(ours, true)
    assert rotation.tolist() == pytest.approx([20, 0, 20], abs=1e-6)
    # 0 to 1: -R^T (1, 0, 0) has turned by 20°; 1 to 2: from (1, -1) to (1, 0) - R (0, 1)
    between = math.degrees(math.atan2(-math.cos(math.radians(20)), 1 + math.sin(math.radians(20)))) + 45
    assert translation.tolist() == pytest.approx([20, 0, abs(between)], abs=1e-6)


def test_translations_have_no_sign_and_none_is_as_wrong_as_can_be() -> None:
    true = torch.stack([transform([0, 0, 0], [0, 0, 0]), transform([0, 0, 0], [0, 0, 2])])
    for place, error in (([0.0, 0, -5], 0), ([0.0, 3, 0], 90), ([0.0, 1, -1], 45), ([0.0, 0, 0], 90)):
        ours = torch.stack([true[0], transform([0, 0, 0], place)])
        assert float(relative_pose_errors_deg(ours, true)[1]) == pytest.approx(error, abs=2e-6)


def test_scene_may_be_moved_rigidly_and_scaled_on_either_side(pair) -> None:
    ours, true = pair
    before = relative_pose_errors_deg(ours, true)
    assert before[0].shape == (2, 15) and before[0].min() > 1
    world = transform([0.4, -1.1, 0.3], [5, -2, 1])
    larger = torch.cat([ours[..., :3], ours[..., 3:] * torch.tensor([[7], [7], [7], [1]])], -1)
    for changed in ((ours @ world, true), (ours, true @ world), (larger, true), (ours @ world, true @ world @ world)):
        for value, expected in zip(relative_pose_errors_deg(*changed), before, strict=True):
            torch.testing.assert_close(value, expected, rtol=0, atol=1e-5)


def test_a_move_of_each_camera_in_its_own_axes_is_not_forgiven(pair) -> None:
    ours, true = pair
    turned = transform([0, 0.3, 0], [0, 0, 0]) @ ours
    before, after = (relative_pose_errors_deg(side, true)[1] for side in (ours, turned))
    assert (before - after).abs().mean() > 3


def test_sides_may_be_exchanged_and_batches_are_apart(pair) -> None:
    ours, true = pair
    values = relative_pose_errors_deg(ours, true)
    for value, other in zip(values, relative_pose_errors_deg(true, ours), strict=True):
        torch.testing.assert_close(value, other)
    for value, other in zip(values, relative_pose_errors_deg(ours[1], true[1]), strict=True):
        torch.testing.assert_close(value[1], other)
    assert max(float(error.max()) for error in relative_pose_errors_deg(true, true)) < 1e-5


def test_auc_is_the_mean_of_the_histogram_s_shares() -> None:
    rotation = torch.tensor([0.0, 0.5, 2.0, 29.9, 30.0, 30.1, 170.0])
    translation = torch.tensor([0.0, 2.5, 1.0, 3.0, 2.0, 1.0, 90.0])
    worst = torch.maximum(rotation, translation).numpy()
    for limit in (3, 30):
        counts, _ = np.histogram(worst, bins=np.arange(limit + 1))
        assert float(pose_auc(rotation, translation, limit)) == pytest.approx(np.cumsum(counts / 7).mean())
    # an error of 2 is not below 2, but counts as below 3; at the last threshold equality counts
    assert float(pose_auc(torch.tensor([2.0]), torch.tensor([0.0]), 3)) == pytest.approx(1 / 3)
    assert float(pose_auc(torch.tensor([3.0]), torch.tensor([0.0]), 3)) == pytest.approx(1 / 3)
    assert pose_auc(torch.zeros(4, 5), torch.zeros(4, 5)).tolist() == [1] * 4
    assert pose_auc(torch.zeros(0), torch.zeros(0)).isnan()


def test_points_may_be_moved_and_scaled_but_not_mirrored() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(3, 30, 3, generator=generator, dtype=torch.float64)
    ours = target + 0.05 * torch.randn(target.shape, generator=generator, dtype=torch.float64)
    errors = aligned_point_errors(ours, target)
    assert errors.shape == (3, 30) and 0.05 < errors.mean() < 0.1
    moved = 0.2 * ours @ transform([1, 2, -0.5], [0, 0, 0])[:3, :3] + torch.tensor([4.0, 5, 6])
    torch.testing.assert_close(aligned_point_errors(moved, target), errors)
    torch.testing.assert_close(aligned_point_errors(moved, 10 * target), 10 * errors)
    assert aligned_point_errors(moved, target, with_scale=False).mean() > 1
    torch.testing.assert_close(
        aligned_point_errors(5 * moved, target, with_scale=False), aligned_point_errors(ours, target, with_scale=False)
    )
    assert aligned_point_errors(ours * torch.tensor([1, 1, -1]), target).mean() > 0.5


def test_shapes_that_do_not_fit_are_refused(pair) -> None:
    ours, true = pair
    for sides in ((ours[:, :5], true), (ours[..., :3, :], true[..., :3, :]), (ours[0, 0], true[0, 0])):
        with pytest.raises(ValueError, match="two sets of poses"):
            relative_pose_errors_deg(*sides)
    with pytest.raises(ValueError, match="two point sets"):
        aligned_point_errors(ours[..., 0], true[..., :1])
