"""A token pack: clips as frozen tokenizers see them, the form that the transformer trains on.

In: a `ClipPack` and two tokenizers. Out: one npz with `visual_ids (N,K,h,w)` uint16, `motion_ids (N,T,36)` uint16 and
`features (N,T,145)` float32 (canonical camera). A pack is in memory as a whole; what is too large for that trains from
shards (`unimo.data.loader`), and `TokenSource` is what training asks of either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from motion_tokenizer import MotionVQVAE
from unimo.data.pack import ClipPack
from unimo.errors import CheckpointError
from unimo.files import atomic_write
from unimo.media.pixels import to_video
from unimo.motion.batches import canonical_features
from unimo.motion.features import rotation_form, with_rotation_form
from visual_tokenizer import DiscreteVisualTokenizer


class TokenSource(Protocol):
    """Clips as tokens, as training draws them: `draw`, then at most one `foreign`, step after step."""

    @property
    def tokenizers(self) -> str:
        """Hash of the tokenizers that made the ids."""
        ...

    @property
    def grid(self) -> tuple[int, int, int]:
        """(K,h,w) of every clip."""
        ...

    @property
    def frames(self) -> int:
        """Motion frames of every clip."""
        ...

    def __len__(self) -> int: ...

    def draw(self, rng: np.random.Generator, count: int) -> tuple[list[Any], TokenPack]:
        """Names and tokens of the clips of a step; `rng` is the step's."""
        ...

    def foreign(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """(count,T,36) motion ids of clips that the last draw did not ask for, unless by chance."""
        ...

    def position(self) -> dict[str, Any]:
        """What `go_to` needs to go on here; empty when draws follow from `rng` alone."""
        ...

    def go_to(self, position: Mapping[str, Any]) -> None:
        """Goes on where `position` was asked for.

        Raises:
            CheckpointError: it is not a position in this source.
        """
        ...


@dataclass(frozen=True)
class TokenPack:
    """Token ids and the motion they stand for; rows are clips. `tokenizers` is the hash of what made the ids.

    As a `TokenSource` it draws rows at random, with repetition; their numbers are the names.
    """

    visual_ids: np.ndarray
    motion_ids: np.ndarray
    features: np.ndarray
    tokenizers: str = ""

    def __len__(self) -> int:
        return len(self.visual_ids)

    @property
    def grid(self) -> tuple[int, int, int]:
        return self.visual_ids.shape[1], self.visual_ids.shape[2], self.visual_ids.shape[3]

    @property
    def frames(self) -> int:
        return self.motion_ids.shape[1]

    def rows(self, rows: np.ndarray | slice) -> TokenPack:
        """Some of the clips."""
        return TokenPack(self.visual_ids[rows], self.motion_ids[rows], self.features[rows], self.tokenizers)

    def draw(self, rng: np.random.Generator, count: int) -> tuple[list[int], TokenPack]:
        """Random clips."""
        rows = rng.integers(len(self), size=count)
        return rows.tolist(), self.rows(rows)

    def foreign(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """(count,T,36) motion ids of random clips."""
        return self.motion_ids[rng.integers(len(self), size=count)]

    def position(self) -> dict[str, Any]:
        """Nothing: a draw follows from the generator."""
        return {}

    def go_to(self, position: Mapping[str, Any]) -> None:
        """Refuses a position in shards, since the clips would be others."""
        if position:
            what, fix = "the checkpoint is of a training from shards", "--shards, or another --work with --start-from"
            raise CheckpointError(what, fix=fix)

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
