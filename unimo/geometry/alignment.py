"""Best rigid or similarity transform between two point sets (Kabsch 1976, Umeyama 1991), batched.

In: torch tensors (...,N,3), corresponding points in the same order. The shapes say what is a point and what is a
batch: the last two dimensions are always (points, coordinates). Out: rotation, translation and scale such that
`scale * R @ source + t` is nearest to `target` in the least-squares sense. Reflections are never used.
"""

from __future__ import annotations

import torch
from torch import Tensor


def umeyama(
    source: Tensor, target: Tensor, weights: Tensor | None = None, with_scale: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """Transform that carries `source` onto `target`.

    Args:
        source: (...,N,3) points.
        target: (...,N,3) points.
        weights: (...,N) non-negative weights; all equal when omitted.
        with_scale: solve for a scale too; otherwise it is 1.

    Returns:
        Rotation (...,3,3), translation (...,3) and scale (...).

    Raises:
        ValueError: if the shapes differ or are not (...,N,3).
    """
    if source.shape != target.shape or source.shape[-1] != 3 or source.dim() < 2:
        raise ValueError(f"need two point sets of shape (...,N,3), got {tuple(source.shape)} and {tuple(target.shape)}")
    share = torch.ones_like(source[..., 0]) if weights is None else weights
    share = (share / share.sum(-1, keepdim=True))[..., None]
    source_centre, target_centre = (share * source).sum(-2), (share * target).sum(-2)
    a, b = source - source_centre[..., None, :], target - target_centre[..., None, :]
    u, s, vh = torch.linalg.svd((share * b).transpose(-1, -2) @ a)
    sign = torch.ones_like(s)
    sign[..., 2] = torch.sign(torch.linalg.det(u @ vh))
    rotation = (u * sign[..., None, :]) @ vh
    if with_scale:
        variance = (share * a.square()).sum((-1, -2))
        scale = (s * sign).sum(-1) / variance.clamp_min(torch.finfo(s.dtype).tiny)
    else:
        scale = torch.ones_like(s[..., 0])
    translation = target_centre - scale[..., None] * (rotation @ source_centre[..., None])[..., 0]
    return rotation, translation, scale


def apply_similarity(points: Tensor, rotation: Tensor, translation: Tensor, scale: Tensor) -> Tensor:
    """`scale * R @ x + t` for every point: (...,N,3), (...,3,3), (...,3), (...) → (...,N,3)."""
    return scale[..., None, None] * points @ rotation.transpose(-1, -2) + translation[..., None, :]


def procrustes(source: Tensor, target: Tensor, weights: Tensor | None = None, with_scale: bool = True) -> Tensor:
    """`source` (...,N,3) moved onto `target` (...,N,3) by the transform of `umeyama`; same shape."""
    return apply_similarity(source, *umeyama(source, target, weights, with_scale))
