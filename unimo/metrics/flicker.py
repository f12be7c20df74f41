"""How videos change from frame to frame: uint8 RGB videos (T, H, W, 3) in, numbers out."""

from __future__ import annotations

import numpy as np


def temporal_flickering(frames: np.ndarray) -> float:
    """VBench's "temporal flickering" of one video: (255 - mean |frame t+1 - frame t|) / 255.

    It needs no real video, and for the same reason rewards pictures that stand still: moving people lower it. Compare
    it only between videos of the same motion, or use `flicker_error`.

    Args:
        frames: (T, H, W, 3) uint8.

    Returns:
        0..1, without unit (VBench prints it in %); 1 is a still picture. NaN for fewer than two frames.
    """
    if len(frames) < 2:
        return float("nan")
    return float(1 - np.mean([np.abs(change).mean() for change in _changes(frames)]) / 255)


def flicker_error(predicted: np.ndarray, target: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Change from frame to frame that the real video does not have, or lacks.

    Mean over neighbouring frames, pixels and channels of |(p[t+1] - p[t]) - (r[t+1] - r[t])| / 255. An error that
    stays the same over time (a wrong colour, a blurred resting background) costs nothing, and motion that is the real
    one costs nothing: this is what compares two decoders on moving people. It is the first difference that matting
    work squares and calls dtSSD.

    Args:
        predicted: (T, H, W, 3) uint8.
        target: the same shape, the real video.
        mask: optional (T, H, W) bool; a pixel counts where it is in the mask of either frame of a pair.

    Returns:
        0..2, without unit; 0 is best. NaN for fewer than two frames, or an empty mask.

    Raises:
        ValueError: shapes differ.
    """
    if predicted.shape != target.shape or predicted.ndim != 4:
        raise ValueError(f"need two videos (T, H, W, 3) of one shape, got {predicted.shape} and {target.shape}")
    total, count = 0.0, 0
    for index in range(len(target) - 1):
        pair = slice(index, index + 2)
        error = np.abs(_changes(predicted[pair])[0] - _changes(target[pair])[0])
        if mask is not None:
            error = error[mask[pair].any(0)]
        total, count = total + float(error.sum(dtype=np.float64)), count + error.size
    return total / count / 255 if count else float("nan")


def _changes(frames: np.ndarray) -> np.ndarray:
    """Signed differences of neighbouring frames, without wrapping around."""
    return np.diff(frames.astype(np.int16), axis=0)
