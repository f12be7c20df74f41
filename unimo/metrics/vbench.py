"""VBench's arithmetic (version 1) without its networks: features, flows and frames in, the scores of one video out.

What a network has to make (features of DINO or CLIP, flow of RAFT, frames between frames of AMT) is an argument. The
user's VBench makes it and scores it by itself in `unimo.evaluation.vbench_adapter`. Of the dimensions
`temporal_flickering` alone needs no network; it stands in `flicker`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

TOP_SHARE = 0.05
_THRESHOLD_PX, _THRESHOLD_SIDE = 6.0, 256.0
_SAMPLES_PER_S, _PAIRS, _PAIRS_OF = 8, 4, 16


def consistency(features: Tensor) -> Tensor:
    """Subject consistency (features of DINO) or background consistency (of CLIP).

    Mean over frames t ≥ 1 of (max(0, cos(f[t], f[t-1])) + max(0, cos(f[t], f[0]))) / 2. VBench prints the mean over
    frames of all videos together on one GPU, and the mean over videos on several.

    Args:
        features: (..., T, D).

    Returns:
        (...) 0..1, 1 is a still picture; NaN for fewer than two frames.
    """
    features = features.double()
    now = features[..., 1:, :]
    to_previous, to_first = (
        torch.cosine_similarity(now, other, dim=-1).clamp_min(0)
        for other in (features[..., :-1, :], features[..., :1, :].expand_as(now))
    )
    return ((to_previous + to_first) / 2).mean(-1)


def motion_smoothness(frames: np.ndarray, interpolated: np.ndarray) -> float:
    """(255 - mean |real - interpolated|) / 255 over the odd frames, where VBench's AMT-S sees only the even ones.

    Args:
        frames: (T, H, W, 3) uint8, the video.
        interpolated: (T', H, W, 3) uint8, the even frames and what was made between them; T' = T, or T - 1 for even T.

    Returns:
        0..1, 1 is best; NaN for fewer than three frames.

    Raises:
        ValueError: shapes do not fit.
    """
    if frames.shape[1:] != interpolated.shape[1:] or len(interpolated) != (len(frames) - 1) // 2 * 2 + 1:
        what = "(T, H, W, 3) with T or, for an even number of frames, T - 1 of them"
        raise ValueError(f"need interpolated frames {what}, got {interpolated.shape} for {frames.shape}")
    odd = interpolated[1::2].astype(np.int16)
    if not len(odd):
        return float("nan")
    return 1 - float(np.abs(frames[1::2][: len(odd)].astype(np.int16) - odd).mean()) / 255


def sampled_frames(count: int, fps: float) -> np.ndarray:
    """Numbers of the frames between which VBench takes the flow: each round(fps / 8)-th, half to even, at least 1."""
    return np.arange(0, count, max(1, round(fps / _SAMPLES_PER_S)))


def largest_motion_px(flow: Tensor, share: float = TOP_SHARE) -> Tensor:
    """Mean length of the longest 5 % of the flow vectors of a picture.

    Args:
        flow: (..., 2, H, W) pixels.
        share: of the pixels that counts; their number is rounded down.

    Returns:
        (...) float64 pixels; NaN where the share is less than a pixel.
    """
    lengths = flow.double().norm(dim=-3).flatten(-2)
    return lengths.topk(int(lengths.shape[-1] * share), dim=-1).values.mean(-1)


def motion_threshold_px(height: int, width: int) -> float:
    """Motion that counts as large: 6 pixels for a shorter side of 256, in proportion."""
    return _THRESHOLD_PX * (min(height, width) / _THRESHOLD_SIDE)


def pairs_needed(sampled: int) -> int:
    """How many pairs must move in a video with that many sampled frames: a quarter of them, rounded half to even."""
    return round(_PAIRS * (sampled / _PAIRS_OF))


def is_dynamic(motions_px: Sequence[float] | Tensor, height: int, width: int) -> bool:
    """VBench's dynamic degree of one video; the reported number is the share of videos that are.

    True if at least `pairs_needed` pairs of neighbouring sampled frames move by more than `motion_threshold_px`. Which
    frames are sampled depends on the frame rate in the file: the same pictures at 30 instead of 25 frames/s are judged
    by other pairs.

    Args:
        motions_px: (sampled frames - 1) of `largest_motion_px`.
        height, width: of the video in pixels.
    """
    moving = sum(float(motion) > motion_threshold_px(height, width) for motion in motions_px)
    return len(motions_px) > 0 and moving >= pairs_needed(len(motions_px) + 1)


def appearance_overall(subject: float, background: float, aesthetic: float) -> float:
    """UniMo's "App." of table 9: the plain mean of both consistencies and aesthetic quality, all 0..1."""
    return (subject + background + aesthetic) / 3


def motion_overall(smoothness: float, flickering: float, dynamic: float) -> float:
    """UniMo's "Mot." of table 9: the plain mean of motion smoothness, temporal flickering and dynamic degree, all 0..1.

    Neither VBench's scaling between its least and largest values nor its weight of one half is applied; the paper's
    whole gain in this number is one of dynamic degree.
    """
    return (smoothness + flickering + dynamic) / 3
