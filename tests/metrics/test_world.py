"""World metrics: what each forgets, what it must not forget, and values worked out by hand."""

from __future__ import annotations

import math

import pytest
import roma
import torch
from torch import Tensor

from unimo.metrics.world import (
    foot_slide_mm_per_frame,
    foot_sliding_mm,
    jitter_10_m_per_s3,
    rte_percent,
    w_mpjpe_mm,
    wa_mpjpe_mm,
)

FRAMES = 130
FORWARD = torch.tensor([1.0, 0, 0], dtype=torch.float64)


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    """A body of 24 joints that walks in a curve, and a noisy copy."""
    generator = torch.Generator().manual_seed(1)
    time = torch.linspace(0, 4, FRAMES, dtype=torch.float64)[:, None]
    path = torch.cat([time, 0 * time + 1, torch.sin(time)], dim=1)
    body = 0.4 * torch.randn(1, 24, 3, generator=generator, dtype=torch.float64)
    target = path[:, None] + body
    return target + 0.02 * torch.randn(FRAMES, 24, 3, generator=generator, dtype=torch.float64), target


def moved(joints: Tensor, scale: float = 1.0) -> Tensor:
    turn = roma.rotvec_to_rotmat(torch.tensor([0.3, 1.2, -0.4], dtype=torch.float64))
    return scale * joints @ turn.T + torch.tensor([3.0, -2, 5], dtype=torch.float64)


@pytest.mark.parametrize("metric", [w_mpjpe_mm, wa_mpjpe_mm])
def test_world_errors_forget_a_similarity_of_the_prediction_but_not_a_mirror(metric, pair) -> None:
    predicted, target = pair
    torch.testing.assert_close(metric(moved(predicted, 1.3), target), metric(predicted, target))
    assert metric(moved(target, 0.7), target).max() < 1e-6
    assert metric(target * torch.tensor([1.0, 1, -1]), target).mean() > 50


@pytest.mark.parametrize("metric", [w_mpjpe_mm, wa_mpjpe_mm])
def test_world_errors_scale_with_the_truth(metric, pair) -> None:
    predicted, target = pair
    torch.testing.assert_close(metric(predicted, moved(target, 2.0)), 2 * metric(predicted, target))


def test_w_mpjpe_counts_later_drift_in_full_and_wa_spreads_it(pair) -> None:
    _, target = pair
    drift = torch.zeros(FRAMES, 1, 3, dtype=torch.float64)
    drift[2:100, 0, 0] = 0.1
    errors = w_mpjpe_mm(target + drift, target)
    torch.testing.assert_close(errors[2:100], torch.full((98,), 100.0, dtype=torch.float64))
    assert errors[:2].max() < 1e-6
    assert w_mpjpe_mm(target + drift.roll(-1, 0), target)[0] > 10  # the second frame is fitted as well
    spread = wa_mpjpe_mm(target + drift, target)
    assert 0 < spread[2:100].mean() < 50 and spread[:2].min() > 1
    assert spread[100:].max() < 1e-6


def test_each_chunk_is_aligned_by_itself(pair) -> None:
    predicted, target = pair
    offset = torch.zeros(FRAMES, 1, 3, dtype=torch.float64)
    offset[100:] = 7
    for metric in (w_mpjpe_mm, wa_mpjpe_mm):
        torch.testing.assert_close(metric(predicted + offset, target), metric(predicted, target))
        assert metric(predicted + offset, target, chunk=FRAMES).max() > 1000
        parts = [metric(predicted[rows], target[rows]) for rows in (slice(0, 100), slice(100, None))]
        torch.testing.assert_close(metric(predicted, target), torch.cat(parts))


@pytest.mark.parametrize("metric", [w_mpjpe_mm, wa_mpjpe_mm])
def test_a_last_chunk_of_one_frame_and_leading_dimensions_work(metric, pair) -> None:
    predicted, target = (side[:101] for side in pair)
    assert bool(metric(predicted, target).isfinite().all())
    stacked = metric(torch.stack([predicted, target]), torch.stack([target, target]))
    torch.testing.assert_close(stacked[0], metric(predicted, target))
    assert stacked.shape == (2, 101) and stacked[1].max() < 1e-6


def test_rte_forgets_a_rigid_map_but_not_the_scale(pair) -> None:
    predicted, target = (side[:, 0] for side in pair)
    torch.testing.assert_close(rte_percent(moved(predicted), target), rte_percent(predicted, target))
    assert rte_percent(moved(target), target).max() < 1e-6
    assert rte_percent(1.2 * target, target).mean() > 1


def test_rte_is_a_share_of_the_true_path() -> None:
    target = torch.linspace(0, 4, 9, dtype=torch.float64)[:, None] * FORWARD
    expected = 100 * (target[:, 0] - 2).abs() / 4  # twice as long, laid middle on middle
    torch.testing.assert_close(rte_percent(2 * target, target), expected)
    torch.testing.assert_close(rte_percent(6 * target, 3 * target), expected)
    assert not bool(rte_percent(target, torch.zeros_like(target)).isfinite().any())


def test_jitter_sees_no_quadratic_motion_and_has_its_unit() -> None:
    time = torch.arange(12, dtype=torch.float64)[:, None, None] / 30
    joints = torch.randn(1, 5, 3, dtype=torch.float64)
    quadratic = joints + 3 * time + 7 * time**2
    assert jitter_10_m_per_s3(quadratic, 30).max() < 1e-6
    cubic = joints + 2 * time**3 * FORWARD  # a jerk of 12 m/s³
    torch.testing.assert_close(jitter_10_m_per_s3(cubic, 30), torch.full((9,), 1.2, dtype=torch.float64))
    torch.testing.assert_close(jitter_10_m_per_s3(cubic, 60), torch.full((9,), 9.6, dtype=torch.float64))


def test_jitter_forgets_a_rigid_map_but_not_the_scale(pair) -> None:
    predicted, _ = pair
    jitter = jitter_10_m_per_s3(predicted, 30)
    torch.testing.assert_close(jitter_10_m_per_s3(moved(predicted), 30), jitter)
    torch.testing.assert_close(jitter_10_m_per_s3(moved(predicted, 2.0), 30), 2 * jitter)


def test_sliding_counts_only_feet_that_truly_stand() -> None:
    time = torch.arange(5, dtype=torch.float64)
    target = torch.zeros(5, 2, 3, dtype=torch.float64)
    target[:, 1, 0] = 0.02 * time  # the second foot walks: 20 mm a frame
    predicted = target.clone()
    predicted[:, 0, 2] += 0.003 * time
    predicted[:, 1, 2] += 1.0 * time
    torch.testing.assert_close(foot_sliding_mm(predicted, target), torch.full((4,), 3.0, dtype=torch.float64))
    assert foot_sliding_mm(predicted, target, still_mm=25).shape == (8,)
    assert float(foot_slide_mm_per_frame(predicted, target)) == pytest.approx(3)
    assert math.isnan(float(foot_slide_mm_per_frame(predicted, target, still_mm=0)))


def test_sliding_forgets_a_rigid_map_of_the_prediction(pair) -> None:
    predicted, target = pair
    target = target - target[:, :1]
    torch.testing.assert_close(foot_sliding_mm(moved(predicted), target), foot_sliding_mm(predicted, target))
    order = foot_sliding_mm(predicted, target, still_mm=1e9).view(FRAMES - 1, 24)
    torch.testing.assert_close(order, 1000 * predicted.diff(dim=0).norm(dim=-1))
