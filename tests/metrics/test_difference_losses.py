"""Duolando's L1 terms, by hand."""

from __future__ import annotations

import pytest
import torch

from unimo.metrics.difference_losses import l1_differences


def test_the_terms_of_a_quadratic_error() -> None:
    time = torch.arange(4.0)[:, None]
    target = torch.randn(2, 4, 3, dtype=torch.float64)
    predicted = target + 0.5 * time**2
    values, velocity, acceleration = l1_differences(predicted, target)
    assert float(values) == pytest.approx(0.5 * 14 / 4)
    assert float(velocity) == pytest.approx(0.5 * (1 + 3 + 5) / 3)
    assert float(acceleration) == pytest.approx(1)


def test_a_constant_error_has_no_differences() -> None:
    target = torch.randn(2, 5, 3, dtype=torch.float64)
    assert [round(float(term), 9) for term in l1_differences(target - 0.2, target)] == [0.2, 0, 0]
    with pytest.raises(ValueError, match="T >= 3"):
        l1_differences(target[:, :2], target[:, :2])
