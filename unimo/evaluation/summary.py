"""Numbers of many clips → the flat dictionary that evaluations return: means, 95 % intervals, baselines, ratios."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from unimo.metrics.statistics import bootstrap_interval

Numbers = dict[str, Any]
UNITS = ("_10_m_per_s3", "_mm_per_frame2", "_m_per_s2", "_m_per_s", "_deg", "_mm", "_m", "_db", "_nats", "_percent")


def summarize(per_clip: Mapping[str, np.ndarray | Tensor]) -> Numbers:
    """Means over clips, and under `interval95.` their bootstrap intervals; values (N,) or (N, samples).

    Clips without a value (NaN, such as the PSNR in an empty mask) are left out; None stands where no clip has one.
    """
    numbers: Numbers = {}
    intervals: Numbers = {}
    for key, values in per_clip.items():
        known = _known(_clip_means(values))
        numbers[key] = float(known.mean()) if len(known) else None
        intervals[f"interval95.{key}"] = list(bootstrap_interval(known)) if len(known) else None
    return numbers | intervals


def ratios(
    per_clip: Mapping[str, np.ndarray | Tensor], baseline: Mapping[str, np.ndarray | Tensor], name: str
) -> Numbers:
    """For every key of both: `ratio_to_<name>.<key without unit>`, mean over mean, with its interval.

    None where a clip has no value or the baseline is 0.
    """
    numbers: Numbers = {}
    for key in (key for key in per_clip if key in baseline):
        value, base = _clip_means(per_clip[key]), _clip_means(baseline[key])
        label = f"ratio_to_{name}.{without_unit(key)}"
        known = bool(np.isfinite([*value, *base]).all()) and bool((base > 0).all())
        numbers[label] = float(value.mean() / base.mean()) if known else None
        numbers[f"interval95.{label}"] = list(bootstrap_interval(value, base)) if known else None
    return numbers


def prefixed(prefix: str, per_clip: Mapping[str, np.ndarray | Tensor]) -> Numbers:
    """Means over clips under `prefix.`, as `summarize` takes them."""
    known = {key: _known(_clip_means(values)) for key, values in per_clip.items()}
    return {f"{prefix}.{key}": float(values.mean()) if len(values) else None for key, values in known.items()}


def per_clip_lists(per_clip: Mapping[str, np.ndarray | Tensor], prefix: str = "") -> dict[str, list[float | None]]:
    """One number a clip, mean over samples, as plain lists; None where a clip has no value."""
    lists = {}
    for key, values in per_clip.items():
        means = _clip_means(values)
        lists[f"{prefix}.{key}" if prefix else key] = [float(v) if np.isfinite(v) else None for v in means]
    return lists


def known_means(values: np.ndarray | Tensor) -> list[float | None]:
    """Values (N, samples) → the mean over clips of every sample; None where no clip has a value."""
    array = np.asarray(values, dtype=np.float64)
    return [float(column[known].mean()) if (known := np.isfinite(column)).any() else None for column in array.T]


def without_unit(key: str) -> str:
    """`mpjpe_mm` → `mpjpe`."""
    return next((key.removesuffix(unit) for unit in UNITS if key.endswith(unit)), key)


def _clip_means(values: np.ndarray | Tensor) -> np.ndarray:
    """(N, …) → (N,) float64."""
    array = np.asarray(values, dtype=np.float64)
    return array.reshape(len(array), -1).mean(1)


def _known(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]
