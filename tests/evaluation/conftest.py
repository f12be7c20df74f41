"""Clips of the debug bundle's size, in memory: a walking-like motion before a camera, and noise for pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unimo.assets import cache_dir
from unimo.body import load_body
from unimo.data.clips import ClipSet


def build(count: int = 4, frames: int = 9, side: int = 32, fps: float = 15.0, seed: int = 0) -> ClipSet:
    rng = np.random.default_rng(seed)
    time = np.arange(frames)[None, :, None] / fps
    focal = rng.uniform(0.9, 1.6, count) * side
    intrinsics = np.zeros((count, 3, 3), np.float32)
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = focal
    intrinsics[:, 0, 2] = intrinsics[:, 1, 2] = side / 2
    intrinsics[:, 2, 2] = 1
    pose = 0.4 * rng.normal(size=(count, 1, 63)) + 0.3 * np.sin(5 * time + rng.uniform(0, 6, (count, 1, 63)))
    heading = rng.uniform(-3, 3, (count, 1, 1))
    upright = np.concatenate([np.full((count, 1, 1), np.pi), 0 * heading, 0.1 * heading], -1)
    motions = {
        "body_pose": pose.reshape(count, frames, 21, 3),
        "betas": np.repeat(rng.normal(size=(count, 1, 10)), frames, 1),
        "global_orient": np.repeat(upright, frames, 1) + 0.1 * np.sin(time),
        "transl": np.array([0.0, 0.3, 0.0]) + rng.uniform(2, 4, (count, 1, 1)) * np.array([0.0, 0, 1]) + 0.3 * time,
    }
    masks = np.zeros((count, frames, side, side), bool)
    masks[:, :, side // 4 : -side // 4, side // 3 : -side // 3] = True
    return ClipSet(
        fps=fps,
        frames=rng.integers(0, 256, (count, frames, side, side, 3), dtype=np.uint8),
        motions={key: value.astype(np.float32) for key, value in motions.items()},
        intrinsics=intrinsics,
        body="open",
        names=[f"{i:06d}" for i in range(count)],
        records=[{}] * count,
        sha256="0" * 64,
        _masks=masks,
        cam2world=np.tile(np.diag([1, -1, -1, 1]).astype(np.float32), (count, frames, 1, 1)),
    )


@pytest.fixture
def make_clips() -> Callable[..., ClipSet]:
    """Returns make(count=4, frames=9, side=32, fps=15, seed=0)."""
    return build


@pytest.fixture
def clips() -> ClipSet:
    return build()


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache but for the open body, which is built first where this machine has none yet."""
    load_body("open")
    bodies = cache_dir() / "bodies"
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "bodies").symlink_to(bodies)
    monkeypatch.setenv("UNIMO_CACHE", str(tmp_path / "cache"))
