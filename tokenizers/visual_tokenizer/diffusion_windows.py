"""Clips longer than the diffusion decoder's window: which latent frames each window takes, and how videos are joined.

In: numbers of latent frames, or the decoded videos (B, 3, T, H, W) of the windows. Out: first latent frames of the
windows, or one video.
Windows are joined as videos, not as latents: the first latent frame of a window stands for one picture and the others
for eight, so two windows' latents of one moment differ in kind. Latent frame m of a window that starts at s ends with
video frame 8 (s + m): windows that share k latent frames share 8 (k - 1) + 1 video frames, and are blended over all.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def window_starts(frames: int, window: int, overlap: int) -> list[int]:
    """First latent frame of each window; the last window is shifted back to end with the clip.

    Args:
        frames: latent frames of the clip, at least 1; up to `window` of them are one (shorter) window.
        window: latent frames of a window.
        overlap: latent frames two windows share at least, 1 .. window - 1.

    Raises:
        ValueError: numbers out of range.
    """
    if frames < 1 or not 1 <= overlap < window:
        raise ValueError(f"no windows of {window} with overlap {overlap} over {frames} latent frames")
    last = max(0, frames - window)
    return [*range(0, last, window - overlap), last]


def join_windows(videos: Sequence[Tensor], starts: Sequence[int]) -> Tensor:
    """Joins videos that overlap in time, linearly from one to the next over all frames they share.

    Args:
        videos: each (B, C, T_i, H, W).
        starts: ascending; the frame of the whole at which each begins. The first is 0.

    Returns:
        (B, C, starts[-1] + T_last, H, W). The first shared frame is the earlier video's, the last the later one's.

    Raises:
        ValueError: a gap between two videos, one that ends before its predecessor, or shapes that differ.
    """
    if not videos or len(videos) != len(starts) or starts[0] != 0:
        raise ValueError(f"{len(videos)} videos need as many starts, the first of them 0, got {list(starts)}")
    whole = videos[0]
    for video, start in zip(videos[1:], starts[1:], strict=True):
        shared = whole.shape[2] - start
        if video.shape[:2] != whole.shape[:2] or video.shape[3:] != whole.shape[3:]:
            raise ValueError(f"videos must differ in length only, got {tuple(whole.shape)} and {tuple(video.shape)}")
        if not 0 <= shared <= min(video.shape[2], whole.shape[2]):
            raise ValueError(
                f"a video of {video.shape[2]} frames at frame {start} cannot continue one of {whole.shape[2]} frames"
            )
        ramp = torch.linspace(0, 1, shared, device=video.device).to(video.dtype).view(-1, 1, 1)
        blended = torch.lerp(whole[:, :, start:], video[:, :, :shared], ramp)
        whole = torch.cat([whole[:, :, :start], blended, video[:, :, shared:]], dim=2)
    return whole


def reference_split(latents: Tensor, window: int = 8, overlap: int = 2) -> list[Tensor]:
    """Cosmos's own windows, for parity only: a short tail is filled by reflection in time.

    Args:
        latents: (B, C, K, h, w) ids or latents.

    Raises:
        ValueError: a tail of less than `window // 2 + 1` latent frames, as in the reference.
    """
    frames = latents.shape[2]
    parts = []
    for start in range(0, max(1, frames - overlap), window - overlap):
        length = min(window, frames - start)
        if 2 * length - 1 < window:
            raise ValueError(f"a tail of {length} latent frames cannot be reflected to {window}")
        indices = [start + min(index, 2 * (length - 1) - index) if index >= length else start + index
                   for index in range(window)]  # fmt: skip
        parts.append(latents[:, :, indices])
    return parts


def reference_blend(videos: Sequence[Tensor], overlap: int = 2) -> Tensor:
    """Cosmos's own join, for parity only: it blends 2 video frames although windows share 2 latent frames (9 frames).

    Raises:
        ValueError: as `join_windows`.
    """
    length = videos[0].shape[2] - overlap
    return join_windows(videos, [index * length for index in range(len(videos))])
