"""How a codebook is used: token ids of any shape in, numbers without unit out; all ids are pooled."""

from __future__ import annotations

import torch
from torch import Tensor


def codebook_use(ids: Tensor, size: int) -> float:
    """Share of the codebook's `size` entries that occur among `ids` (any shape), pooled.

    The paper's table 5 takes the ids of 100 random test samples. More ids use more codes, so that the number compares
    only at the same count of tokens.
    """
    return ids.unique().numel() / size


def codebook_perplexity(ids: Tensor, size: int, eps: float = 0.0) -> float:
    """exp(−Σ p log(p + eps)) over the shares p of the codes among all `ids`: 1 to `size`.

    How many codes an even use would need. MotionGPT's code has eps = 1e-7.

    Args:
        ids: any shape, int64, at least one.
        size: codes.
        eps: inside the logarithm; 0 leaves unused codes out.

    Raises:
        ValueError: no ids, or an id outside the codebook.
    """
    if ids.numel() == 0 or int(ids.min()) < 0 or int(ids.max()) >= size:
        raise ValueError(f"need at least one id, all in 0..{size - 1}")
    shares = torch.bincount(ids.flatten(), minlength=size).double() / ids.numel()
    used = shares[shares > 0]
    return float(torch.exp(-(used * (used + eps).log()).sum()))
