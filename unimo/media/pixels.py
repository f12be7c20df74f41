"""Bytes ↔ the numbers networks see: frames (B,T,H,W,3) uint8 RGB and video (B,3,T,H,W) float32 in [-1, 1]."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def to_video(frames: np.ndarray, device: str | torch.device = "cpu") -> Tensor:
    """Frames (B,T,H,W,3) uint8 → video (B,3,T,H,W) float32 in [-1, 1]."""
    pixels = torch.from_numpy(np.array(frames, order="C")).to(device)
    return pixels.permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def to_frames(video: Tensor) -> np.ndarray:
    """Video (B,3,T,H,W), clipped to [-1, 1] → frames (B,T,H,W,3) uint8."""
    pixels = ((video.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(0, 2, 3, 4, 1).cpu().numpy()
