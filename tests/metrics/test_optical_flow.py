"""Errors of optical flow: known numbers, pooling, and what must not matter."""

from __future__ import annotations

import math

import pytest
import torch

from unimo.metrics.optical_flow import end_point_errors_px, kitti_outliers_percent, mean_epe_px, share_below_px


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = 4 * torch.randn(3, 5, 6, 2, generator=generator)
    return target + torch.randn(target.shape, generator=generator), target


def test_known_numbers() -> None:
    target = torch.tensor([[[100.0, 0.0], [0.0, 10.0]], [[0.0, 0.0], [0.0, 200.0]]])
    predicted = target + torch.tensor([[[3.0, 4.0], [0.0, 1.0]], [[0.0, 0.0], [-6.0, 8.0]]])
    errors = end_point_errors_px(predicted, target)
    assert errors.tolist() == [[5, 1], [0, 10]]
    assert mean_epe_px(errors) == 4
    assert share_below_px(errors) == 0.25  # strictly: 1 is not below 1
    assert share_below_px(errors, 1.01) == 0.5
    # 5 of 100 is 5 %, not more; 10 of 200 neither
    assert kitti_outliers_percent(errors, target) == 0
    assert kitti_outliers_percent(errors, 0.99 * target) == 50
    assert kitti_outliers_percent(torch.tensor([3.0, 3.01]), torch.ones(2, 2)) == 50


def test_pooled_over_pixels_not_pictures(pair) -> None:
    ours, true = pair
    errors = end_point_errors_px(ours, true)
    valid = torch.zeros_like(errors, dtype=torch.bool)
    valid[0] = valid[1, 0, 0] = True
    kept = torch.cat([errors[0].flatten(), errors[1, 0, :1]])
    assert mean_epe_px(errors, valid) == pytest.approx(float(kept.mean()))
    assert share_below_px(errors, 1.5, valid) == pytest.approx(float((kept < 1.5).double().mean()))
    assert kitti_outliers_percent(errors, true, valid & False) != kitti_outliers_percent(errors, true, valid)
    assert math.isnan(mean_epe_px(errors, valid & False)) and math.isnan(share_below_px(errors, 1, valid & False))


def test_symmetries_it_must_have_and_must_not_have(pair) -> None:
    ours, true = pair
    errors = end_point_errors_px(ours, true)
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    same = [(true, ours), (ours @ turn.T, true @ turn.T), (ours.flip(-1), true.flip(-1)), (ours + 9, true + 9)]
    for one, two in same:
        torch.testing.assert_close(end_point_errors_px(one, two), errors, rtol=0, atol=1e-5)
    torch.testing.assert_close(end_point_errors_px(2 * ours, 2 * true), 2 * errors)
    for one in (ours + 0.5, 1.1 * ours, ours.flip(-1)):
        assert (end_point_errors_px(one, true) - errors).abs().mean() > 0.1


def test_shapes_that_do_not_fit_are_refused(pair) -> None:
    ours, true = pair
    with pytest.raises(ValueError, match="one shape"):
        end_point_errors_px(ours[:1], true)
    with pytest.raises(ValueError, match="one shape"):
        end_point_errors_px(ours.movedim(-1, 0), true.movedim(-1, 0))
    with pytest.raises(ValueError, match="bool mask"):
        mean_epe_px(ours[..., 0], torch.ones(2, dtype=torch.bool))
    with pytest.raises(ValueError, match="bool mask"):
        share_below_px(ours[..., 0], 1, torch.ones(3, 5, 6))
