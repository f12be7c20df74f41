"""Videos that are prepared, and what one process makes of them; `unimo data prepare` must always make the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.data.prepare_sources import SMALL, motion_of, shot, write_clip, write_walk
from unimo.data.prepare import Summary, prepare
from unimo.media.video_writer import write_video
from unimo.motion.npz import save_motion


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three synthetic clips, a walk with a cut, a walk of another rate; and a file that is no video."""
    folder = tmp_path_factory.mktemp("videos")
    for seed in range(3):
        write_clip(folder / "clips" / f"{seed:06d}", seed)
    write_video(folder / "cut.mp4", np.concatenate([shot(5, 12), shot(6, 20)]), 15)
    save_motion(folder / "cut.npz", motion_of(32, 15, seed=5))
    write_walk(folder / "fast walk.mp4", 7, frames=24, fps=30)
    (folder / "broken.mp4").write_bytes(b"no video at all")
    return folder


@pytest.fixture(scope="session")
def undisturbed(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    output = tmp_path_factory.mktemp("prepared") / "out"
    return output, prepare(videos, output, SMALL, workers=1)
