"""Bootstrap intervals: known cases."""

from __future__ import annotations

import numpy as np
import pytest

from unimo.metrics.statistics import bootstrap_interval


def test_the_interval_is_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(1).normal(50, 10, 400)
    low, high = bootstrap_interval(values)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * 10 / 20, rel=0.15)
    assert bootstrap_interval(values) == (low, high)


def test_a_ratio_is_resampled_in_pairs() -> None:
    base = np.random.default_rng(2).uniform(1, 100, 50)
    assert bootstrap_interval(0.5 * base, base) == pytest.approx((0.5, 0.5))


def test_equal_values_are_sure_and_no_values_are_refused() -> None:
    assert bootstrap_interval(np.full(9, 3.0)) == (3.0, 3.0)
    with pytest.raises(ValueError, match="N >= 1"):
        bootstrap_interval(np.empty(0))
    with pytest.raises(ValueError, match="denominators"):
        bootstrap_interval(np.ones(3), np.ones(2))
