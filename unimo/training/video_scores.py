"""How well clips are drawn, beside a baseline: the validation of everything that draws video.

In: a function from video to video and a pack of clips. Out: means over clips.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from unimo.data.pack import ClipPack
from unimo.media.pixels import to_frames, to_video
from unimo.metrics.pictures import PictureScores
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
        Means over clips of the measures of `PictureScores`, and of the two PSNRs of a copy of the frames that is 16x
        down-sampled and enlarged again (`downsampled_16x.psnr_db`, `downsampled_16x.psnr_in_mask_db`).
    """
    count = min(clips, len(pack))
    scores = PictureScores()
    coarse: dict[str, list[float]] = {"psnr_db": [], "psnr_in_mask_db": []}
    for start in range(0, count, _BATCH):
        rows = np.arange(start, min(start + _BATCH, count))
        frames, masks = np.asarray(pack.frames[rows]), pack.masks(rows)
        drawn = to_frames(reconstruct(to_video(frames, device)))
        for ours, real, mask in zip(drawn, frames, masks, strict=True):
            scores.add(ours, real, mask)
            # not all measures: the copy is the same at every validation
            copy = box_downsampled(real)
            coarse["psnr_db"].append(psnr_db(copy, real))
            coarse["psnr_in_mask_db"].append(psnr_db(copy, real, mask))
    values = scores.values | {f"downsampled_16x.{key}": np.array(each) for key, each in coarse.items()}
    return {key: float(np.nanmean(each)) for key, each in values.items()}
