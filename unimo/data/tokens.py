"""A token pack: clips as frozen tokenizers see them, the form that the transformer trains on.

In: a `ClipPack` and two tokenizers. Out: one npz with `visual_ids (N,K,h,w)` uint16, `motion_ids (N,T,36)` uint16 and
`features (N,T,145)` float32 (canonical camera), where the second half of N is the first half mirrored left to right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from motion_tokenizer import MotionVQVAE
from unimo.data.pack import ClipPack
from unimo.files import atomic_write
from unimo.motion.batches import canonical_features, mirror_features
from visual_tokenizer import DiscreteVisualTokenizer


@dataclass(frozen=True)
class TokenPack:
    """Token ids and the motion they stand for; rows are clips."""

    visual_ids: np.ndarray
    motion_ids: np.ndarray
    features: np.ndarray

    def __len__(self) -> int:
        return len(self.visual_ids)

    def save(self, path: str | Path) -> None:
        """Writes one npz, whole or not at all."""
        with atomic_write(path) as temporary:
            np.savez(temporary, visual_ids=self.visual_ids, motion_ids=self.motion_ids, features=self.features)

    @staticmethod
    def load(path: str | Path) -> TokenPack:
        """Reads what `save` wrote."""
        with np.load(path, allow_pickle=False) as data:
            return TokenPack(data["visual_ids"], data["motion_ids"], data["features"])


def to_video(frames: np.ndarray, device: str = "cpu") -> torch.Tensor:
    """(B,T,H,W,3) uint8 → (B,3,T,H,W) float32 in [-1,1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).to(device).permute(0, 4, 1, 2, 3).float() / 127.5 - 1


@torch.inference_mode()
def tokenize_pack(
    pack: ClipPack,
    visual: DiscreteVisualTokenizer,
    motion: MotionVQVAE,
    canonical_focal: float,
    mirror: bool = True,
    batch_size: int = 16,
    progress: Callable[[int, int], None] | None = None,
) -> TokenPack:
    """Tokenises every clip and, with `mirror`, its left-right mirror image, whose frames and motion are both flipped."""
    device = str(next(visual.parameters()).device)
    features = canonical_features(pack.motions, pack.intrinsics, pack.frames.shape[2], canonical_focal)
    sides = [features, mirror_features(features)] if mirror else [features]
    visual_rows, motion_rows = [], []
    for side, rows in enumerate(sides):
        for start in range(0, len(pack), batch_size):
            frames = pack.frames[start : start + batch_size]
            video = to_video(frames[:, :, :, ::-1] if side else frames, device)
            visual_rows.append(visual.encode(video).cpu().numpy().astype(np.uint16))
            motion_rows.append(
                motion.encode(rows[start : start + batch_size].to(device)).cpu().numpy().astype(np.uint16)
            )
            if progress:
                progress(side * len(pack) + min(start + batch_size, len(pack)), len(pack) * len(sides))
    return TokenPack(np.concatenate(visual_rows), np.concatenate(motion_rows), torch.cat(sides).numpy())
