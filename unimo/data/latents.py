"""A latent pack: clips as the continuous visual tokenizer sees them, the target of the diffusion decoder.

In: a `ClipPack` and the tokenizer. Out: a folder with `latents.npy (N,C,K,h,w)` float16, not normalised, and
`latents.json` with the hash of what made them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from unimo.data.pack import ClipPack
from unimo.data.tokens import weights_hash
from unimo.errors import InputError
from unimo.files import atomic_write
from unimo.media.pixels import to_video
from visual_tokenizer import ContinuousVisualTokenizer


class LatentPack:
    """Read access to a finished latent pack.

    Attributes:
        latents: (N,C,K,h,w) float16 memory map.
        tokenizer: hash of the tokenizer that made them.

    Raises:
        InputError: there is none in the folder.
    """

    def __init__(self, folder: str | Path) -> None:
        note = Path(folder) / "latents.json"
        if not note.is_file():
            raise InputError("no finished latents here", str(folder), "run the stage latents first")
        self.tokenizer = str(json.loads(note.read_text())["tokenizer"])
        self.latents = np.load(Path(folder) / "latents.npy", mmap_mode="r")

    def __len__(self) -> int:
        return len(self.latents)


def build_latents(
    folder: str | Path,
    pack: ClipPack,
    tokenizer: ContinuousVisualTokenizer,
    batch_size: int = 8,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> LatentPack:
    """Encodes every clip of a pack; does nothing where the same tokenizer's latents of as many clips lie already.

    `workers` threads work side by side, which on a CPU beats as many threads inside each convolution.
    """
    folder, made_by = Path(folder), weights_hash(tokenizer)
    if (folder / "latents.json").is_file():
        known = LatentPack(folder)
        if known.tokenizer == made_by and len(known) == len(pack):
            return known
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "latents.json").unlink(missing_ok=True)
    device = str(next(tokenizer.parameters()).device)

    @torch.inference_mode()
    def encode(start: int) -> np.ndarray:
        video = to_video(np.asarray(pack.frames[start : start + batch_size]), device)
        return tokenizer.encode(video).cpu().numpy().astype(np.float16)

    starts, first = range(0, len(pack), batch_size), encode(0)
    with atomic_write(folder / "latents.npy") as path:
        shape = (len(pack), *first.shape[1:])
        np.lib.format.open_memmap(path, "w+", np.float16, shape).flush()
        rows = np.load(path, mmap_mode="r+")
        with ThreadPoolExecutor(workers) as pool:
            for done, (start, latents) in enumerate(zip(starts, pool.map(encode, starts), strict=True), 1):
                rows[start : start + len(latents)] = latents
                if progress:
                    progress(done, len(starts))
        rows.flush()
    with atomic_write(folder / "latents.json") as path:
        path.write_text(json.dumps({"tokenizer": made_by}) + "\n")
    return LatentPack(folder)
