"""How well clips are drawn, beside a baseline: the validation of everything that draws video.

In: a function from video to video and a pack of clips. Out: means over clips.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from unimo.data.pack import ClipPack
from unimo.media.pixels import to_frames, to_video
from unimo.metrics.video import box_downsampled, psnr_db

_BATCH = 8


def score_reconstructions(
    reconstruct: Callable[[Tensor], Tensor], pack: ClipPack, clips: int, device: str = "cpu"
) -> dict[str, float]:
    """Scores reconstructions of the first clips of a pack.

    Args:
        reconstruct: (B, 3, T, H, W) in [-1, 1] to the same shape.
        pack: clips with the person's mask.
        clips: how many of them, from the first.
        device: where the video is put.

    Returns:
        `psnr_db` and `psnr_person_db` (dB, means over clips), and both of a 16x smaller copy (`downsampled.…`).
    """
    count = min(clips, len(pack))
    scores: list[tuple[float, ...]] = []
    for start in range(0, count, _BATCH):
        rows = np.arange(start, min(start + _BATCH, count))
        frames, masks = np.asarray(pack.frames[rows]), pack.masks(rows)
        drawn = to_frames(reconstruct(to_video(frames, device)))
        for real, ours, mask in zip(frames, drawn, masks, strict=True):
            small = box_downsampled(real)
            pairs = ((ours, None), (ours, mask), (small, None), (small, mask))
            scores.append(tuple(psnr_db(picture, real, where) for picture, where in pairs))
    names = ("psnr_db", "psnr_person_db", "downsampled.psnr_db", "downsampled.psnr_person_db")
    return dict(zip(names, np.nanmean(np.array(scores), axis=0).tolist(), strict=True))
