"""Whole motion frames at one position (motion layout "frame"): their embedding, and the transformer that writes them.

In:  the 36 codes of frames (B, F, 36); hidden states (B, F, dim), each of the position before its frame.
Out: embeddings (B, F, dim); logits (B, F, 36, motion_ids) of every code given those before it in its frame.
The design is RQ-Transformer's (Lee et al. 2022) and Moshi's (Defossez et al. 2024): the large transformer says what a
frame is about, a small one writes its codes in order.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ar_model.blocks import Block, RMSNorm
from ar_model.config import ARConfig, DepthConfig
from ar_model.sequence import CODES_PER_FRAME


class FrameEmbedding(nn.Module):
    """One vector for a frame: a sum over its slots of what the slot makes of its code.

    The slots' tables are products of a code table that all share and a matrix of the slot's own.
    """

    def __init__(self, config: ARConfig, depth: DepthConfig) -> None:
        super().__init__()
        self.codes = nn.Embedding(config.motion_ids, depth.code_dim)
        self.slots = nn.Linear(CODES_PER_FRAME * depth.code_dim, config.dim, bias=False)

    def forward(self, codes: Tensor) -> Tensor:
        """(..., 36) ids -> (..., dim)."""
        return self.slots(self.codes(codes).flatten(-2))


class DepthTransformer(nn.Module):
    """A causal transformer over the 36 slots of one frame.

    Slot i reads its own part of the hidden state, the code before it and the slot's own vector.
    """

    def __init__(self, config: ARConfig, depth: DepthConfig) -> None:
        super().__init__()
        self.condition = nn.Linear(config.dim, CODES_PER_FRAME * depth.dim, bias=False)
        self.codes = nn.Embedding(config.motion_ids, depth.dim)
        self.slots = nn.Embedding(CODES_PER_FRAME, depth.dim)
        block = block_config(config, depth)
        self.layers = nn.ModuleList(Block(block) for _ in range(depth.layers))
        self.norm = RMSNorm(depth.dim, config.norm_eps)
        self.output = nn.Linear(depth.dim, config.motion_ids, bias=False)
        self.dim = depth.dim

    def forward(self, hidden: Tensor, codes: Tensor) -> Tensor:
        """States from which the codes' logits follow.

        Args:
            hidden: (B, F, dim) of the position before each frame.
            codes: (B, F, 36) ids of the frames; the last one is not read.

        Returns:
            (B, F, 36, depth.dim); ``output`` of slot i gives the logits of code i.
        """
        x = self.conditions(hidden)
        before = self.codes(codes[..., :-1])
        x = (x + nn.functional.pad(before, (0, 0, 1, 0))).flatten(0, 1)
        for block in self.layers:
            x = block(x, None, None, 0)  # a slot's place is in its vector: no rotation
        return self.norm(x).unflatten(0, hidden.shape[:2])

    def conditions(self, hidden: Tensor) -> Tensor:
        """(..., dim) -> (..., 36, depth.dim): what every slot gets before it knows any code."""
        return self.condition(hidden).unflatten(-1, (CODES_PER_FRAME, self.dim)) + self.slots.weight

    @torch.no_grad()
    def reset_parameters(self, embedding_std: float) -> None:
        """Embeddings and projections at the size of the stream they enter; blocks are the caller's."""
        for table in (self.codes, self.slots):
            nn.init.normal_(table.weight, std=embedding_std)
        # its input, a normalised hidden state, has unit size
        nn.init.normal_(self.condition.weight, std=embedding_std * self.condition.in_features**-0.5)


def block_config(config: ARConfig, depth: DepthConfig) -> ARConfig:
    """The geometry of a depth transformer's blocks: those of the large one, smaller, with all keys their own."""
    return ARConfig(
        dim=depth.dim, layers=depth.layers, heads=depth.heads, kv_heads=depth.heads, ffn_hidden=depth.ffn_hidden,
        norm_eps=config.norm_eps, qk_norm=False, absolute_positions=False, attention=config.attention,
        dropout=config.dropout,
    )  # fmt: skip
