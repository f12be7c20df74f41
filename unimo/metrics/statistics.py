"""Means as the field takes them, and how sure they are: pooled means, bootstrap intervals over clips; numpy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def bootstrap_interval(
    values: np.ndarray, over: np.ndarray | None = None, draws: int = 2000, share: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of the mean of `values`, or of mean(values) / mean(over), resampling clips.

    Args:
        values: (N,) one number a clip.
        over: optional (N,) denominators of the same clips.
        draws: how often the clips are resampled.
        share: of the draws that lies inside.
        seed: of the resampling.

    Raises:
        ValueError: no values, or another number of denominators.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0 or (over is not None and np.shape(over) != values.shape):
        raise ValueError(f"need (N,) values, N >= 1, and as many denominators, got {values.shape}")
    rows = np.random.default_rng(seed).integers(len(values), size=(draws, len(values)))
    means = values[rows].mean(1)
    if over is not None:
        means = means / np.asarray(over, dtype=np.float64)[rows].mean(1)
    low, high = np.quantile(means, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def pooled_mean(values: Sequence[np.ndarray]) -> float:
    """Mean over all values of all sequences together: the number that capture papers print (WHAM, GVHMR, 4D-Humans).

    Long sequences weigh more. A mean of the sequences' means, as our own tables over clips of one length have it, is
    another number where lengths differ. A NaN among the values makes the mean NaN.

    Args:
        values: one array a sequence, any shapes, such as the errors of its frames.

    Raises:
        ValueError: no values at all.
    """
    flat = [np.asarray(each, dtype=np.float64).ravel() for each in values]
    if not sum(each.size for each in flat):
        raise ValueError("need at least one value to average")
    return float(np.concatenate(flat).mean())
