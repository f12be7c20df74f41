"""Noise of a camera's sensor: clean frames (T, H, W, 3) uint8 in, noisy frames out, the same for the same seed."""

from __future__ import annotations

import numpy as np

# share of the variance that does not depend on the light (read noise); the rest grows with it (shot noise)
_READ_SHARE = 0.4


def add_noise(rgb: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Frames with noise whose standard deviation is `sigma` at mid grey, less in the dark, more in the light.

    Args:
        rgb: (T, H, W, 3) uint8.
        sigma: grey levels of 255; 0 gives the frames back as they are.
        rng: source of randomness, used for nothing else: one state, one noise.

    Returns:
        (T, H, W, 3) uint8.

    Raises:
        ValueError: sigma is negative, or the frames are not uint8.
    """
    if sigma < 0 or rgb.dtype != np.uint8:
        raise ValueError(f"noise needs uint8 frames and sigma >= 0, not {rgb.dtype} and {sigma:g}")
    if sigma == 0:
        return rgb
    level = np.arange(256, dtype=np.float32) / 127.5
    spread = (sigma * np.sqrt(_READ_SHARE + (1.0 - _READ_SHARE) * level)).astype(np.float32)
    noisy = np.empty_like(rgb)
    for t, frame in enumerate(rgb):  # a frame at a time: a clip of floats would take twelve times its bytes
        grain = rng.standard_normal(frame.shape, dtype=np.float32)
        noisy[t] = np.clip(frame + spread[frame] * grain + 0.5, 0.0, 255.0).astype(np.uint8)
    return noisy
