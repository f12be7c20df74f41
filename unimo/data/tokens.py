"""A token pack: clips as frozen tokenizers see them, the form that the transformer trains on.

In: a `ClipPack` and two tokenizers. Out: one npz with `visual_ids (N,K,h,w)` uint16, `motion_ids (N,T,36)` uint16 and
`features (N,T,145)` float32 (canonical camera).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import nn

from motion_tokenizer import MotionVQVAE
from unimo.data.pack import ClipPack
from unimo.files import atomic_write
from unimo.media.pixels import to_video
from unimo.motion.batches import canonical_features
from unimo.motion.features import rotation_form, with_rotation_form
from visual_tokenizer import DiscreteVisualTokenizer


@dataclass(frozen=True)
class TokenPack:
    """Token ids and the motion they stand for; rows are clips. `tokenizers` is the hash of what made the ids."""

    visual_ids: np.ndarray
    motion_ids: np.ndarray
    features: np.ndarray
    tokenizers: str = ""

    def __len__(self) -> int:
        return len(self.visual_ids)

    def save(self, path: str | Path) -> None:
        """Writes one npz, whole or not at all."""
        with atomic_write(path) as temporary:
            np.savez(temporary, **{field.name: getattr(self, field.name) for field in fields(self)})

    @staticmethod
    def load(path: str | Path) -> TokenPack:
        """Reads what `save` wrote."""
        with np.load(path, allow_pickle=False) as data:
            return TokenPack(data["visual_ids"], data["motion_ids"], data["features"], str(data["tokenizers"]))


def tokenize_pack(
    pack: ClipPack,
    visual: DiscreteVisualTokenizer,
    motion: MotionVQVAE,
    canonical_focal: float,
    batch_size: int = 16,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> TokenPack:
    """Tokenises every clip.

    `workers` threads work side by side, which on a CPU beats as many threads inside each convolution.
    """
    device = str(next(visual.parameters()).device)
    features = canonical_features(pack.motions, pack.intrinsics, pack.frames.shape[2], canonical_focal)

    form = rotation_form(motion.config.feature_dim)

    @torch.inference_mode()
    def encode(start: int) -> tuple[np.ndarray, np.ndarray]:
        video = to_video(pack.frames[start : start + batch_size], device)
        rows = with_rotation_form(features[start : start + batch_size], form).to(device)
        return visual.encode(video).cpu().numpy().astype(np.uint16), motion.encode(rows).cpu().numpy().astype(np.uint16)

    starts = range(0, len(pack), batch_size)
    rows = []
    with ThreadPoolExecutor(workers) as pool:
        for done, row in enumerate(pool.map(encode, starts), 1):
            rows.append(row)
            if progress:
                progress(done, len(starts))
    visual_ids, motion_ids = (np.concatenate(ids) for ids in zip(*rows, strict=True))
    return TokenPack(visual_ids, motion_ids, features.numpy(), weights_hash(visual, motion))


# what lies behind the codes of the two tokenizers
_BEHIND_CODES = ("decoder", "post_quant_conv", "quantizer.project_out", "latents_mean", "latents_std")


def weights_hash(*models: nn.Module) -> str:
    """sha256 over what decides ids: all weights but those of decoders, which may be trained on without new tokens."""
    digest = hashlib.sha256()
    for model in models:
        for key, value in sorted(model.state_dict().items()):
            if not key.startswith(_BEHIND_CODES):
                digest.update(key.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
