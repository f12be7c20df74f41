"""Rotary positions: what a rotation keeps, and what the variants change. The reference's numbers: tests/evaluation."""

from __future__ import annotations

import math

import pytest
import torch

from ar_model.rope import Yarn, rope_tables, rope_tables_1d, rotate, rotate_pairs

PLACES = torch.tensor([[0.0, 0, 0], [0, 1, 2], [3, 4, 5]])
KNOWN = torch.ones(3, dtype=torch.bool)


@pytest.mark.parametrize("adjacent", [False, True])
def test_one_dimensional_scores_depend_on_the_distance_only(adjacent: bool) -> None:
    cos, sin = rope_tables_1d(9, 8, 100.0, adjacent=adjacent)
    turn = rotate_pairs if adjacent else rotate
    query, key = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    scores = turn(query.expand(9, 8), cos, sin) @ turn(key.expand(9, 8), cos, sin).T
    for distance in range(-4, 5):
        diagonal = scores.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-5, rtol=0)
    assert (scores[0, 1] - scores[0, 0]).abs() > 1e-2


def test_adjacent_pairs_turn_together() -> None:
    cos, sin = rope_tables_1d(4, 6, 100.0, adjacent=True)
    turned = rotate_pairs(torch.tensor([1.0, 0, 1, 0, 1, 0]).expand(4, 6), cos, sin)
    angles = torch.outer(torch.arange(4.0), 100.0 ** (-torch.arange(0, 6, 2) / 6))
    torch.testing.assert_close(turned[:, 0::2], angles.cos())
    torch.testing.assert_close(turned[:, 1::2], angles.sin())


def test_yarn_slows_slow_frequencies_and_keeps_fast_ones() -> None:
    yarn = Yarn(scale=2, beta_fast=4, beta_slow=1, extent=(10, 20))
    fast, slow = 2 * math.pi * 4 / 20, 2 * math.pi / 20
    stretched = yarn.stretch(torch.tensor([fast + 1, fast, (fast + slow) / 2, slow, slow / 9]), axis=2)
    middle = (fast + slow) / 2 * 0.75
    torch.testing.assert_close(stretched, torch.tensor([fast + 1, fast, middle, slow / 2, slow / 18]))
    assert yarn.magnitude == pytest.approx(1 + 0.1 * math.log(2))
    assert Yarn(0.5, 4, 1, (10,)).magnitude == 1


def test_yarn_reads_time_and_space_apart() -> None:
    plain = rope_tables(PLACES, KNOWN, 12, 500.0)[1]
    long_time = rope_tables(PLACES, KNOWN, 12, 500.0, Yarn(2, 4, 1, (10**6, 1)))[1]
    changed = (long_time - plain).abs()[2] > 1e-4
    assert changed.tolist() == [False, False, True, True, True, True] * 2  # rows and columns, by their own extent


@pytest.mark.parametrize("numbers", [(0, 4, 1, (9,)), (2, 1, 1, (9,)), (2, 4, 1, ()), (2, 4, 1, (9, 0))])
def test_impossible_yarn_is_refused(numbers: tuple) -> None:
    with pytest.raises(ValueError, match="YaRN needs"):
        Yarn(*numbers)
