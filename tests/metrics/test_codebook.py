"""Use of a codebook: exact counts, the entropy of known distributions, and what must not matter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from unimo.metrics.codebook import codebook_perplexity, codebook_use

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures" / "metrics" / "codebook_usage.npz"


def test_the_reference_number_of_use() -> None:
    with np.load(FIXTURE, allow_pickle=False) as data:
        ids = torch.from_numpy(data["in_indices"])
        assert codebook_use(ids, 512) == pytest.approx(float(data["out_utilisation"]))


def test_use_counts_different_ids() -> None:
    assert codebook_use(torch.zeros(2, 3, 4, dtype=torch.int64), 8) == 1 / 8
    assert codebook_use(torch.arange(8).repeat(3), 8) == 1


def test_perplexity_is_the_number_of_codes_of_an_even_use() -> None:
    assert codebook_perplexity(torch.full((2, 7), 5), 512) == pytest.approx(1)
    assert codebook_perplexity(torch.arange(6).repeat(4, 9), 512) == pytest.approx(6)
    shares = torch.tensor([0] * 3 + [1])
    assert codebook_perplexity(shares, 4) == pytest.approx(4 / 3**0.75)


def test_perplexity_pools_and_knows_neither_order_nor_names() -> None:
    ids = torch.randint(40, (6, 50), generator=torch.Generator().manual_seed(0))
    whole = codebook_perplexity(ids, 64)
    assert codebook_perplexity(ids.flatten().flip(0), 64) == pytest.approx(whole)
    assert codebook_perplexity(63 - ids, 64) == pytest.approx(whole)
    assert codebook_perplexity(ids, 4096) == pytest.approx(whole)
    assert codebook_perplexity(ids[0], 64) < whole <= 40


@pytest.mark.parametrize("ids", [torch.zeros(0, dtype=torch.int64), torch.tensor([8]), torch.tensor([-1])])
def test_ids_outside_the_codebook_are_refused(ids: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="at least one id"):
        codebook_perplexity(ids, 8)


def test_a_small_number_in_the_logarithm_lowers_the_perplexity_a_little() -> None:
    ids = torch.arange(100).repeat(5)
    assert 0 < 100 - codebook_perplexity(ids, 512, 1e-7) == pytest.approx(1e-3, rel=0.01)
