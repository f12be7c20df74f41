"""Long clips through a convolutional network in bounded memory, with the numbers of one pass over the whole clip.

A chunk takes along as many neighbouring frames on either side as the network can see, and gives back only its own part.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .config import MotionTokenizerConfig

CHUNK_FRAMES = 512
"""Frames that go through the network at once; shorter clips go whole."""


def receptive_frames(config: MotionTokenizerConfig) -> int:
    """Frames on either side that one output of the encoder, or of a decoder, can depend on, rounded up."""
    (first, second), layers = config.residual_kernels, config.residual_layers
    dilations = sum(config.dilation_growth**index for index in range(layers))
    # causal padding is all on one side
    block = (dilations * (first - 1) + layers * (second - 1)) / (1 if config.causal else 2)
    reach, rate = 0.0, 1
    for stride in config.strides:
        # decoders run a block at the rate before its stride, where it reaches further than in the encoder
        reach += (config.resample_kernel_factor + block) / rate
        rate *= stride
    return math.ceil(reach) + 1


def in_chunks(network: Callable[[Tensor], Tensor], x: Tensor, unit: int, halo: int) -> Tensor:
    """Runs a network over a long sequence.

    Args:
        network: (B, N, C) with N positions of `unit` a frame -> (B, M, C') with M / frames constant.
        x: (B, N, C).
        unit: positions of `x` a frame.
        halo: frames on either side that an output can depend on.

    Returns:
        What `network(x)` would give.
    """
    frames = x.shape[1] // unit
    if frames <= CHUNK_FRAMES + 2 * halo:
        return network(x)
    pieces = []
    for start in range(0, frames, CHUNK_FRAMES):
        stop = min(start + CHUNK_FRAMES, frames)
        first, last = max(start - halo, 0), min(stop + halo, frames)
        piece = network(x[:, first * unit : last * unit])
        scale = piece.shape[1] // (last - first)
        pieces.append(piece[:, (start - first) * scale : (stop - first) * scale])
    return torch.cat(pieces, dim=1)
