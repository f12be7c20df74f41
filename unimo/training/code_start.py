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
    embeddings, motion_embeddings = model.tok_embeddings.weight, model.motion_embeddings.weight
    parts = (
        (visual_codes, embeddings, model.output.weight, _VISUAL_SPREAD),
        (motion_codes, motion_embeddings, model.motion_output.weight, float(motion_embeddings.std())),
    )
    for number, (codes, embedding, head, spread) in enumerate(parts):
        rows = rows_from_codes(codes, model.config.dim, seed + number)
        embedding[: len(codes)] = spread * rows
        head.copy_(float(head.std()) * rows)
