"""Where a transformer's weights start: embeddings and heads at the quantisers' codes, so that ids with near codes begin
alike; the rest, where there is one, at a transformer of the other motion layout.

In: the code of every id or earlier weights, a fresh transformer. Out: other first weights for it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ar_model import UniMoTransformer

_VISUAL_SPREAD = 0.1
# what only one motion layout has, or has in another form
# fields that change what weights mean and not their shapes
_SHAPELESS = (
    "rope_theta", "norm_eps", "absolute_positions", "position_form", "unified_rope", "unified_vocabulary",
)  # fmt: skip
_MOTION_PARTS = ("motion_embeddings.", "motion_output.", "depth.")


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
    embeddings, depth = model.motion_embeddings, model.depth
    if isinstance(embeddings, nn.Embedding):
        return [embeddings.weight, model.motion_output.weight]
    assert depth is not None
    return [embeddings.codes.weight, depth.codes.weight, depth.output.weight]


def _at_spread(table: Tensor, rows: Tensor) -> None:
    """Replaces a table by rows, keeping its deviation."""
    table.copy_(float(table.std()) * rows)


def fitting_state(model: UniMoTransformer, earlier: UniMoTransformer) -> dict[str, Tensor]:
    """Earlier weights, with the model's own first ones for the parts that write motion where the layouts differ.

    Raises:
        ValueError: the transformers differ in what no weight's shape tells.
    """
    differing = [name for name in _SHAPELESS if getattr(model.config, name) != getattr(earlier.config, name)]
    if differing:
        raise ValueError(f"the transformer to start from has other values of {', '.join(differing)}")
    state = earlier.state_dict()
    if model.config.motion_layout == earlier.config.motion_layout:
        return state
    shared = {key: value for key, value in state.items() if not key.startswith(_MOTION_PARTS)}
    return shared | {key: value for key, value in model.state_dict().items() if key.startswith(_MOTION_PARTS)}
