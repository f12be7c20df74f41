"""The depth transformer packed for generation: the 36 codes of a frame, one after another.

In:  the hidden state (B, dim) of the position before a frame, a sampling rule, Exp(1) noise (B, 36, motion_ids).
Out: the frame's codes (B, 36).
Same numbers as :class:`DepthTransformer` up to rounding (tested). Packing copies the weights.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ar_model.blocks import Block
from ar_model.depth import DepthTransformer
from ar_model.sampling import Sampling, race
from ar_model.sequence import CODES_PER_FRAME
from ar_model.weights import Matrix


class _PackedBlock:
    """Weights of one block; norm weights and the attention scale are folded in.

    They are few and read 36 times a frame, so caches hold them, and the packing for many weights gains nothing.
    """

    def __init__(self, block: Block) -> None:
        attention, ffn = block.attention, block.feed_forward
        scaled = attention.wq.weight * attention.width**-0.5
        self.heads, self.width = attention.heads, attention.width
        self.qkv = Matrix([scaled, attention.wk.weight, attention.wv.weight], block.attention_norm.weight)
        self.out = Matrix([attention.wo.weight])
        self.gate_up = Matrix([ffn.w1.weight, ffn.w3.weight], block.ffn_norm.weight)
        self.down = Matrix([ffn.w2.weight])
        self.hidden = ffn.w1.out_features


class PackedDepth:
    """Writes whole frames."""

    @torch.no_grad()
    def __init__(self, depth: DepthTransformer, norm_weight: Tensor, eps: float) -> None:
        """``norm_weight`` (dim,): of the large transformer's last norm, which its packed hidden states lack."""
        self.dim, self.eps, self.vocabulary = depth.dim, eps, depth.output.out_features
        self.condition = Matrix([depth.condition.weight], norm_weight)
        self.slots, self.codes = depth.slots.weight.detach(), depth.codes.weight.detach()
        self.blocks = [_PackedBlock(block) for block in depth.layers if isinstance(block, Block)]
        self.head = Matrix([depth.output.weight], depth.norm.weight)

    def write(
        self,
        hidden: Tensor,
        sampling: Sampling,
        noise: Tensor | None,
        watch: Callable[[Tensor], None] | None = None,
    ) -> Tensor:
        """Draw a frame.

        Args:
            hidden: (B, dim) of the position before the frame, normalised but for the last norm's weight.
            sampling: the rule.
            noise: (B, 36, motion_ids) Exp(1); ``None`` at temperature 0.
            watch: called with the logits (B, motion_ids) of every code before it is drawn.

        Returns:
            (B, 36) int64 codes.
        """
        conditions = self.condition(hidden).view(len(hidden), CODES_PER_FRAME, self.dim) + self.slots
        first = self.blocks[0]
        shape = (len(self.blocks), 2, len(hidden) * first.heads, CODES_PER_FRAME, first.width)
        cache = hidden.new_empty(shape)
        codes = torch.empty(len(hidden), CODES_PER_FRAME, dtype=torch.int64, device=hidden.device)
        x = conditions[:, 0]
        for slot in range(CODES_PER_FRAME):
            logits = self.step(x, slot, cache)
            if watch:
                watch(logits)
            codes[:, slot] = ids = race(logits, sampling, None if noise is None else noise[:, slot])
            if slot + 1 < CODES_PER_FRAME:
                x = F.embedding(ids, self.codes) + conditions[:, slot + 1]
        return codes

    def step(self, x: Tensor, slot: int, cache: Tensor) -> Tensor:
        """(B, depth.dim) of one slot -> (B, motion_ids) float32 logits; writes the slot into the cache."""
        batch = len(x)
        for block, (keys, values) in zip(self.blocks, cache, strict=True):
            heads = block.qkv(self._norm(x)).view(batch, 3, block.heads, 1, block.width)
            query, key, value = heads.unbind(1)
            keys[:, slot], values[:, slot] = key.reshape(-1, block.width), value.reshape(-1, block.width)
            scores = torch.bmm(query.reshape(-1, 1, block.width), keys[:, : slot + 1].transpose(1, 2))
            mixed = torch.bmm(torch.softmax(scores, dim=-1), values[:, : slot + 1])
            x = x + block.out(mixed.view(batch, -1))
            both = block.gate_up(self._norm(x))
            gate, up = both[:, : block.hidden], both[:, block.hidden :]
            x = x + block.down(F.silu(gate) * up)
        return self.head(self._norm(x)).float()

    def _norm(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), (self.dim,), eps=self.eps).to(x.dtype)

