"""Where embeddings and heads start: at the quantisers' codes, so that ids with near codes begin alike.

In: the code of every id, a fresh transformer. Out: the same transformer with other first weights.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ar_model import UniMoTransformer

_VISUAL_SPREAD = 0.1


def rows_from_codes(codes: Tensor, dim: int, seed: int = 0) -> Tensor:
    """Embeddings under which ids with near codes are near.

    Args:
        codes: (N, c) the quantiser's code of every id.
        dim: width of a row.
        seed: of the random directions.

    Returns:
        (N, dim), mean square 1: per channel a random direction times the code, and a random vector per level
        (of a continuous code every value is a level of its own, so that each id has a part that no other shares).
    """
    generator = torch.Generator().manual_seed(seed)
    rows = torch.zeros(len(codes), dim)
    for channel in codes.cpu().float().T:
        levels, level = channel.unique(return_inverse=True)
        straight = (channel - channel.mean()) / channel.std().clamp_min(1e-6)
        rows += straight[:, None] * torch.randn(dim, generator=generator)
        rows += 0.5 * torch.randn(len(levels), dim, generator=generator)[level]
    return rows / rows.square().mean().sqrt()


@torch.no_grad()
def start_from_codes(model: UniMoTransformer, visual_codes: Tensor, motion_codes: Tensor, seed: int = 0) -> None:
    """Starts embeddings and heads from the quantisers' codes, so that ids with near codes begin alike.

    Args:
        model: fresh; the heads and the motion embedding keep their spread, visual embeddings get a larger one.
        visual_codes, motion_codes: (N, c) the code of every id.
        seed: of the random directions.
    """
    visual = rows_from_codes(visual_codes, model.config.dim, seed)
    model.tok_embeddings.weight[: len(visual)] = _VISUAL_SPREAD * visual
    _at_spread(model.output.weight, visual)
    for table in _motion_tables(model):
        _at_spread(table, rows_from_codes(motion_codes, table.shape[1], seed + 1))


def _motion_tables(model: UniMoTransformer) -> list[Tensor]:
    """Everything with a row for each motion id: embeddings and heads."""
    if model.depth is None:
        return [model.motion_embeddings.weight, model.motion_output.weight]
    return [model.motion_embeddings.codes.weight, model.depth.codes.weight, model.depth.output.weight]


def _at_spread(table: Tensor, rows: Tensor) -> None:
    """Replaces a table by rows, keeping its deviation."""
    table.copy_(float(table.std()) * rows)
