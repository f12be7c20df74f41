"""Cosmos-AR's weights (4B, and 5B which reads text): which names they have, and the sizes that their shapes tell.

In: a state dict as published, under names such as `layers.0.attention.wq.weight`, which are ours too.
Out: fields of an `ARConfig`. Values are never read, so tensors may lie on "meta" or be mapped from disk.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

_PROJECTION = r"(cross_)?attention\.(wq|wk|wv|wo|q_norm|k_norm)"
_BLOCK = re.compile(rf"layers\.(\d+)\.({_PROJECTION}|feed_forward\.w[123]|((cross_)?attention|ffn)_norm)\.weight")
_OUTSIDE = {"tok_embeddings.weight", "norm.weight", "output.weight"}
# layers and width of the 12B and of the 13B made of it
_YARN = (40, 5120)


def is_cosmos_key(key: str) -> bool:
    """Whether a parameter of `UniMoTransformer` is one that Cosmos-AR has; the others are those of motion."""
    return key in _OUTSIDE or _BLOCK.fullmatch(key) is not None


def cosmos_sizes(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Sizes of an `ARConfig` that the shapes of Cosmos's weights tell.

    Args:
        weights: under Cosmos's names.

    Raises:
        ValueError: a name that Cosmos-AR does not have, a weight that tells a size is missing or has too many or too
            few axes, a width that heads do not divide, or the 12B or 13B.
    """
    if strange := sorted(key for key in weights if not is_cosmos_key(key)):
        raise ValueError(f"Cosmos's transformer has no weight called {strange[0]}")
    layers = len({match[1] for key in weights if (match := _BLOCK.fullmatch(key))})
    dim = _shape(weights, "norm.weight", 1)[0]
    if (layers, dim) == _YARN:
        raise ValueError("they are of the 12B or 13B, whose positions (YaRN) UniMo does not have, unlike the 4B and 5B")
    first = "layers.0."
    head = _shape(weights, first + "attention.q_norm.weight", 1)[0]
    text = first + "cross_attention.wk.weight"
    return {
        "dim": dim,
        "layers": layers,
        "heads": _heads(_shape(weights, first + "attention.wq.weight")[0], head),
        "kv_heads": _heads(_shape(weights, first + "attention.wk.weight")[0], head),
        "ffn_hidden": _shape(weights, first + "feed_forward.w1.weight")[0],
        "head_dim": head,
        "visual_ids": _shape(weights, "output.weight")[0],
        "visual_embedding_rows": _shape(weights, "tok_embeddings.weight")[0],
        "context_dim": _shape(weights, text)[1] if text in weights else None,
    }


def _shape(weights: Mapping[str, Tensor], key: str, axes: int = 2) -> tuple[int, ...]:
    if key not in weights:
        raise ValueError(f"{key} is missing")
    shape = tuple(weights[key].shape)
    if len(shape) != axes or 0 in shape:
        raise ValueError(f"{key} must have {axes} axes, got {shape}")
    return shape


def _heads(rows: int, width: int) -> int:
    if rows % width:
        raise ValueError(f"{rows} rows of queries or keys are no multiple of the heads' {width} channels")
    return rows // width
