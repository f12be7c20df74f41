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


def colors_at(frames: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Mean colour of the 3×3 pixels around points; NaN where a point lies outside the picture.

    Args:
        frames: (T, H, W, 3) uint8.
        points: (T, J, 2) pixels (x, y), pixel centres at index + 0.5.

    Returns:
        (T, J, 3) float32 in 0..255.
    """
    count, height, width = frames.shape[:3]
    x, y = np.floor(points[..., 0]), np.floor(points[..., 1])
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    x, y = np.where(inside, x, 0).astype(np.int64), np.where(inside, y, 0).astype(np.int64)
    rows = np.arange(count)[:, None]
    total = np.zeros((*points.shape[:2], 3), np.float32)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            total += frames[rows, np.clip(y + dy, 0, height - 1), np.clip(x + dx, 0, width - 1)]
    return np.where(inside[..., None], total / 9, np.nan).astype(np.float32)
