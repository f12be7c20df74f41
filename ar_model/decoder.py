"""The transformer packed for generation: fused projections, a key/value cache, one or several positions per step.

In:  embedded tokens of the condition (B, P, dim), then of one position at a time (B, dim) or of several (B, n, dim).
Out: hidden states (B, dim) or (B, n, dim), normalised but for the last norm's weight, which the packed heads contain.
Same numbers as :class:`UniMoTransformer` up to rounding (tested). Packing copies the weights of blocks and heads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ar_model.attention import attend
from ar_model.blocks import Block, Context, Memory
from ar_model.kv_cache import KVCache
from ar_model.quantized import Int8Matrix
from ar_model.sequence import MOTION, VISUAL, SequenceLayout
from ar_model.transformer import UniMoTransformer
from ar_model.weights import Linear, pack

# layer, queries (..., heads, d), keys and values (..., kv_heads, d) -> (..., heads * d)
Mixer = Callable[[int, Tensor, Tensor, Tensor], Tensor]
Packer = Callable[..., Linear]
WEIGHTS = (None, "int8")


class Tables(NamedTuple):
    """Positions of one layout in the decoder's dtype.

    Attributes:
        cos: (S, head_dim).
        sin: (S, head_dim) with the sign of the half rotation.
        absolute: what is added, to the stream (S, dim) or to queries and keys (S, head_dim), or ``None``.
        gains: of that table in every layer.
    """

    cos: Tensor
    sin: Tensor
    absolute: Tensor | None
    gains: list[float]

    def at(self, place: int | slice | Tensor) -> Tables:
        """The rows of a position, of a stretch of them, or of the positions (n,) or (B, n) in a tensor."""
        absolute = None if self.absolute is None else self.absolute[place]
        return Tables(self.cos[place], self.sin[place], absolute, self.gains)


class PackedBlock:
    """Weights of one block, packed; norm weights and the attention scale are folded in.

    Attention to a context is not packed: it runs as the plain block has it.
    """

    def __init__(self, block: Block, packer: Packer) -> None:
        self.plain = block
        attention, ffn = block.attention, block.feed_forward
        scale = attention.width**-0.5
        queries = attention.wq.weight if attention.q_norm is not None else attention.wq.weight * scale
        self.qkv = packer([queries, attention.wk.weight, attention.wv.weight], block.attention_norm.weight)
        self.out = packer([attention.wo.weight])
        self.gate_up = packer([ffn.w1.weight, ffn.w3.weight], block.ffn_norm.weight)
        self.down = packer([ffn.w2.weight])
        self.hidden = ffn.w1.out_features
        self.head_norm: Tensor | None = None
        if attention.q_norm is not None and attention.k_norm is not None:
            rows = [attention.q_norm.weight * scale] * attention.heads + [attention.k_norm.weight] * attention.kv_heads
            self.head_norm = torch.stack(rows)


class PackedDecoder:
    """Prefill and single steps over a :class:`KVCache`.

    Attributes:
        dtype: of the stream and of the cache: the model's, but float32 on a CPU, whose reduced precision is no faster
            outside large products.
    """

    def __init__(self, model: UniMoTransformer, weights: str | None = None) -> None:
        """``weights``: ``None`` packs them as exact as they are, ``"int8"`` rounds blocks and heads.

        Raises:
            ValueError: another value.
        """
        if weights not in WEIGHTS:
            raise ValueError(f'weights must be None or "int8", got {weights!r}')
        self.model, self.config = model, model.config
        weight, packer = model.norm.weight, pack if weights is None else Int8Matrix
        self.device = weight.device
        self.dtype = torch.float32 if self.device.type == "cpu" else weight.dtype
        with torch.no_grad():
            self.blocks = [PackedBlock(block, packer) for block in model.layers if isinstance(block, Block)]
            kinds = (VISUAL, MOTION) if model.depth is None else (VISUAL,)  # the depth transformer writes motion
            self.heads = {kind: packer([model.head(kind).weight], weight) for kind in kinds}
        config = self.config
        self.rotated = config.heads + config.kv_heads
        self.groups = config.heads // config.kv_heads
        # queries carry the attention scale, so what is added to them must too
        scales = [config.head_width**-0.5] * config.heads + [1.0] * config.kv_heads
        self.head_scale = torch.tensor(scales, dtype=self.dtype, device=self.device)[:, None]
        widths = (config.dim, config.head_width)
        self.floors = {width: torch.tensor((width * config.norm_eps) ** 0.5, device=self.device) for width in widths}
        self.zero = torch.zeros((), device=self.device)

    def tables(self, layout: SequenceLayout) -> Tables:
        """The position tables of a layout."""
        tables = self.model.positions(layout, self.device)
        half = tables.sin.shape[1] // 2
        signed = torch.cat([-tables.sin[:, :half], tables.sin[:, half:]], dim=1)
        absolute, learned = tables.absolute, self.model.position_gain
        gains = [1.0] * len(self.blocks) if learned is None else learned.tolist()
        absolute = None if absolute is None else absolute.to(self.dtype)
        return Tables(tables.cos.to(self.dtype), signed.to(self.dtype), absolute, gains)

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
        return self.heads[modality](hidden).float()

    def prefill(self, tokens: Tensor, layout: SequenceLayout, cache: KVCache) -> Tensor:
        """Run the first tokens (B, n) of a layout at once, filling the cache; returns the last hidden (B, dim).

        Raises:
            ValueError: motion stands in the layout otherwise than in the model.
        """
        self.model.check_layout(layout)
        x = self.model.embed(tokens, layout)
        length = x.shape[1]
        prefix = min(layout.prefix_length, length)

        def mix(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
            cache.write(layer, 0, key.flatten(0, 1), value.flatten(0, 1))
            return attend(query, key, value, prefix, scale=1.0).transpose(1, 2).flatten(2)

        return self.run(x, self.tables(layout).at(slice(length)), cache.memories, mix)[:, -1]

    def step(self, x: Tensor, position: int, tables: Tables, cache: KVCache) -> Tensor:
        """Run the embedded token (B, dim) of one position, extending the cache; returns its hidden (B, dim)."""
        rows, width = len(x) * self.config.kv_heads, self.config.head_width

        def mix(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            cache.write(layer, position, key.reshape(rows, 1, width), value.reshape(rows, 1, width))
            keys, values = cache.read(layer, position + 1)
            scores = torch.bmm(query.reshape(rows, self.groups, width), keys.transpose(1, 2))
            return torch.bmm(torch.softmax(scores, dim=-1), values).view(len(x), -1)

        return self.run(x, tables.at(position), cache.memories, mix)

    def extend(self, x: Tensor, starts: Tensor, tables: Tables, cache: KVCache) -> Tensor:
        """Run several positions of every sequence at once, as that many steps would.

        Args:
            x: (B, n, dim) embedded tokens.
            starts: (B,) int64, where each sequence goes on; everything before must be in the cache, whose capacity must
                reach ``starts + n``. What runs past the layout's end gets its last position.
            tables, cache: as in ``step``.

        Returns:
            (B, n, dim) hidden states.
        """
        config, (batch, n, _) = self.config, x.shape
        rows, width = batch * config.kv_heads, config.head_width
        positions = starts[:, None] + torch.arange(n, device=starts.device)
        slots = cache.slots(positions)
        low, length = int(starts.min()) + 1, int(starts.max()) + n
        # 0 where a position may look, -inf at what lies behind it; columns before `low` are open to all
        hidden = torch.arange(low, length, device=starts.device) > positions[:, :, None]
        bias = torch.zeros(hidden.shape, dtype=self.dtype, device=x.device).masked_fill_(hidden, -torch.inf)[:, None]

        def mix(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            cache.scatter(layer, slots, key.transpose(1, 2), value.transpose(1, 2))
            keys, values = cache.read(layer, length)
            query = query.transpose(1, 2).reshape(rows, self.groups * n, width)
            scores = torch.bmm(query, keys.transpose(1, 2))
            scores.view(batch, config.heads, n, length)[..., low:] += bias
            mixed = torch.bmm(torch.softmax(scores, dim=-1), values)
            return mixed.view(batch, config.heads, n, width).transpose(1, 2).reshape(batch, n, -1)

        return self.run(x, tables.at(positions.clamp(max=len(tables.cos) - 1)), cache.memories, mix)

    def run(self, x: Tensor, places: Tables, memories: list[Memory | None], mix: Mixer) -> Tensor:
        """All blocks and the last norm; how positions see each other is the caller's.

        Args:
            x: (B, n, dim), or (B, dim) at a single position.
            places: the tables' rows of the n positions, of those of every sequence (B, n), or of the single one.
            memories: per layer what is kept of a context.
            mix: called once per layer, attention with its cache.

        Returns:
            hidden states of x's shape, normalised but for the last norm's weight.
        """
        x = x.to(self.dtype)
        cos, sin = places.cos.unsqueeze(-2), places.sin.unsqueeze(-2)
        in_heads = self.config.position_form == "query_key"
        heads = self.config.heads
        added = places.absolute
        for index, (block, gain) in enumerate(zip(self.blocks, places.gains, strict=True)):
            if added is not None and not in_heads:
                x = torch.add(x, added, alpha=gain)
            states = block.qkv(self._norm(x)).view(*x.shape[:-1], -1, self.config.head_width)
            turned = self._turn(states[..., : self.rotated, :], block, cos, sin)
            if added is not None and in_heads:
                turned = torch.add(turned, added.unsqueeze(-2) * self.head_scale, alpha=gain)
            mixed = mix(index, turned[..., :heads, :], turned[..., heads:, :], states[..., self.rotated :, :])
            x = self._finish(x, mixed, block, memories[index])
        return self._norm(x)

    def _norm(self, x: Tensor) -> Tensor:
        """x / sqrt(mean(x^2) + eps) in float32, in the fewest operations: sqrt(a^2 + b^2) is one."""
        wide, width = x.float(), x.shape[-1]
        size = torch.hypot(torch.linalg.vector_norm(wide, dim=-1, keepdim=True), self.floors[width])
        return torch.addcdiv(self.zero, wide, size, value=width**0.5).to(x.dtype)

    def _turn(self, heads: Tensor, block: PackedBlock, cos: Tensor, sin: Tensor) -> Tensor:
        """Normalise and rotate query and key heads (..., heads + kv_heads, head_dim)."""
        if block.head_norm is not None:
            heads = self._norm(heads) * block.head_norm
        return torch.addcmul(heads * cos, heads.roll(heads.shape[-1] // 2, -1), sin)

    def _finish(self, x: Tensor, mixed: Tensor, block: PackedBlock, memory: Memory | None) -> Tensor:
        """Output projection, context and feed-forward with their residuals; x is (B, S, dim) or (B, dim)."""
        x = x + block.out(mixed)
        if memory is not None:
            looked = block.plain.look(x.view(len(x), -1, x.shape[-1]).to(memory.keys.dtype), memory)
            x = looked.view_as(x).to(x.dtype)
        both = block.gate_up(self._norm(x))
        gate, up = both[..., : block.hidden], both[..., block.hidden :]
        return x + block.down(F.silu(gate) * up)
