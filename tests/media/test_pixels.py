"""Bytes and the numbers networks see."""

from __future__ import annotations

import numpy as np
import torch

from unimo.media.pixels import to_frames, to_video


def test_video_has_channels_first_and_runs_from_minus_one_to_one() -> None:
    frames = np.zeros((1, 2, 3, 4, 3), np.uint8)
    frames[0, 1, 2, 3] = (0, 51, 255)
    video = to_video(frames)
    assert video.shape == (1, 3, 2, 3, 4)
    assert torch.allclose(video[0, :, 1, 2, 3], torch.tensor([-1.0, -0.6, 1.0])) and float(video[0, 2].sum()) == -22


def test_bytes_survive_the_way_to_video_and_back() -> None:
    frames = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 1, 16, 16, 3)
    assert np.array_equal(to_frames(to_video(frames)), frames)
    assert to_frames(torch.tensor([-9.0, 0.0, 9.0]).reshape(1, 3, 1, 1, 1)).flatten().tolist() == [0, 128, 255]
