"""All cases of the metric fixtures on bodies, motions and their features, by the index's name of the metric."""

from __future__ import annotations

from unimo.evaluation import fixture_cases_body, fixture_cases_features
from unimo.evaluation.fixture_cases_body import Case

CASES: dict[str, Case] = {**fixture_cases_body.CASES, **fixture_cases_features.CASES}
"""Metric of the index → case: (inputs, params, entry of the index) → outputs by name."""
