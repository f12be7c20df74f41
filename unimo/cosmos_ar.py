"""Cosmos-AR's transformer -> UniMo's: the visual half as it is, the motion half fresh.

In: weights under NVIDIA's names. Out: the configuration that their shapes tell, and the parts that Cosmos lacks.
Embedding, blocks and head of the visual tokens have Cosmos's own names and are taken over without a change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ar_model import ARConfig, UniMoTransformer
from ar_model.keys import cosmos_sizes, is_cosmos_key

SEED = 0


def transformer_config(weights: Mapping[str, Tensor], preset: ARConfig) -> ARConfig:
    """The configuration of a Cosmos transformer.

    The absolute position table gets a learned gain: it starts at 0 for the 4B, which was trained without the table,
    and at 1 for the 5B, which is the one that reads text.

    Args:
        weights: under NVIDIA's names; only their shapes are looked at.
        preset: gives what shapes do not tell, the motion half above all.

    Raises:
        ValueError: these are not the weights of a Cosmos 4B or 5B.
    """
    sizes = cosmos_sizes(weights)
    if sizes["context_dim"] is None:
        return replace(preset, **sizes, absolute_positions=True, position_gain=0.0)
    return replace(preset, **sizes, absolute_positions=True, position_gain=1.0, position_form="residual")


def is_fresh(key: str) -> bool:
    """Whether Cosmos has no weight for a parameter of the transformer."""
    return not is_cosmos_key(key)


def fresh_parts(config: ARConfig, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of everything that Cosmos lacks: the model's own initialisation, from a fixed seed.

    Embeddings get the standard deviation of the imported visual embedding, heads dim^-0.5.

    Args:
        config: of the whole transformer.
        weights: the imported ones, of which the visual embedding is read.

    Raises:
        ValueError: the visual embedding is all the same number, or holds none.
    """
    deviation = _deviation(weights["tok_embeddings.weight"])
    # the parts wanted do not depend on the sizes of the imported ones, which are as small as can be here
    small = {"heads": 1, "kv_heads": 1, "head_dim": config.head_width, "ffn_hidden": 1, "context_dim": None}
    small |= {"visual_ids": 1, "visual_embedding_rows": None, "embedding_std": deviation}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = UniMoTransformer(replace(config, **small))
    return {key: value for key, value in model.state_dict().items() if is_fresh(key)}


def _deviation(table: Tensor) -> float:
    """The standard deviation of all numbers of a table, without a copy of the whole in a larger dtype."""
    total = squares = 0.0
    for rows in table.split(1024):
        rows = rows.double()
        total, squares = total + float(rows.sum()), squares + float(rows.square().sum())
    mean = total / table.numel()
    return max(squares / table.numel() - mean * mean, 0.0) ** 0.5
