"""Strips that show what each decoder makes of the same tokens: real, direct, diffusion, continuous tokenizer.

In: clips with known frames and a bundle with all four parts. Out: one PNG.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from unimo.bundle import Bundle
from unimo.data.clips import Clips
from unimo.evaluation.clip_motions import check_clips
from unimo.files import atomic_write
from unimo.pipeline import UniMoPipeline
from unimo.render.sheet import contact_sheet


def draw_decoder_strips(
    clips: Clips, bundle: Bundle, path: Path, rows: Sequence[int], columns: int = 5, device: str = "cpu"
) -> None:
    """Draws `columns` frames of each clip in `rows` as each decoder draws them; below stands "clip: decoder, frame".

    Raises:
        InputError: the clips are not of the bundle's length, or the bundle has no diffusion decoder.
    """
    check_clips(clips, bundle.settings)
    pipeline = UniMoPipeline(bundle, device)
    real = np.stack([clips.frames[row] for row in rows])
    ids = pipeline.visual_tokenizer.encode(real)
    drawn = {
        "real": real,
        "direct": pipeline.visual_tokenizer.decode(ids),
        "diffusion": pipeline.diffusion_decoder.decode(ids, list(rows)),
        "continuous": pipeline.diffusion_decoder.reconstruct(real),
    }
    moments = np.linspace(0, real.shape[1] - 1, columns).round().astype(int)
    pictures, labels = [], []
    for index, row in enumerate(rows):
        for name, videos in drawn.items():
            pictures += list(videos[index, moments])
            labels += [f"{row}: {name}, {moment}" for moment in moments]
    with atomic_write(path) as target:
        Image.fromarray(contact_sheet(pictures, columns, labels)).save(target)
