"""Starting values of the diffusion decoder's token embedding: what latents an id stands for, on average.

In: ids and latents of the same clips, and the quantiser's codes. Out: one row an id. With random rows a short training
spends itself on learning 4 096 ids one by one.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

_TRUST = 8.0  # cells of an id that count as much as what its code lets expect


def mean_latents(clips: Iterable[tuple[Tensor, Tensor]], codes: Tensor) -> Tensor:
    """Mean latents of the cells that carry an id, drawn towards a cubic function of its code where these are few.

    Args:
        clips: some clips at a time, ids (N, K, h, w) int64 and normalised latents (N, C, K, H, W), H = u h, W = u w.
        codes: (ids, D) the quantiser's code of every id, in [-1, 1].

    Returns:
        (ids, C u u) float32.
    """
    count, total = torch.zeros(len(codes), 1), torch.zeros(len(codes), 1)
    for ids, latents in clips:
        height, width = ids.shape[2:]
        up = latents.shape[3] // height
        cells = latents.unflatten(3, (height, up)).unflatten(5, (width, up))  # N, C, K, h, u, w, u
        rows = cells.permute(0, 2, 3, 5, 1, 4, 6).reshape(ids.numel(), -1).float()
        flat = ids.flatten()
        count += torch.bincount(flat, minlength=len(codes))[:, None]
        total = total + torch.zeros(len(codes), rows.shape[1]).index_add_(0, flat, rows)
    features = _cubic(codes.float())
    weighted = features * count
    ridge = 1e-3 * torch.eye(features.shape[1]) * float(count.sum())
    expected = features @ torch.linalg.solve(features.T @ weighted + ridge, features.T @ total)
    return (total + _TRUST * expected) / (count + _TRUST)


def embedding_start(means: Tensor, dim: int) -> Tensor:
    """Embedding rows (ids, dim): principal components of `means` (ids, F), the first of unit deviation, then noise.

    The noise comes from torch's global generator; it fills the columns when F < dim.
    """
    centred = means - means.mean(0)
    _, sizes, axes = torch.linalg.svd(centred, full_matrices=False)
    kept = min(dim, len(sizes))
    rows = torch.randn(len(means), dim)
    rows[:, :kept] = centred @ axes[:kept].T / (sizes[0] / len(means) ** 0.5).clamp(min=1e-8)
    return rows


def _cubic(codes: Tensor) -> Tensor:
    """All products of up to three coordinates of codes (N, D), and 1."""
    one = torch.cat([torch.ones_like(codes[:, :1]), codes], dim=1)
    dim = one.shape[1]
    a, b, c = torch.meshgrid(*[torch.arange(dim)] * 3, indexing="ij")
    ordered = (a <= b) & (b <= c)
    return one[:, a[ordered]] * one[:, b[ordered]] * one[:, c[ordered]]
