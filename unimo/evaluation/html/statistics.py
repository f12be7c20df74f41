"""Numbers that the report works out from those of single clips: paired differences and rank correlations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from unimo.evaluation.html.runs import Run
from unimo.metrics.statistics import bootstrap_interval

DRAWS = 2000
# of fewer clips an interval, or a correlation, says more of the draw than of the model
FEWEST_FOR_INTERVAL, FEWEST_FOR_CORRELATION = 5, 8


@dataclass(frozen=True)
class Estimate:
    """A number of `count` clips and its 95 % bootstrap interval over them."""

    value: float
    low: float
    high: float
    count: int

    @property
    def enough(self) -> bool:
        """Whether there are clips enough for the interval to be shown."""
        return self.count >= FEWEST_FOR_INTERVAL

    @property
    def interval(self) -> tuple[float, float]:
        """Low and high end."""
        return self.low, self.high


def mean_of(values: np.ndarray) -> Estimate | None:
    """Mean of (N,) values that are finite; None when there are none."""
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    return Estimate(float(known.mean()), *bootstrap_interval(known, draws=DRAWS), len(known))


def paired_difference(first: Run, second: Run, key: str) -> Estimate | None:
    """Mean over their common clips of second − first, clips resampled in pairs.

    None unless both runs tell this number of single clips and are of the very same clips.
    """
    if first.clips_sha256 is None or first.clips_sha256 != second.clips_sha256:
        return None
    if key not in first.per_clip or key not in second.per_clip:
        return None
    place = {name: index for index, name in enumerate(second.names)}
    pairs = [(index, place[name]) for index, name in enumerate(first.names) if name in place]
    if not pairs:
        return None
    mine, other = np.array(pairs).T
    return mean_of(second.per_clip[key][other] - first.per_clip[key][mine])


def rank_correlation(x: np.ndarray, y: np.ndarray, draws: int = DRAWS, seed: int = 0) -> Estimate | None:
    """Spearman's rank correlation of two (N,), ties by their mean rank, with a percentile bootstrap interval.

    Pairs with a value that is not finite are left out. None for fewer than eight pairs or when one side is constant.
    """
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if len(x) < FEWEST_FOR_CORRELATION or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    rows = np.random.default_rng(seed).integers(len(x), size=(draws, len(x)))
    drawn = _correlation(rankdata(x[rows], axis=1), rankdata(y[rows], axis=1))
    low, high = np.nanquantile(drawn, [0.025, 0.975])  # a draw of one clip only has no correlation
    return Estimate(float(_correlation(rankdata(x)[None], rankdata(y)[None])[0]), float(low), float(high), len(x))


def _correlation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's correlation of the rows of (D, N) and (D, N): (D,), NaN where a row is constant."""
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    scale = np.sqrt((x**2).sum(1) * (y**2).sum(1))
    return np.divide((x * y).sum(1), scale, out=np.full(len(x), np.nan), where=scale > 0)
