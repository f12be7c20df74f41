"""The transformer packed for generation: fused projections, a key/value cache, one position per step.

In:  embedded tokens of the condition (B, P, dim), then of one position at a time (B, dim).
Out: hidden states (B, dim), normalised but for the last norm's weight, which is folded into the packed heads.
Same numbers as :class:`UniMoTransformer` up to rounding (tested). Packing copies the weights of blocks and heads.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ar_model.attention import attend
from ar_model.blocks import Block, Context, Memory
from ar_model.kv_cache import KVCache
from ar_model.sequence import MOTION, VISUAL, SequenceLayout
from ar_model.transformer import UniMoTransformer


class PackedBlock:
    """Weights of one block, transposed for ``x @ w``; norm weights and the attention scale are folded in.

    Attention to a context is not packed: it runs as the plain block has it.
    """

    def __init__(self, block: Block) -> None:
        self.plain = block
        attention, ffn = block.attention, block.feed_forward
        scale = attention.width**-0.5
        queries = attention.wq.weight if attention.q_norm is not None else attention.wq.weight * scale
        stacked = torch.cat([queries, attention.wk.weight, attention.wv.weight])
        self.qkv = _transposed(stacked, block.attention_norm.weight)
        self.out = _transposed(attention.wo.weight)
        self.gate_up = _transposed(torch.cat([ffn.w1.weight, ffn.w3.weight]), block.ffn_norm.weight)
        self.down = _transposed(ffn.w2.weight)
        self.head_norm: Tensor | None = None
        if attention.q_norm is not None and attention.k_norm is not None:
            rows = [attention.q_norm.weight * scale] * attention.heads + [attention.k_norm.weight] * attention.kv_heads
            self.head_norm = torch.stack(rows)


class PackedDecoder:
    """Prefill and single steps over a :class:`KVCache`."""

    def __init__(self, model: UniMoTransformer) -> None:
        self.model, self.config = model, model.config
        weight = model.norm.weight
        self.device, self.dtype = weight.device, weight.dtype
        with torch.no_grad():
            self.blocks = [PackedBlock(block) for block in model.layers if isinstance(block, Block)]
            kinds = (VISUAL, MOTION) if model.depth is None else (VISUAL,)  # the depth transformer writes motion
            self.heads = {kind: _transposed(model.head(kind).weight, weight) for kind in kinds}
        self.rotated = self.config.heads + self.config.kv_heads

    def tables(self, layout: SequenceLayout) -> tuple[Tensor, Tensor, list[Tensor | None]]:
        """cos, sin (S, head_dim) with the sign of the half rotation in sin, and per layer the absolute (S, dim)."""
        tables = self.model.positions(layout, self.device)
        half = tables.sin.shape[1] // 2
        signed = torch.cat([-tables.sin[:, :half], tables.sin[:, half:]], dim=1)
        absolute: list[Tensor | None] = [None] * len(self.blocks)
        if tables.absolute is not None:
            base = tables.absolute.to(self.dtype)
            gains = self.model.position_gain
            absolute = [base if gains is None else gains[index] * base for index in range(len(self.blocks))]
        return tables.cos.to(self.dtype), signed.to(self.dtype), absolute

    def new_cache(self, batch: int, capacity: int, context: Context | None = None) -> KVCache:
        """A cache without positions yet for ``batch`` sequences of up to ``capacity`` positions, with their context.

        Raises:
            ValueError: the context does not fit the model or the batch.
        """
        config, memories = self.config, self.model.read(context, batch)
        shape = (config.layers, batch, config.kv_heads, capacity, config.head_width)
        return KVCache(*shape, self.dtype, self.device, memories)

    def logits(self, hidden: Tensor, modality: int) -> Tensor:
        """(B, dim) -> (B, V) float32 logits of one modality."""
        return (hidden @ self.heads[modality]).float()

    def prefill(self, tokens: Tensor, layout: SequenceLayout, cache: KVCache) -> Tensor:
        """Run the first tokens (B, n) of a layout at once, filling the cache; returns the last hidden (B, dim)."""
        config = self.config
        x = self.model.embed(tokens, layout)
        batch, length, _ = x.shape
        cos, sin, absolute = self.tables(layout)
        cos, sin = cos[:length, None], sin[:length, None]
        for index, block in enumerate(self.blocks):
            table = absolute[index]
            if table is not None:
                x = x + table[:length]
            heads = (self._norm(x) @ block.qkv).view(batch, length, -1, config.head_width)
            turned = self._turn(heads[:, :, : self.rotated], block, cos, sin).transpose(1, 2)
            value = heads[:, :, self.rotated :].transpose(1, 2)
            query, key = turned[:, : config.heads], turned[:, config.heads :]
            cache.write(index, 0, key.flatten(0, 1), value.flatten(0, 1))
            mixed = attend(query, key, value, min(layout.prefix_length, length), scale=1.0)
            x = self._finish(x, mixed.transpose(1, 2).flatten(2), block, cache.memories[index])
        return self._norm(x[:, -1])

    def step(
        self, x: Tensor, position: int, tables: tuple[Tensor, Tensor, list[Tensor | None]], cache: KVCache
    ) -> Tensor:
        """Run the embedded token (B, dim) of one position, extending the cache; returns its hidden (B, dim)."""
        config, batch = self.config, x.shape[0]
        groups = config.heads // config.kv_heads
        cos, sin, absolute = tables[0][position], tables[1][position], tables[2]
        for index, block in enumerate(self.blocks):
            table = absolute[index]
            if table is not None:
                x = x + table[position]
            heads = torch.mm(self._norm(x), block.qkv).view(batch, -1, config.head_width)
            turned = self._turn(heads[:, : self.rotated], block, cos, sin)
            key = turned[:, config.heads :].reshape(batch * config.kv_heads, 1, -1)
            cache.write(index, position, key, heads[:, self.rotated :].reshape(batch * config.kv_heads, 1, -1))
            keys, values = cache.read(index, position + 1)
            query = turned[:, : config.heads].reshape(batch * config.kv_heads, groups, -1)
            mixed = torch.bmm(torch.softmax(torch.bmm(query, keys.transpose(1, 2)), dim=-1), values)
            x = self._finish(x, mixed.view(batch, -1), block, cache.memories[index])
        return self._norm(x)

    def _norm(self, x: Tensor) -> Tensor:
        wide = x.float()
        scale = torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + self.config.norm_eps)
        return (wide * scale).to(x.dtype)

    def _turn(self, heads: Tensor, block: PackedBlock, cos: Tensor, sin: Tensor) -> Tensor:
        """Normalise and rotate query and key heads (..., heads + kv_heads, head_dim)."""
        if block.head_norm is not None:
            heads = self._norm(heads) * block.head_norm
        return torch.addcmul(heads * cos, heads.roll(heads.shape[-1] // 2, -1), sin)

    def _finish(self, x: Tensor, mixed: Tensor, block: PackedBlock, memory: Memory | None) -> Tensor:
        """Output projection, context and feed-forward with their residuals; x is (B, S, dim) or (B, dim)."""
        x = x + mixed @ block.out
        if memory is not None:
            x = block.plain.look(x.view(len(x), -1, x.shape[-1]), memory).view_as(x)
        gate, up = (self._norm(x) @ block.gate_up).chunk(2, dim=-1)
        return x + (F.silu(gate) * up) @ block.down


def _transposed(weight: Tensor, gain: Tensor | None = None) -> Tensor:
    """(out, in) -> contiguous (in, out), inputs scaled by ``gain`` (in,) in float32."""
    wide = weight.detach().float()
    if gain is not None:
        wide = wide * gain.detach().float()
    return wide.to(weight.dtype).t().contiguous()
