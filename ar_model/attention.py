"""The one attention call of the model: a bidirectional prefix, then causal positions that see everything before them.

In:  queries (B, H, S, d), keys and values (B, KV, S, d) with KV dividing H, and the length P of the prefix.
Out: (B, H, S, d); query head i reads key/value head i // (H/KV), scale 1/sqrt(d).
Back-ends: "sdpa" needs no mask tensor; "mask" is the plain boolean-mask form that the others are tested against.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def attend(
    query: Tensor, key: Tensor, value: Tensor, prefix: int, backend: str = "sdpa", scale: float | None = None
) -> Tensor:
    """Attention with a bidirectional prefix of ``prefix`` positions (0 or 1: plain causal).

    ``scale`` multiplies the scores; ``None`` means 1/sqrt(d).

    Raises:
        ValueError: the prefix is longer than the sequence or the back-end is unknown.
    """
    length = query.shape[2]
    if not 0 <= prefix <= length:
        raise ValueError(f"prefix {prefix} is outside the sequence of {length}")

    def call(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        return F.scaled_dot_product_attention(query, key, value, mask, is_causal=causal, scale=scale, enable_gqa=True)

    if backend == "mask":
        return call(query, key, value, prefix_mask(length, prefix, query.device))
    if backend != "sdpa":
        raise ValueError(f"unknown attention back-end {backend!r}")
    if prefix == length:
        return call(query, key, value)
    # square causal over everything, prefix rows thrown away: faster on CPU than a lower-right causal bias
    causal = call(query, key, value, causal=True)
    if prefix < 2:
        return causal
    both_ways = call(query[:, :, :prefix], key[:, :, :prefix], value[:, :, :prefix])
    return torch.cat([both_ways, causal[:, :, prefix:]], dim=2)


def prefix_mask(length: int, prefix: int, device: torch.device | None = None) -> Tensor:
    """(S, S) bool, True where the row's query may look at the column's key."""
    mask = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    mask[:prefix, :prefix] = True
    return mask
