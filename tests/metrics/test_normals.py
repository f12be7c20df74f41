"""Errors of normals in degrees: known angles, signs and lengths, pooling."""

from __future__ import annotations

import math

import pytest
import torch

from unimo.geometry.rotations import axis_angle_to_matrix
from unimo.metrics.normals import normal_angles_deg, normal_scores


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.nn.functional.normalize(torch.randn(2, 5, 6, 3, generator=generator), dim=-1)
    return target + 0.3 * torch.randn(target.shape, generator=generator), target


@pytest.mark.parametrize("angle", [0.0, 1e-4, 0.5, 11.25, 90, 179.9999, 180])
def test_known_angles(angle: float) -> None:
    turn = math.radians(angle)
    ours = torch.tensor([math.sin(turn), 0, math.cos(turn)], dtype=torch.float64)
    assert float(normal_angles_deg(ours, torch.tensor([0.0, 0, 1]).double())) == pytest.approx(angle, abs=2e-6)


def test_lengths_do_not_matter_and_signs_do(pair) -> None:
    ours, true = pair
    angles = normal_angles_deg(ours, true)
    torch.testing.assert_close(normal_angles_deg(7 * ours, 0.1 * true), angles, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(normal_angles_deg(-ours, true), 180 - angles)
    torch.testing.assert_close(normal_angles_deg(true, ours), angles)
    one_axis = ours * torch.tensor([1, 1, -1])
    assert (normal_angles_deg(one_axis, true) - angles).abs().mean() > 10


def test_both_may_be_turned_but_not_one(pair) -> None:
    ours, true = pair
    turn = axis_angle_to_matrix(torch.tensor([0.3, -0.8, 0.4]))
    angles = normal_angles_deg(ours, true)
    torch.testing.assert_close(normal_angles_deg(ours @ turn.T, true @ turn.T), angles, rtol=0, atol=1e-4)
    assert (normal_angles_deg(ours @ turn.T, true) - angles).abs().mean() > 10


def test_a_normal_of_length_zero_is_not_right() -> None:
    assert float(normal_angles_deg(torch.zeros(3), torch.tensor([0.0, 0, 1]))) == 90


def test_scores_are_pooled_and_strict() -> None:
    angles = torch.tensor([[0.0, 11.25], [22.5, 40.0]])
    scores = normal_scores(angles)
    assert scores["mean_deg"] == pytest.approx(73.75 / 4)
    assert scores["median_deg"] == pytest.approx((11.25 + 22.5) / 2)
    assert scores["rmse_deg"] == pytest.approx(math.sqrt((11.25**2 + 22.5**2 + 1600) / 4))
    assert [scores[f"within_{limit}_percent"] for limit in ("11.25", "22.5", "30")] == [25, 50, 75]
    assert normal_scores(angles, within=[11.26])["within_11.26_percent"] == 50
    # pictures of different masks count by pixels
    mask = torch.tensor([[True, False], [True, True]])
    scores = normal_scores(angles, mask)
    assert scores["mean_deg"] == pytest.approx(62.5 / 3) and scores["median_deg"] == 22.5
    assert all(math.isnan(value) for value in normal_scores(angles, mask & False).values())


def test_shapes_that_do_not_fit_are_refused(pair) -> None:
    ours, true = pair
    with pytest.raises(ValueError, match="one shape"):
        normal_angles_deg(ours[:1], true)
    with pytest.raises(ValueError, match="one shape"):
        normal_angles_deg(ours[..., :2], true[..., :2])
    with pytest.raises(ValueError, match="not of the angles' shape"):
        normal_scores(ours[..., 0], torch.ones(3, dtype=torch.bool))
