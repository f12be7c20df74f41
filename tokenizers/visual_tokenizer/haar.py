"""Two-level Haar wavelets over time, height and width, as one small matrix product per 4 x 4 x 4 block.

In: video (B, 3, T, H, W), T = 1 + 4n. Out: coefficients (B, 192, 1 + n, H/4, W/4), and back, in Cosmos's order and
scale (the first coefficient of a block is its mean). The first frame is repeated three times in front, so that it
has a block of its own. Equal to diffusers' `CosmosPatchEmbed3d` and `CosmosUnpatcher3d`, several times faster.
The product of the matrix and its transpose is 1/64: mean squared errors of blocks of pixels can be read off here.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

_SIDE = 4  # pixels and frames of a block, each way


@lru_cache(maxsize=8)
def _matrix(device: torch.device, dtype: torch.dtype) -> Tensor:
    """(64 coefficients, 64 samples); rows are (second level, first level) bands, columns (t, h, w) in the block."""
    with torch.inference_mode(False):  # the cached tensor must serve training too
        pair = torch.tensor([[0.5, 0.5], [0.5, -0.5]], dtype=torch.float64)
        axis = torch.einsum("ap,bq->abpq", pair, pair)  # a, p: second level; b, q: first level; sample = 2 p + q
        cube = torch.einsum("abij,cdkl,efmn->acebdfijklmn", axis, axis, axis)
        return cube.reshape(64, 64).to(device=device, dtype=dtype)


def haar_patch(video: Tensor) -> Tensor:
    """Coefficients (B, 64 C, 1 + n, H/4, W/4) of a video (B, C, 1 + 4n, H, W); channel = band * C + colour."""
    video = torch.cat([video[:, :, :1].expand(-1, -1, _SIDE - 1, -1, -1), video], dim=2)
    batch, colours, frames, height, width = video.shape
    grid = (frames // _SIDE, height // _SIDE, width // _SIDE)
    blocks = video.reshape(batch, colours, grid[0], _SIDE, grid[1], _SIDE, grid[2], _SIDE)
    blocks = blocks.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(-1, 64)
    bands = (blocks @ _matrix(video.device, video.dtype).T).view(batch, *grid, colours, 64)
    return bands.transpose(-1, -2).reshape(batch, *grid, 64 * colours).permute(0, 4, 1, 2, 3)


def haar_unpatch(coefficients: Tensor) -> Tensor:
    """Video (B, C, 1 + 4n, H, W) of coefficients (B, 64 C, 1 + n, H/4, W/4)."""
    batch, channels, *grid = coefficients.shape
    colours = channels // 64
    bands = coefficients.permute(0, 2, 3, 4, 1).reshape(-1, 64, colours).transpose(1, 2).reshape(-1, 64)
    blocks = bands @ (64 * _matrix(coefficients.device, coefficients.dtype))
    blocks = blocks.view(batch, *grid, colours, _SIDE, _SIDE, _SIDE).permute(0, 4, 1, 5, 2, 6, 3, 7)
    return blocks.reshape(batch, colours, *(_SIDE * size for size in grid))[:, :, _SIDE - 1 :]
