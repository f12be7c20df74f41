"""`VisualTokenizer`: pictures in bytes ↔ the ids of the discrete visual tokenizer.

In: uint8 RGB frames (..., T, side, side, 3) of the letterboxed square, T = 1 + 8n. Out: ids (..., K, h, w) int64 with
K = 1 + n, h = w = side/16; and back. Files, rates and letterboxing are its neighbours' (`video`, `letterbox`).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from unimo.errors import InputError
from unimo.media.pixels import to_frames, to_video
from visual_tokenizer import DiscreteVisualTokenizer


class VisualTokenizer:
    """Wraps the leaf model.

    Args:
        model: trained tokenizer; its device and floating type are used as they are.
        side: pixels of the square frames it was trained on.
    """

    def __init__(self, model: DiscreteVisualTokenizer, side: int) -> None:
        self.model, self.side = model, side

    @property
    def num_ids(self) -> int:
        """Number of different ids."""
        return self.model.num_ids

    @torch.inference_mode()
    def encode(self, frames: np.ndarray) -> Tensor:
        """Tokenises clips.

        Args:
            frames: uint8 (T, side, side, 3) or (B, T, side, side, 3) RGB, T = 1 + 8n.

        Returns:
            ids (K, h, w) or (B, K, h, w) int64, on the model's device.

        Raises:
            InputError: another type, size or number of frames.
        """
        if frames.dtype != np.uint8 or frames.ndim not in (4, 5) or frames.shape[-3:] != (self.side, self.side, 3):
            wanted = f"uint8 (T, {self.side}, {self.side}, 3), letterboxed"
            raise InputError(f"frames must be {wanted}, not {frames.dtype} {frames.shape}")
        weight = next(self.model.parameters())
        video = to_video(frames.reshape(-1, *frames.shape[-4:]), weight.device)
        try:
            ids = self.model.encode(video.to(weight.dtype))
        except ValueError as error:
            raise InputError(f"the clip cannot be tokenised: {error}", None, "1 + 8n frames") from error
        return ids if frames.ndim == 5 else ids[0]

    @torch.inference_mode()
    def decode(self, ids: Tensor) -> np.ndarray:
        """Draws the frames of ids (K, h, w) or (B, K, h, w): uint8 (T, H, W, 3) or (B, T, H, W, 3) RGB, T = 1 + 8(K-1).

        Raises:
            InputError: wrong shape, or an id out of range.
        """
        try:
            video = self.model.decode(ids if ids.ndim == 4 else ids[None])
        except ValueError as error:
            raise InputError(f"these are no ids of this visual tokenizer: {error}") from error
        frames = to_frames(video)
        return frames if ids.ndim == 4 else frames[0]
