"""Distances between sets of features: known values, invariances, and what each number must react to."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from unimo.metrics.distributions import (
    constant_features,
    draw_pairs,
    frechet_distance,
    matching_distance,
    mean_pairwise_distance,
    multimodality,
    pair_distance,
    r_precision,
    z_scores,
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture
def sets() -> tuple[Tensor, Tensor]:
    mix = normal(6, 6, seed=9)
    return normal(90, 6) @ mix, 1.5 * normal(70, 6, seed=1) @ mix + 0.4


def test_fid_of_equal_sets_is_zero_and_it_is_symmetric(sets) -> None:
    first, second = sets
    assert abs(float(frechet_distance(first, first))) < 1e-6
    torch.testing.assert_close(frechet_distance(first, second), frechet_distance(second, first))
    assert float(frechet_distance(first, second)) > 0.5


def test_fid_of_a_shift_is_its_square_and_of_a_scale_that_of_the_deviations() -> None:
    samples = normal(50, 3)
    assert float(frechet_distance(samples, samples + torch.tensor([3.0, 0, 4]))) == pytest.approx(25)
    spread = float(samples.std(dim=0).square().sum())
    centred = samples - samples.mean(dim=0)
    assert float(frechet_distance(3 * centred, centred)) == pytest.approx(4 * spread)


def test_fid_knows_neither_order_nor_rotation_nor_common_shift_but_a_rotation_of_one(sets) -> None:
    first, second = sets
    distance = frechet_distance(first, second)
    turn, _ = torch.linalg.qr(normal(6, 6, seed=4))
    torch.testing.assert_close(frechet_distance(first.flip(0), second.roll(13, 0)), distance)
    torch.testing.assert_close(frechet_distance(first @ turn + 7, second @ turn + 7), distance)
    torch.testing.assert_close(frechet_distance(2 * first, 2 * second), 4 * distance)
    assert float(frechet_distance(first @ turn, second)) > 1.5 * float(distance)


def test_fid_is_the_formula_with_a_matrix_root(sets) -> None:
    first, second = (side.numpy() for side in sets)
    covariances = [np.cov(side, rowvar=False) for side in (first, second)]
    root = np.real(scipy.linalg.sqrtm(covariances[0] @ covariances[1]))
    shift = first.mean(0) - second.mean(0)
    expected = shift @ shift + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert float(frechet_distance(*sets)) == pytest.approx(expected, rel=1e-9)


def test_fid_with_fewer_samples_than_dimensions_is_real_finite_and_biased() -> None:
    few, many = normal(5, 20), normal(5000, 20, seed=2)
    assert 5 < float(frechet_distance(few, many)) < 40
    assert abs(float(frechet_distance(few, few))) < 1e-5
    with pytest.raises(ValueError, match="N and M >= 2"):
        frechet_distance(few[:1], many)


def test_fid_takes_leading_dimensions(sets) -> None:
    first, second = sets
    both = frechet_distance(torch.stack([first, 2 * first]), torch.stack([second, second]))
    torch.testing.assert_close(both[1], frechet_distance(2 * first, second))


def test_z_scores_of_the_true_set_have_unit_population_deviation(sets) -> None:
    first, second = sets
    scores = z_scores(second, second)
    torch.testing.assert_close(scores.mean(0), torch.zeros(6, dtype=torch.float64))
    torch.testing.assert_close(scores.square().mean(0), torch.ones(6, dtype=torch.float64))
    channels = torch.tensor([5.0, 0.1, 2, 30, 1, 1e3], dtype=torch.float64)
    torch.testing.assert_close(z_scores(first * channels + 3, second * channels + 3), z_scores(first, second))


def test_a_feature_constant_in_the_truth_explodes_with_a_warning_or_is_left_out(sets) -> None:
    first, second = (side.clone() for side in sets)
    second[:, 2] = 0.25
    assert constant_features(second).tolist() == [False, False, True, False, False, False]
    with pytest.warns(UserWarning, match=r"\[2\] are constant"):
        strict = z_scores(first, second)
    assert float(frechet_distance(strict, z_scores(second, second))) > 1e15
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept = [z_scores(side, second, drop_constant=True) for side in (first, second)]
        first[:, 2] = 0.25
        same = [z_scores(side, second) for side in (first, second)]
    assert kept[0].shape == (90, 5)
    torch.testing.assert_close(frechet_distance(*kept), frechet_distance(*same))


def test_mean_pairwise_distance_by_hand_and_its_invariances(sets) -> None:
    triangle = torch.tensor([[0.0, 0], [3, 0], [3, 4]])
    assert float(mean_pairwise_distance(triangle)) == pytest.approx(4)
    assert math.isnan(float(mean_pairwise_distance(triangle[:1])))
    first, _ = sets
    turn, _ = torch.linalg.qr(normal(6, 6, seed=4))
    spread = mean_pairwise_distance(first)
    torch.testing.assert_close(mean_pairwise_distance(first.flip(0) @ turn - 5), spread)
    torch.testing.assert_close(mean_pairwise_distance(2 * first), 2 * spread)
    assert mean_pairwise_distance(first[:1].expand(4, -1)) == 0


def test_diversity_of_the_truth_stays_below_the_bound() -> None:
    assert float(mean_pairwise_distance(z_scores(normal(200, 72), normal(200, 72)))) == pytest.approx(12, rel=0.03)


def test_pairs_are_two_draws_without_replacement() -> None:
    first, second = draw_pairs(300, 300, torch.Generator().manual_seed(3))
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(300)) and bool((first != second).any())
    again = draw_pairs(300, 300, torch.Generator().manual_seed(3))
    assert torch.equal(first, again[0]) and torch.equal(second, again[1])
    with pytest.raises(ValueError, match="301 of 300"):
        draw_pairs(300, 301, torch.Generator())


def test_diversity_and_multimodality_average_over_pairs() -> None:
    features = torch.tensor([[0.0, 0], [3, 4], [0, 1]])
    assert float(pair_distance(features, torch.tensor([0, 2]), torch.tensor([1, 2]))) == 2.5
    samples = torch.stack([features, 3 * features])
    assert float(multimodality(samples, torch.tensor([0, 0]), torch.tensor([1, 2]))) == pytest.approx(2 * (5 + 1) / 2)
    assert float(multimodality(samples + normal(2, 1, 2), torch.tensor([0]), torch.tensor([1]))) == pytest.approx(10)


def test_matching_distance_needs_the_right_order(sets) -> None:
    text, motion = normal(64, 8), normal(64, 8) + 0.1 * normal(64, 8, seed=5)
    assert float(matching_distance(text, motion)) < 0.4 < 2 < float(matching_distance(text, motion.roll(1, 0)))


def test_r_precision_counts_ranks_inside_a_batch() -> None:
    text = torch.arange(64.0)[:, None] * torch.tensor([1.0, 0])
    assert r_precision(text, text).tolist() == [1, 1, 1]
    swapped = text.clone()
    swapped[[0, 1]] = text[[1, 0]]
    shares = r_precision(text, swapped)
    assert shares.tolist() == [62 / 64, 1, 1]
    far = text.clone()
    far[5, 1] = 1e6
    assert r_precision(text, far).tolist() == [63 / 64] * 3
    torch.testing.assert_close(r_precision(text, far, top=32)[31], torch.tensor(1.0, dtype=torch.float64))


def test_r_precision_of_chance_and_what_it_ignores() -> None:
    text, motion = normal(3200, 4), normal(3200, 4, seed=8)
    shares = r_precision(text, motion)
    assert shares.tolist() == pytest.approx([1 / 32, 2 / 32, 3 / 32], abs=0.02)
    turn, _ = torch.linalg.qr(normal(4, 4, seed=4))
    torch.testing.assert_close(r_precision(3 * text @ turn + 1, 3 * motion @ turn + 1), shares)
    torch.testing.assert_close(r_precision(text[:70], motion[:70]), r_precision(text[:64], motion[:64]))
    with pytest.raises(ValueError, match="N >= 32"):
        r_precision(text[:31], motion[:31])
