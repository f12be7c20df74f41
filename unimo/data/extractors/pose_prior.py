"""What poses are likely: a Gaussian over the 63 axis-angles of the body joints, and their usual ranges.

Shipped as `pose_prior.npz` (mean, factor, low, high), fitted by tools/fit_pose_prior.py to motions of the CMU training
subjects and their mirror images. Radians.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unimo.files import atomic_write
from unimo.motion.frames import mirror_axis_angles

PRIOR_FILE = Path(__file__).with_name("pose_prior.npz")
# radians: what the data leave out, added to every direction
_FLOOR = 0.12
_RANGE_PERCENT, _MARGIN = 0.05, 0.1


@dataclass(frozen=True, eq=False)
class PosePrior:
    """Attributes: mean (63,); factor (63, 63) that whitens a pose: (pose - mean) @ factor; low, high (63,) radians."""

    mean: Tensor
    factor: Tensor
    low: Tensor
    high: Tensor

    @classmethod
    def fit(cls, body_pose: np.ndarray) -> PosePrior:
        """From many poses (N, 21, 3) axis-angle, each joined by its mirror image."""
        whole = np.concatenate([np.zeros((len(body_pose), 1, 3)), body_pose], 1)
        both = np.concatenate([whole, mirror_axis_angles(whole)])[:, 1:].reshape(-1, 63)
        covariance = np.cov(both.T) + _FLOOR**2 * np.eye(63)
        factor = np.linalg.cholesky(np.linalg.inv(covariance))
        low, high = np.percentile(both, [_RANGE_PERCENT, 100 - _RANGE_PERCENT], axis=0)
        parts = both.mean(0), factor, low - _MARGIN, high + _MARGIN
        return cls(*(torch.tensor(part, dtype=torch.float32) for part in parts))

    def save(self, path: Path = PRIOR_FILE) -> None:
        """Writes the npz."""
        arrays = {name: getattr(self, name).numpy() for name in ("mean", "factor", "low", "high")}
        with atomic_write(path) as temporary:
            np.savez_compressed(temporary, **arrays)

    def unlikely(self, body_pose: Tensor) -> Tensor:
        """Mahalanobis distance squared ÷ 63, about 1 for usual poses: (T, 21, 3) → (T,)."""
        return ((body_pose.flatten(1) - self.mean) @ self.factor).square().mean(1)

    def beyond(self, body_pose: Tensor) -> Tensor:
        """Sum of squares of the radians beyond the usual ranges: (T, 21, 3) → (T,)."""
        flat = body_pose.flatten(1)
        return ((self.low - flat).relu() + (flat - self.high).relu()).square().sum(1)


@lru_cache(maxsize=1)
def load_prior() -> PosePrior:
    """The shipped prior."""
    with np.load(PRIOR_FILE, allow_pickle=False) as archive:
        return PosePrior(*(torch.from_numpy(archive[name]) for name in ("mean", "factor", "low", "high")))
