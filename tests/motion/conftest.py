"""A small smooth random motion, for every test of this folder."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from unimo.motion.motion import Motion


@pytest.fixture
def make_motion() -> Callable[..., Motion]:
    """Returns make(frames, seed=0, **fields): poses up to about a radian, a walk of a metre or two, one shape."""

    def make(frames: int, seed: int = 0, **fields) -> Motion:
        rng = np.random.default_rng(seed)
        time = np.linspace(0, frames / 30, frames)[:, None, None]
        phase = rng.uniform(0, 6.28, (22, 3))
        pose = 0.5 * np.sin(3 * time + phase) * rng.uniform(0.2, 1, (22, 3))
        values = {
            "body_pose": pose[:, 1:],
            "betas": rng.normal(size=10),
            "global_orient": pose[:, 0] + [3.1, 0, 0],
            "transl": np.stack([time[:, 0, 0], 0.1 * np.sin(time[:, 0, 0]), 4 + 0 * time[:, 0, 0]], axis=1),
            "fps": 30,
        }
        return Motion(**{**values, **fields})

    return make
