"""The parts of one transformer block: norm, self-attention, attention to a context, feed-forward.

In:  the residual stream (B, S, dim) with the positions' cos and sin; text states for a model that reads them.
Out: the residual stream after the block. Parameter names are Cosmos's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ar_model.attention import attend
from ar_model.config import ARConfig
from ar_model.rope import rotate


@dataclass(frozen=True)
class Context:
    """Text that every position may look at.

    Attributes:
        states: (B, M, context_dim), outputs of a text encoder.
        mask: (B, M) bool, True where a state may be seen; ``None`` shows all of them.

    Raises:
        ValueError: the shapes do not fit, or a row of the mask hides everything.
    """

    states: Tensor
    mask: Tensor | None = None

    def __post_init__(self) -> None:
        if self.states.ndim != 3 or 0 in self.states.shape:
            raise ValueError(f"context states must be (B, M, context_dim), got {tuple(self.states.shape)}")
        if self.mask is None:
            return
        if self.mask.shape != self.states.shape[:2] or self.mask.dtype != torch.bool:
            found = f"{tuple(self.mask.shape)} {self.mask.dtype}"
            raise ValueError(f"the context mask must be {tuple(self.states.shape[:2])} bool, got {found}")
        if not bool(self.mask.any(dim=1).all()):
            raise ValueError("a row of the context mask hides every state")

    def shared_by(self, rows: int) -> Context:
        """The same text for several sequences; this context must have one row.

        Raises:
            ValueError: it has more.
        """
        if len(self.states) != 1:
            raise ValueError(f"a context of one row can be shared, this has {len(self.states)}")
        mask = None if self.mask is None else self.mask.expand(rows, -1)
        return Context(self.states.expand(rows, -1, -1), mask)


@dataclass(frozen=True)
class Memory:
    """What one block keeps of a context: keys and values (B, KV, M, d), and the mask (B, 1, 1, M) or ``None``."""

    keys: Tensor
    values: Tensor
    mask: Tensor | None

    def expand(self, copies: int) -> Memory:
        """Every row ``copies`` times in a row."""
        mask = None if self.mask is None else self.mask.repeat_interleave(copies, dim=0)
        return Memory(self.keys.repeat_interleave(copies, dim=0), self.values.repeat_interleave(copies, dim=0), mask)


class RMSNorm(nn.Module):
    """x / rms(x) in float32, cast back to x's dtype, times the weight."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (..., dim) over its last axis."""
        return F.rms_norm(x.float(), x.shape[-1:], eps=self.eps).to(x.dtype) * self.weight.to(x.dtype)


class Projections(nn.Module):
    """The weights of grouped-query attention: queries from the stream, keys and values from ``source`` channels."""

    def __init__(self, config: ARConfig, source: int) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.width = config.heads, config.kv_heads, config.head_width
        self.backend = config.attention
        self.wq = nn.Linear(config.dim, self.heads * self.width, bias=False)
        self.wk = nn.Linear(source, self.kv_heads * self.width, bias=False)
        self.wv = nn.Linear(source, self.kv_heads * self.width, bias=False)
        self.wo = nn.Linear(self.heads * self.width, config.dim, bias=False)
        self.q_norm = RMSNorm(self.width, config.norm_eps) if config.qk_norm else None
        self.k_norm = RMSNorm(self.width, config.norm_eps) if config.qk_norm else None

    def queries(self, x: Tensor) -> Tensor:
        """(B, S, dim) -> (B, S, H, d), normalised where the config says so."""
        query = self.wq(x).unflatten(-1, (self.heads, self.width))
        return query if self.q_norm is None else self.q_norm(query)

    def keys_and_values(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """(B, M, channels) -> keys, normalised where the config says so, and values, both (B, M, KV, d)."""
        key = self.wk(source).unflatten(-1, (self.kv_heads, self.width))
        value = self.wv(source).unflatten(-1, (self.kv_heads, self.width))
        return (key if self.k_norm is None else self.k_norm(key)), value


class Attention(Projections):
    """Attention of the sequence to itself, with rotary positions."""

    def __init__(self, config: ARConfig) -> None:
        super().__init__(config, config.dim)

    def forward(
        self, x: Tensor, cos: Tensor | None, sin: Tensor | None, prefix: int, absolute: Tensor | None = None
    ) -> Tensor:
        """(B, S, dim) -> (B, S, dim); cos and sin are (S, head_dim), and so is what is added after the rotation."""
        query, (key, value) = self.queries(x), self.keys_and_values(x)
        if cos is not None and sin is not None:
            cos, sin = cos.to(query.dtype)[:, None], sin.to(query.dtype)[:, None]
            query, key = rotate(query, cos, sin), rotate(key, cos, sin)
        if absolute is not None:
            query, key = query + absolute[:, None].to(query.dtype), key + absolute[:, None].to(key.dtype)
        mixed = attend(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), prefix, self.backend)
        return self.wo(mixed.transpose(1, 2).flatten(2))


class CrossAttention(Projections):
    """Attention of every position to a context, without positions."""

    def __init__(self, config: ARConfig, source: int) -> None:
        super().__init__(config, source)

    def read(self, context: Context) -> Memory:
        """Keys and values of a context, to be computed once and used by every position."""
        key, value = self.keys_and_values(context.states)
        mask = None if context.mask is None else context.mask[:, None, None]
        return Memory(key.transpose(1, 2), value.transpose(1, 2), mask)

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        """(B, S, dim) -> (B, S, dim)."""
        query = self.queries(x).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(query, memory.keys, memory.values, memory.mask, enable_gqa=True)
        return self.wo(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """SwiGLU: w2(silu(w1 x) * w3 x)."""

    def __init__(self, config: ARConfig) -> None:
        super().__init__()
        self.w1 = nn.Linear(config.dim, config.ffn_hidden, bias=False)
        self.w2 = nn.Linear(config.ffn_hidden, config.dim, bias=False)
        self.w3 = nn.Linear(config.dim, config.ffn_hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., dim) -> (..., dim)."""
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Block(nn.Module):
    """Pre-norm block: x += attention(norm(x)); [x += cross_attention(norm(x), context)]; x += feed_forward(norm(x))."""

    def __init__(self, config: ARConfig) -> None:
        super().__init__()
        source = config.context_dim
        self.attention = Attention(config)
        self.cross_attention = None if source is None else CrossAttention(config, source)
        self.feed_forward = FeedForward(config)
        self.attention_norm = RMSNorm(config.dim, config.norm_eps)
        self.cross_attention_norm = None if source is None else RMSNorm(config.dim, config.norm_eps)
        self.ffn_norm = RMSNorm(config.dim, config.norm_eps)
        self.dropout = config.dropout

    def read(self, context: Context | None) -> Memory | None:
        """What the block keeps of a context; ``None`` where it reads none."""
        return None if self.cross_attention is None or context is None else self.cross_attention.read(context)

    def look(self, x: Tensor, memory: Memory | None) -> Tensor:
        """x (B, S, dim) plus what the context adds; x itself in a block that reads none."""
        if self.cross_attention is None or self.cross_attention_norm is None or memory is None:
            return x
        return x + self._drop(self.cross_attention(self.cross_attention_norm(x), memory))

    def forward(
        self,
        x: Tensor,
        cos: Tensor | None,
        sin: Tensor | None,
        prefix: int,
        memory: Memory | None = None,
        absolute: Tensor | None = None,
    ) -> Tensor:
        """(B, S, dim) -> (B, S, dim).

        Without cos and sin there is no rotation; ``absolute`` (S, head_dim) is added to queries and keys (paper
        eq. 3-4).
        """
        x = x + self._drop(self.attention(self.attention_norm(x), cos, sin, prefix, absolute))
        x = self.look(x, memory)
        return x + self._drop(self.feed_forward(self.ffn_norm(x)))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x
