"""The one attention call of the model: a bidirectional prefix, then causal positions that see everything before them.

In:  queries (B, H, S, d), keys and values (B, KV, S, d) with KV dividing H, and the length P of the prefix.
Out: (B, H, S, d); query head i reads key/value head i // (H/KV), scale 1/sqrt(d).
Back-ends: "sdpa" needs no mask tensor; "mask" is the plain boolean-mask form that the others are tested against.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def attend(query: Tensor, key: Tensor, value: Tensor, prefix: int, backend: str = "sdpa") -> Tensor:
    """Attention with a bidirectional prefix of ``prefix`` positions (0 or 1: plain causal).

    Raises:
        ValueError: the prefix is longer than the sequence or the back-end is unknown.
    """
    length = query.shape[2]
    if not 0 <= prefix <= length:
        raise ValueError(f"prefix {prefix} is outside the sequence of {length}")
    if backend == "mask":
        mask = prefix_mask(length, prefix, query.device)
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=True)
    if backend != "sdpa":
        raise ValueError(f"unknown attention back-end {backend!r}")
    if prefix == length:
        return F.scaled_dot_product_attention(query, key, value, enable_gqa=True)
    # square causal over everything, prefix rows thrown away: faster on CPU than a lower-right causal bias
    causal = F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
    if prefix < 2:
        return causal
    both_ways = F.scaled_dot_product_attention(
        query[:, :, :prefix], key[:, :, :prefix], value[:, :, :prefix], enable_gqa=True
    )
    return torch.cat([both_ways, causal[:, :, prefix:]], dim=2)


def prefix_mask(length: int, prefix: int, device: torch.device | None = None) -> Tensor:
    """(S, S) bool, True where the row's query may look at the column's key."""
    mask = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    mask[:prefix, :prefix] = True
    return mask
