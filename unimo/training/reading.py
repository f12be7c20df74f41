"""Training only: what helps the transformer to learn to read a video, and is not shipped.

In: features of clips in the canonical camera. Out: where the 22 joints stand on the grid of visual tokens, and a head
that finds them from the transformer's hidden states. Also the visual embedding's start from the quantiser's codes.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ar_model import UniMoTransformer
from unimo.body.names import JOINT_NAMES
from unimo.evaluation.pose_errors import clip_joints
from unimo.motion.features import from_features

# motion frames marked on a latent frame of eight: the middle one and the last
MARKED = 2
_CODE_STD = 0.1


def keypoint_coordinates(features: np.ndarray, canonical_focal: float, latent_frames: int) -> Tensor:
    """Where joints stand in the picture.

    Args:
        features: (N, T, 145), canonical camera.
        canonical_focal: focal length as a multiple of the side.
        latent_frames: K; latent frame k ends with motion frame 8k.

    Returns:
        (N, K, 2, 22, 2) as (x, y) in 0..1 of the picture, for motion frames 8k - 4 and 8k (twice frame 0 for k = 0).
        Only the pelvis is exact: the canonical camera scales its depth and not that of the joints around it.
    """
    frames = [frame for k in range(latent_frames) for frame in (max(0, 8 * k - 4), 8 * k)]
    parts = []
    for chunk in torch.from_numpy(features).float().split(500):
        joints = clip_joints({key: value[:, frames] for key, value in from_features(chunk).items()})
        parts.append(canonical_focal * joints[..., :2] / joints[..., 2:].clamp_min(0.1) + 0.5)
    return torch.cat(parts).unflatten(1, (latent_frames, MARKED))


def spread_over_cells(points: Tensor, height: int, width: int) -> Tensor:
    """(..., 2) points in 0..1 → (..., h·w) weights of the four nearest cells, bilinear, sum 1."""
    size = points.new_tensor([width, height])
    cells = (points * size - 0.5).clamp(min=torch.zeros_like(size), max=size - 1)
    columns = (1 - (cells[..., :1] - torch.arange(width, device=points.device)).abs()).clamp_min(0)
    rows = (1 - (cells[..., 1:] - torch.arange(height, device=points.device)).abs()).clamp_min(0)
    return (rows[..., :, None] * columns[..., None, :]).flatten(-2)


class KeypointHead(nn.Module):
    """Hidden states of visual tokens → which cell holds each joint, in the middle and at the end of a latent frame."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.output = nn.Linear(dim, MARKED * len(JOINT_NAMES))

    def loss(self, hidden: Tensor, points: Tensor, height: int, width: int) -> Tensor:
        """Cross-entropy in nats.

        Args:
            hidden: (B, K·h·w, dim) hidden states of the visual tokens.
            points: (B, K, 2, 22, 2) of `keypoint_coordinates`.
            height, width: cells of the grid.
        """
        logits = self.output(self.norm(hidden)).float().unflatten(1, (-1, height * width)).transpose(2, 3)
        wanted = spread_over_cells(points.to(hidden.device), height, width).flatten(2, 3)
        return -(wanted * F.log_softmax(logits, -1)).sum(-1).mean()


def rows_from_codes(codes: Tensor, dim: int, seed: int = 0) -> Tensor:
    """Embeddings under which ids with near codes are near.

    Args:
        codes: (N, c) the quantiser's code of every id.
        dim: width of a row.
        seed: of the random directions.

    Returns:
        (N, dim), mean square 1: per channel a random direction times the code, and a random vector per level.
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
def start_from_codes(model: UniMoTransformer, codes: Tensor, seed: int = 0) -> None:
    """Starts the first `len(codes)` visual embeddings from the quantiser's codes (N, c)."""
    model.tok_embeddings.weight[: len(codes)] = _CODE_STD * rows_from_codes(codes, model.config.dim, seed)
