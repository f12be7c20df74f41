"""Errors of pictures: uint8 RGB arrays (..., H, W, 3) in, numbers out."""

from __future__ import annotations

import numpy as np


def psnr_db(predicted: np.ndarray, target: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio of 8-bit pictures in dB; the squared error is pooled over all given pixels.

    Args:
        predicted: (..., H, W, 3) uint8.
        target: the same shape.
        mask: optional (..., H, W) bool; only its pixels count. An empty mask gives NaN.
    """
    squared = (predicted.astype(np.float32) - target.astype(np.float32)) ** 2
    if mask is not None:
        squared = squared[mask]
    if squared.size == 0:
        return float("nan")
    return float(10 * np.log10(255.0**2 / max(float(squared.mean(dtype=np.float64)), 1e-10)))


def box_downsampled(frames: np.ndarray, factor: int = 16) -> np.ndarray:
    """The dumb baseline: `factor`× average-pooled, then bilinearly enlarged. (T,H,W,3) uint8 → the same shape."""
    import torch

    video = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()
    small = torch.nn.functional.avg_pool2d(video, factor)
    large = torch.nn.functional.interpolate(small, video.shape[-2:], mode="bilinear", align_corners=False)
    return large.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
