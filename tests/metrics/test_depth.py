"""Errors of depth: known numbers, holes, and what alignment must and must not forgive."""

from __future__ import annotations

import math

import pytest
import torch

from unimo.metrics.depth import (
    abs_rel,
    align_disparity,
    depth_rmse_m,
    fit_disparity,
    mean_of_frames,
    share_within_ratio,
    valid_depth,
)

SCORES = (depth_rmse_m, abs_rel, share_within_ratio)


@pytest.fixture
def clip() -> tuple[torch.Tensor, torch.Tensor]:
    """Predicted disparity and true depth (2, 4, 6, 7), metres, with holes, far sky and a frame without anything."""
    generator = torch.Generator().manual_seed(0)
    target = 1 + 6 * torch.rand(2, 4, 6, 7, generator=generator, dtype=torch.float64)
    disparity = 3 / target + 0.4 + 0.1 * torch.rand(target.shape, generator=generator, dtype=torch.float64)
    target[:, :, 0, :2] = 0
    target[:, :, 1, 0] = torch.nan
    target[:, :, 2, 3] = 500
    target[0, 2] = torch.nan
    return disparity, target


def aligned_scores(disparity: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    ours, *_ = align_disparity(disparity, target, 50)
    return torch.stack([mean_of_frames(score(ours, target, valid_depth(target, 50))) for score in SCORES])


def test_known_numbers() -> None:
    target = torch.tensor([[[2.0, 4.0], [1.0, 0.0]]])
    predicted = torch.tensor([[[2.5, 3.0], [1.0, 9.0]]])
    valid = valid_depth(target, 10)
    assert valid.tolist() == [[[True, True], [True, False]]]
    assert depth_rmse_m(predicted, target, valid).tolist() == pytest.approx([math.sqrt(1.25 / 3)])
    assert abs_rel(predicted, target, valid).tolist() == pytest.approx([0.5 / 3])
    # strictly: 2.5 / 2 is not below 1.25
    assert share_within_ratio(predicted, target, valid).tolist() == pytest.approx([1 / 3])
    assert share_within_ratio(predicted, target, valid, 1.26).tolist() == pytest.approx([2 / 3])
    assert share_within_ratio(predicted, target, valid, 1.25**2).tolist() == [1]


def test_limits_of_what_is_scored_are_strict() -> None:
    depth = torch.tensor([0.001, 0.0011, 69.9, 70.0, math.nan, math.inf, -1], dtype=torch.float64)
    assert valid_depth(depth, 70).tolist() == [False, True, True, False, False, False, False]


def test_frames_count_alike_however_many_pixels_they_have() -> None:
    target = torch.ones(3, 2, 2)
    predicted = target.clone()
    predicted[0] = 1.5
    valid = torch.ones(3, 2, 2, dtype=torch.bool)
    valid[0, 0] = valid[0, 1, 0] = False
    valid[2] = False
    values = abs_rel(predicted, target, valid)
    assert values[:2].tolist() == [0.5, 0] and values[2].isnan()
    assert float(mean_of_frames(values)) == 0.25  # not 0.1, the mean over pixels
    assert mean_of_frames(values[2:]).isnan()


def test_what_lies_off_the_mask_does_not_matter(clip) -> None:
    disparity, target = clip
    valid = valid_depth(target, 50)
    wild = torch.where(valid, disparity, torch.inf)
    for score in SCORES:
        torch.testing.assert_close(score(1 / wild, target, valid), score(1 / disparity, target, valid), equal_nan=True)
    wild = torch.where(valid, disparity, 77.0)
    torch.testing.assert_close(aligned_scores(wild, target), aligned_scores(disparity, target))


def test_a_perfect_prediction(clip) -> None:
    _, target = clip
    valid = valid_depth(target, 50)
    perfect = torch.where(valid, 1 / target, 0.3)
    ours, scale, shift = align_disparity(perfect, target, 50)
    torch.testing.assert_close(ours[valid], target[valid], rtol=1e-6, atol=0)
    torch.testing.assert_close(scale, torch.ones_like(scale), rtol=1e-6, atol=0)
    torch.testing.assert_close(shift, torch.zeros_like(shift), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("scale", "shift"), [(3.0, 0.0), (0.2, 0.0), (1.0, 4.0), (0.5, 0.7)])
def test_alignment_forgives_scale_and_shift_of_the_disparity_and_plain_depth_does_not(clip, scale, shift) -> None:
    disparity, target = clip
    valid = valid_depth(target, 50)
    changed = scale * disparity + shift
    torch.testing.assert_close(aligned_scores(changed, target), aligned_scores(disparity, target))
    near = (disparity - 0.4) / 3
    for score in SCORES:
        before, after = (mean_of_frames(score(1 / side, target, valid)) for side in (near, scale * near + shift))
        assert (before - after).abs().min() > 0.1


def test_alignment_does_not_forgive_a_scale_of_its_own_for_every_frame_nor_an_inverted_prediction(clip) -> None:
    disparity, target = clip
    rates = torch.tensor([0.5, 1, 2, 4], dtype=torch.float64)[:, None, None]
    assert (aligned_scores(disparity * rates, target)[1] > 2 * aligned_scores(disparity, target)[1]).all()
    assert (aligned_scores(1 / disparity, target)[1] > aligned_scores(disparity, target)[1]).all()


def test_each_clip_of_a_batch_is_fitted_by_itself(clip) -> None:
    disparity, target = clip
    together = aligned_scores(disparity * torch.tensor([1.0, 9.0])[:, None, None, None], target)
    for index in range(2):
        torch.testing.assert_close(together[:, index], aligned_scores(disparity[index], target[index]))


def test_the_fit_is_least_squares_in_inverse_depth(clip) -> None:
    disparity, target = clip
    valid = valid_depth(target, 50)
    scale, shift = fit_disparity(disparity, target, valid)
    for index in range(2):
        x, y = disparity[index][valid[index]], 1 / target[index][valid[index]]
        solved = torch.linalg.lstsq(torch.stack([x, torch.ones_like(x)], 1), y[:, None]).solution
        assert [float(scale[index]), float(shift[index])] == pytest.approx(solved[:, 0].tolist(), rel=1e-6)


def test_clipping_of_prediction_disparity_and_depth() -> None:
    target = torch.tensor([[[1.0, 2.0, 4.0, 8.0]]], dtype=torch.float64)
    exact = align_disparity(1 / target, target, 5)[0]  # 8 m is not scored but still clipped
    assert exact[0, 0].tolist() == pytest.approx([1, 2, 4, 5], rel=1e-6)
    below = torch.tensor([[[1.0, 0.5, 0.25, -100.0]]], dtype=torch.float64)
    at_limit = torch.tensor([[[1.0, 0.5, 0.25, 1e-3]]], dtype=torch.float64)
    for ours, other in zip(align_disparity(below, target, 9), align_disparity(at_limit, target, 9), strict=True):
        assert torch.equal(ours, other)
    assert align_disparity(1 / target, target, 5, least_disparity=0.6)[0].max() <= 1 / 0.6 + 1e-9


def test_a_constant_prediction_becomes_the_mean_and_an_empty_clip_nan() -> None:
    target = torch.tensor([[[1.0, 2.0]]], dtype=torch.float64)
    ours, scale, shift = align_disparity(torch.full_like(target, 0.3), target, 10)
    assert float(scale) == 0 and float(shift) == pytest.approx(0.75)
    assert ours.flatten().tolist() == pytest.approx([1 / 0.75] * 2)
    _, scale, shift = align_disparity(target, torch.zeros_like(target), 10)
    assert scale.isnan() and shift.isnan()
    assert aligned_scores(target, torch.zeros_like(target)).isnan().all()


@pytest.mark.parametrize("score", [*SCORES, fit_disparity])
def test_shapes_that_differ_and_masks_of_numbers_are_refused(score) -> None:
    depth = torch.ones(2, 3, 4)
    with pytest.raises(ValueError, match="one shape"):
        score(depth[:1], depth, depth > 0)
    with pytest.raises(ValueError, match="one shape"):
        score(depth, depth, depth[:1] > 0)
    with pytest.raises(ValueError, match="bool mask"):
        score(depth, depth, depth)
