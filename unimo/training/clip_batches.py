"""Batches of rendered clips for the tokenizers of video: crops and whole frames, mirrored, in random colours.

In: a `ClipPack`. Out: videos in [-1, 1] with the person's mask; the batch of a step depends on seed and step alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unimo.data.pack import ClipPack
from unimo.media.pixels import to_video
from unimo.metrics.lpips import SMALLEST_SIDE

CROP_STEP = 16
"""Pixels of a grid cell of the discrete tokenizer, which crops are made of."""

_NOT_NEGATIVE = ("person_weight", "l1_weight", "l2_weight", "flow_weight", "lpips_weight", "gain", "offset")


@dataclass(frozen=True)
class ClipDataConfig:
    """What a tokenizer of video sees and what counts.

    Attributes:
        person_weight: weight of the person's pixels against 1 elsewhere.
        l1_weight, l2_weight: weights of the absolute and the squared error of wavelet coefficients.
        flow_weight: weight of `flow_consistency`, flicker along the movement of the real clip.
        lpips_weight: weight of LPIPS, the mean over frames; needs the two files below.
        lpips_network: "vgg", usual as a loss, or "alex".
        lpips_backbone, lpips_linear: files of LPIPS's weights, in the user's hands (see `unimo.metrics.lpips`).
        crop: side of the square crops in pixels, a multiple of 16; with LPIPS at least 32.
        whole_share: share of the steps on whole frames; they hold fewer clips, so that a step costs the same.
        gain, offset: largest random change of the colours, relative (each colour) and absolute (all, of 2).
        validation_clips: clips of the validation pack that are scored.

    Raises:
        ValueError: a value out of range, or LPIPS without its files.
    """

    person_weight: float = 4.0
    l1_weight: float = 1.0
    l2_weight: float = 1.0
    flow_weight: float = 0.0
    lpips_weight: float = 0.0
    lpips_network: str = "vgg"
    lpips_backbone: str | None = None
    lpips_linear: str | None = None
    crop: int = 64
    whole_share: float = 1.0
    gain: float = 0.15
    offset: float = 0.1
    validation_clips: int = 64

    def __post_init__(self) -> None:
        for name in _NOT_NEGATIVE:
            if not getattr(self, name) >= 0:  # NaN too
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not 0 <= self.whole_share <= 1:
            raise ValueError(f"whole_share must be 0 to 1, got {self.whole_share}")
        if self.crop < CROP_STEP or self.crop % CROP_STEP:
            raise ValueError(f"crop must be a positive multiple of {CROP_STEP} pixels, got {self.crop}")
        if self.lpips_weight and self.crop < SMALLEST_SIDE:
            raise ValueError(f"crop must be at least {SMALLEST_SIDE} pixels where lpips_weight is set, got {self.crop}")
        if self.lpips_weight and not (self.lpips_backbone and self.lpips_linear):
            raise ValueError("lpips_weight needs lpips_backbone and lpips_linear, the two files of LPIPS's weights")


@dataclass(frozen=True)
class ClipBatch:
    """`rows` (B,) of the pack, `mirrored` (B,) 0 or 1, `video` (B,3,T,S,S) in [-1,1], `mask` (B,T,S,S) bool."""

    rows: np.ndarray
    mirrored: np.ndarray
    video: Tensor
    mask: Tensor


class ClipBatches:
    """Draws batches from a pack."""

    def __init__(self, pack: ClipPack, config: ClipDataConfig, batch_size: int) -> None:
        self.pack, self.config, self.batch_size = pack, config, batch_size
        self.side = pack.frames.shape[2]

    def draw(self, rng: np.random.Generator) -> ClipBatch:
        """A batch of crops or, with the probability `whole_share`, of whole frames."""
        data, count = self.config, self.batch_size
        whole = data.crop >= self.side or rng.random() < data.whole_share
        if whole and data.crop < self.side:
            count = max(1, round(count * (data.crop / self.side) ** 2))
        return self.clips(count, self.side if whole else data.crop, rng)

    def clips(self, count: int, crop: int, rng: np.random.Generator) -> ClipBatch:
        """`count` clips, of each the same random square in all frames."""
        data = self.config
        rows = np.sort(rng.integers(len(self.pack), size=count))
        mirrored = rng.integers(2, size=count)
        frames, masks = [], []
        for row, mask, mirror in zip(rows, self.pack.masks(rows), mirrored, strict=True):
            y, x = rng.integers(self.side - crop + 1, size=2)
            window = np.s_[:, y : y + crop, x : x + crop]
            direction = -1 if mirror else 1
            frames.append(self.pack.frames[row][window][:, :, ::direction])
            masks.append(mask[window][:, :, ::direction])
        gain = 1 + rng.uniform(-data.gain, data.gain, (count, 3, 1, 1, 1))
        offset = rng.uniform(-data.offset, data.offset, (count, 1, 1, 1, 1))
        video = to_video(np.stack(frames)) * torch.from_numpy(gain).float() + torch.from_numpy(offset).float()
        return ClipBatch(rows, mirrored, video.clamp(-1, 1), torch.from_numpy(np.stack(masks)))
