"""Flicker along the movement of a clip: does a drawn pixel keep its look while it moves as the real one does?

In: clips (B, 3, T, H, W) in [-1, 1], drawn and real. Out: one number with a gradient to the drawn clip. The movement
is the optical flow of the real clip, estimated by iterative Lucas-Kanade over a pyramid, without a network and without
gradient. It holds for movements of a few pixels in textured places; `estimate_flow` is meant for weighing a loss, not
for measuring motion: what it cannot follow is found out and left out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST_SIDE = 12  # pixels of the coarsest level
WINDOW, STEPS = 7, 3
DAMPING = 1e-4  # squared slope of grey below which a place counts as flat, and keeps its neighbours' flow
ROUND_TRIP = 0.5  # pixels
PHOTOMETRIC = 0.1  # mean absolute difference of colours, of 2


def warp(pictures: Tensor, flow: Tensor) -> Tensor:
    """Pictures (N, C, H, W) read at each pixel's place plus flow (N, 2, H, W) x, y in pixels; the border repeats."""
    height, width = pictures.shape[-2:]
    x, y = _places(flow)
    # grid_sample counts from -1 to 1 between the centres of the outer pixels
    grid = torch.stack([2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1], dim=-1)
    return F.grid_sample(pictures, grid.to(pictures.dtype), padding_mode="border", align_corners=True)


@torch.no_grad()
def estimate_flow(first: Tensor, second: Tensor) -> Tensor:
    """Where each pixel of the first pictures is in the second.

    Each level looks for the shift that makes windows of 7 x 7 pixels equal in brightness (Lucas and Kanade 1981),
    starting from the coarser level's (Bouguet 2001). A step solves for the window's whole shift, given the shift each
    of its pixels has so far, not for a correction of one pixel's: neighbours then agree, and steps converge.

    Args:
        first, second: (N, 3, H, W).

    Returns:
        (N, 2, H, W) x (right) and y (down) in pixels: first at p looks like second at p + flow.
    """
    levels = _pyramid(first, second)
    flow = levels[-1][0].new_zeros(len(first), 2, *levels[-1][0].shape[-2:])
    for one, two in reversed(levels):
        flow = _enlarged(flow, one.shape[-2:])
        for _ in range(STEPS):
            flow = _improved(flow, one, two)
        flow = _smooth(flow)
    return flow


@torch.no_grad()
def valid_flow(first: Tensor, second: Tensor, there: Tensor, back: Tensor) -> Tensor:
    """(N, H, W) bool: pixels whose flow stays in the picture, leads back, and to the same colour.

    Args:
        first, second: (N, 3, H, W) in [-1, 1].
        there, back: (N, 2, H, W) flow from first to second and from second to first.
    """
    returned = (there + warp(back, there)).square().sum(1).sqrt()
    alike = (warp(second, there) - first).abs().mean(1)
    return _inside(there) & (returned < ROUND_TRIP) & (alike < PHOTOMETRIC)


def flow_consistency(ours: Tensor, real: Tensor) -> Tensor:
    """Mean over valid pixels of |warped next frame - frame| of our clip, less the same of the real clip, at least 0.

    Args:
        ours, real: (B, 3, T, H, W), the real clip in [-1, 1].

    Returns:
        A number, 0 for the real clip, for a single frame, and where no flow is valid; at most 2. It is low for
        blurred clips too, and means something only beside an error of single frames.
    """
    if real.shape[2] < 2:
        return ours.new_zeros(())
    real_first, real_second = _pairs(real.float())
    there, back = estimate_flow(real_first, real_second), estimate_flow(real_second, real_first)
    valid = valid_flow(real_first, real_second, there, back)
    our_first, our_second = _pairs(ours.float())
    change = (warp(our_second, there) - our_first).abs().mean(1)
    expected = (warp(real_second, there) - real_first).abs().mean(1)
    return ((change - expected).clamp(min=0) * valid).sum() / valid.sum().clamp(min=1)


def _pairs(clip: Tensor) -> tuple[Tensor, Tensor]:
    """All frames but the last and all but the first of clips (B, 3, T, H, W), as pictures (B (T-1), 3, H, W)."""
    frames = clip.transpose(1, 2)
    return frames[:, :-1].flatten(0, 1), frames[:, 1:].flatten(0, 1)


def _places(flow: Tensor) -> tuple[Tensor, Tensor]:
    """x and y (N, H, W) to which the flow leads, in pixels from the first."""
    height, width = flow.shape[-2:]
    x = torch.arange(width, device=flow.device)
    y = torch.arange(height, device=flow.device)[:, None]
    return x + flow[:, 0], y + flow[:, 1]


def _pyramid(first: Tensor, second: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Both pictures in grey (N, 1, H, W), from fine to coarse, each level half as large."""
    levels = [(first.float().mean(1, keepdim=True), second.float().mean(1, keepdim=True))]
    while min(levels[-1][0].shape[-2:]) >= 2 * SMALLEST_SIDE:
        one, two = levels[-1]
        levels.append((F.avg_pool2d(one, 2), F.avg_pool2d(two, 2)))
    return levels


def _enlarged(flow: Tensor, size: torch.Size) -> Tensor:
    """A coarser level's flow on this level's pixels."""
    if flow.shape[-2:] == size:
        return flow
    scale = torch.tensor([size[1] / flow.shape[-1], size[0] / flow.shape[-2]], device=flow.device).view(2, 1, 1)
    return F.interpolate(flow, size, mode="bilinear") * scale


def _improved(flow: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """One step: the least-squares shift of the window around each pixel."""
    warped = warp(second, flow)
    slopes = (_slopes(first) + _slopes(warped)) / 2
    x, y = slopes[:, :1], slopes[:, 1:]
    target = first - warped + (slopes * flow).sum(1, keepdim=True)
    products = torch.cat([x * x, x * y, y * y, x * target, y * target], dim=1)
    # a window's pixels that lead out of the picture say nothing
    xx, xy, yy, xt, yt = _mean(products * _inside(flow)[:, None]).split(1, dim=1)
    near = DAMPING * _mean(flow)
    xx, yy, xt, yt = xx + DAMPING, yy + DAMPING, xt + near[:, :1], yt + near[:, 1:]
    return torch.cat([yy * xt - xy * yt, xx * yt - xy * xt], dim=1) / (xx * yy - xy * xy)


def _inside(flow: Tensor) -> Tensor:
    """(N, H, W) bool: pixels whose flow stays in the picture."""
    x, y = _places(flow)
    height, width = flow.shape[-2:]
    # up to the outer pixels' edges, so that rounding does not cost a still picture its border
    return (x > -0.5) & (x < width - 0.5) & (y > -0.5) & (y < height - 0.5)


def _slopes(grey: Tensor) -> Tensor:
    """(N, 2, H, W): central differences to the right and down."""
    padded = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    right = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    return torch.cat([right, down], dim=1) / 2


def _mean(values: Tensor) -> Tensor:
    """Means over the window around each pixel; beyond the border there is nothing."""
    edge = WINDOW // 2
    columns = F.avg_pool2d(values, (WINDOW, 1), 1, (edge, 0), count_include_pad=False)
    return F.avg_pool2d(columns, (1, WINDOW), 1, (0, edge), count_include_pad=False)


def _smooth(flow: Tensor) -> Tensor:
    """Medians of three, down and then across: single wild values would grow on the next level."""
    down = F.pad(flow, (0, 0, 1, 1), mode="replicate")
    flow = _median(down[..., :-2, :], flow, down[..., 2:, :])
    across = F.pad(flow, (1, 1, 0, 0), mode="replicate")
    return _median(across[..., :-2], flow, across[..., 2:])


def _median(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    return torch.maximum(torch.minimum(a, b), torch.minimum(torch.maximum(a, b), c))
