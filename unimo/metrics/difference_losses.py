"""L1 errors of sequences and of their differences, as Duolando trains and reports its VQ-VAE."""

from __future__ import annotations

from torch import Tensor


def l1_differences(predicted: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """mean |e|, mean |Δe| and mean |Δ²e| of e = predicted − target, in the unit of the channels (a frame, a frame²).

    Unlike the loss of our motion tokenizer, which averages inside each expert, all channels weigh the same here.

    Args:
        predicted, target: (..., T, D), at least three frames.

    Returns:
        Scalars of values, first and second differences along time.

    Raises:
        ValueError: shapes differ, or fewer than three frames.
    """
    if predicted.shape != target.shape or predicted.dim() < 2 or predicted.shape[-2] < 3:
        raise ValueError(f"need (...,T,D) of one shape, T >= 3: {tuple(predicted.shape)} and {tuple(target.shape)}")
    error = predicted - target
    return error.abs().mean(), error.diff(dim=-2).abs().mean(), error.diff(n=2, dim=-2).abs().mean()
