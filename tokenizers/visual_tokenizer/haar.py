"""Haar wavelets over time, height and width, as one small matrix product per block of pixels.

In: video (B, 3, T, H, W), T = 1 + 4n. Out: coefficients (B, 192, 1 + n, H/4, W/4), and back, in Cosmos's order and
scale (the first coefficient of a block is its mean). The first frame is repeated three times in front, so that it
has a block of its own. Equal to diffusers' `CosmosPatchEmbed3d` and `CosmosUnpatcher3d`, several times faster.
The product of the matrix and its transpose is 1/64: mean squared errors of blocks of pixels can be read off here.
Blocks of 4 (two levels) are what the released tokenizers use; another power of two works alike.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

_SIDE = 4  # pixels and frames of a block, each way


@lru_cache(maxsize=8)
def _matrix(side: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(side³ coefficients, side³ samples); rows are bands from the last level to the first, columns (t, h, w)."""
    with torch.inference_mode(False):  # the cached tensor must serve training too
        pair = torch.tensor([[0.5, 0.5], [0.5, -0.5]], dtype=torch.float64)
        cube = torch.einsum("ai,bj,ck->abcijk", pair, pair, pair).reshape(8, 2, 2, 2)
        bands = cube
        while bands.shape[1] < side:
            size = bands.shape[1]
            # each sample of the level so far becomes a cell of 2 x 2 x 2 pixels, all bands of which go on
            bands = torch.einsum("pxyz,qijk->pqxiyjzk", bands, cube).reshape(-1, *[2 * size] * 3)
        return bands.reshape(side**3, side**3).to(device=device, dtype=dtype)


def haar_patch(video: Tensor, side: int = _SIDE) -> Tensor:
    """Coefficients (B, side³ C, 1 + n, H/side, W/side) of a video (B, C, 1 + side n, H, W).

    Channel = band * C + colour.
    """
    video = torch.cat([video[:, :, :1].expand(-1, -1, side - 1, -1, -1), video], dim=2)
    batch, colours, frames, height, width = video.shape
    grid, cells = (frames // side, height // side, width // side), side**3
    blocks = video.reshape(batch, colours, grid[0], side, grid[1], side, grid[2], side)
    blocks = blocks.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(-1, cells)
    bands = (blocks @ _matrix(side, video.device, video.dtype).T).view(batch, *grid, colours, cells)
    return bands.transpose(-1, -2).reshape(batch, *grid, cells * colours).permute(0, 4, 1, 2, 3)


def haar_unpatch(coefficients: Tensor, side: int = _SIDE) -> Tensor:
    """Video (B, C, 1 + side n, H, W) of coefficients (B, side³ C, 1 + n, H/side, W/side)."""
    batch, channels, *grid = coefficients.shape
    cells = side**3
    colours = channels // cells
    bands = coefficients.permute(0, 2, 3, 4, 1).reshape(-1, cells, colours).transpose(1, 2).reshape(-1, cells)
    blocks = bands @ (cells * _matrix(side, coefficients.device, coefficients.dtype))
    blocks = blocks.view(batch, *grid, colours, side, side, side).permute(0, 4, 1, 5, 2, 6, 3, 7)
    return blocks.reshape(batch, colours, *(side * size for size in grid))[:, :, side - 1 :]
