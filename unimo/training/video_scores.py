"""How well clips are drawn, beside a baseline: the validation of everything that draws video.

In: a function from video to video and a pack of clips. Out: means over clips.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from unimo.data.pack import ClipPack
from unimo.media.pixels import to_frames, to_video
from unimo.metrics.flicker import flicker_error
from unimo.metrics.structure import WINDOW, ssim
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
        Means over clips of `psnr_db` and `psnr_person_db` (dB), both also of a 16x smaller copy (`downsampled.…`),
        `ssim` and `ssim_person` (1 is best), and `flicker_error` (0 is best).
    """
    count = min(clips, len(pack))
    scores: list[dict[str, float]] = []
    for start in range(0, count, _BATCH):
        rows = np.arange(start, min(start + _BATCH, count))
        frames, masks = np.asarray(pack.frames[rows]), pack.masks(rows)
        drawn = to_frames(reconstruct(to_video(frames, device)))
        scores += [_clip_scores(*clip) for clip in zip(drawn, frames, masks, strict=True)]
    return {name: float(np.nanmean([clip[name] for clip in scores])) for name in scores[0]}


def _clip_scores(ours: np.ndarray, real: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Of one clip: frames (T, H, W, 3) uint8 and the person's mask (T, H, W)."""
    small = box_downsampled(real)
    return {
        "psnr_db": psnr_db(ours, real),
        "psnr_person_db": psnr_db(ours, real, mask),
        "downsampled.psnr_db": psnr_db(small, real),
        "downsampled.psnr_person_db": psnr_db(small, real, mask),
        "ssim": ssim(ours, real),
        "ssim_person": _person_ssim(ours, real, mask),
        "flicker_error": flicker_error(ours, real),
    }


def _person_ssim(ours: np.ndarray, real: np.ndarray, mask: np.ndarray) -> float:
    """`ssim` with a mask, without the windows far from it, which cost most of the time."""
    box = (slice(None), _span(mask.max(axis=(0, 2))), _span(mask.max(axis=(0, 1))))
    near = mask[box]
    if min(near.shape[1:]) < WINDOW:  # no person, or only where no window has its centre
        return float("nan")
    return ssim(ours[box], real[box], near)


def _span(lines: np.ndarray) -> slice:
    """From the first true line to the last, with half a window on either side."""
    where = np.flatnonzero(lines)
    if not len(where):
        return slice(0, 0)
    return slice(max(0, int(where[0]) - WINDOW // 2), int(where[-1]) + WINDOW // 2 + 1)
