"""The reconstruction loss on normalised features: L1 on values, first and second differences (paper eq. 5 and below).

In: predicted and true (B, T, D) normalised features. Out: a dict of scalars, unweighted.
Each term is a mean inside an expert and a sum over the experts, or 3 translation channels would drown in 142 others.
Row 0 of the translation is a position and later rows are velocities, so its differences start at row 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .config import EXPERTS, MotionTokenizerConfig


def reconstruction_losses(predicted: Tensor, target: Tensor, expert_dims: tuple[int, ...]) -> dict[str, Tensor]:
    """Computes the L1 terms.

    Args:
        predicted: (B, T, D) normalised features.
        target: (B, T, D) normalised features.
        expert_dims: channels of each expert, in the order of `EXPERTS`.

    Returns:
        "reconstruction", "velocity", "acceleration" (sums over experts) and "reconstruction_<expert>". Clips too short
        for a difference give 0 for that term.
    """
    error = predicted - target
    losses: dict[str, Tensor] = {}
    velocity = acceleration = error.new_zeros(())
    for name, part in zip(EXPERTS, torch.split(error, list(expert_dims), dim=-1), strict=True):
        losses[f"reconstruction_{name}"] = part.abs().mean()
        rows = part[:, 1:] if name == "translation" else part
        if rows.shape[1] > 1:
            velocity = velocity + rows.diff(dim=1).abs().mean()
        if rows.shape[1] > 2:
            acceleration = acceleration + rows.diff(n=2, dim=1).abs().mean()
    losses["reconstruction"] = torch.stack(list(losses.values())).sum()
    return {**losses, "velocity": velocity, "acceleration": acceleration}


def training_losses(
    predicted: Tensor, target: Tensor, code_losses: dict[str, Tensor], config: MotionTokenizerConfig
) -> dict[str, Tensor]:
    """All terms of the leaf and their weighted sum.

    Args:
        predicted, target: (B, T, D) normalised features.
        code_losses: "commitment" and "codebook" of the quantiser.
        config: the weights.

    Returns:
        `reconstruction_losses`, `code_losses` and "total".
    """
    losses = {**reconstruction_losses(predicted, target, config.expert_dims), **code_losses}
    values = (losses[f"reconstruction_{name}"] for name in EXPERTS)
    losses["total"] = (
        torch.stack([w * value for w, value in zip(config.expert_weights, values, strict=True)]).sum()
        + config.velocity_weight * losses["velocity"]
        + config.acceleration_weight * losses["acceleration"]
        + config.commitment_weight * losses["commitment"]
        + config.codebook_weight * losses["codebook"]
    )
    return losses
