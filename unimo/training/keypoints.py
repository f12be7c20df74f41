"""Training only: what helps tokens to keep the person's pose, and the transformer to read it; nothing here is shipped.

In: features of clips in the canonical camera. Out: where the 22 joints stand on the grid of visual tokens and how deep,
and heads that find them from the tokenizer's codes or the transformer's hidden states.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unimo.body.names import JOINT_NAMES
from unimo.evaluation.pose_errors import clip_joints
from unimo.motion.features import from_features

# motion frames marked on a latent frame of eight: the middle one and the last
MARKED = 2
# nats that a metre of depth error counts for
DEPTH_WEIGHT = 5.0


def keypoint_targets(features: Tensor, canonical_focal: float, latent_frames: int) -> Tensor:
    """Where joints stand in the picture, and how far behind the pelvis.

    Args:
        features: (N, T, 145), canonical camera.
        canonical_focal: focal length as a multiple of the side.
        latent_frames: K; latent frame k ends with motion frame 8k.

    Returns:
        (N, K, 2, 22, 3): x and y in 0..1 of the picture, depth relative to the pelvis in metres; for motion frames
        8k - 4 and 8k (twice frame 0 for k = 0). In the picture only the pelvis is exact: the canonical camera scales
        its depth and not that of the joints around it.
    """
    frames = [frame for k in range(latent_frames) for frame in (max(0, 8 * k - 4), 8 * k)]
    parts = []
    for chunk in features.float().split(500):
        joints = clip_joints({key: value[:, frames] for key, value in from_features(chunk).items()})
        picture = canonical_focal * joints[..., :2] / joints[..., 2:].clamp_min(0.1) + 0.5
        parts.append(torch.cat([picture, joints[..., 2:] - joints[..., :1, 2:]], -1))
    return torch.cat(parts).unflatten(1, (latent_frames, MARKED))


def spread_over_cells(points: Tensor, height: int, width: int) -> Tensor:
    """(..., 2) points in 0..1 → (..., h·w) weights of the four nearest cells, bilinear, sum 1."""
    size = points.new_tensor([width, height])
    cells = (points * size - 0.5).clamp(min=torch.zeros_like(size), max=size - 1)
    columns = (1 - (cells[..., :1] - torch.arange(width, device=points.device)).abs()).clamp_min(0)
    rows = (1 - (cells[..., 1:] - torch.arange(height, device=points.device)).abs()).clamp_min(0)
    return (rows[..., :, None] * columns[..., None, :]).flatten(-2)


class KeypointHead(nn.Module):
    """Hidden states of visual tokens → which cell holds each joint and how deep it is there, for the middle and the end
    of a latent frame."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.output = nn.Linear(dim, 2 * MARKED * len(JOINT_NAMES))

    def loss(self, hidden: Tensor, targets: Tensor, height: int, width: int) -> tuple[Tensor, dict[str, float]]:
        """How badly joints are found, as a loss and as numbers to log.

        Args:
            hidden: (B, K·h·w, dim) hidden states of the visual tokens.
            targets: (B, K, 2, 22, 3) of `keypoint_targets`.
            height, width: cells of the grid.

        Returns:
            loss, and `keypoint_loss`, cross-entropy of the cells in nats, and `keypoint_depth_m`, mean absolute depth
            error at the true cells.
        """
        targets = targets.to(hidden.device)
        cells = self.output(self.norm(hidden)).float().unflatten(1, (-1, height * width)).transpose(2, 3)
        logits, depths = cells.chunk(2, dim=2)
        wanted = spread_over_cells(targets[..., :2], height, width).flatten(2, 3)
        place = -(wanted * F.log_softmax(logits, -1)).sum(-1).mean()
        depth = ((wanted * depths).sum(-1) - targets[..., 2].flatten(2, 3)).abs().mean()
        numbers = {"keypoint_loss": float(place.detach()), "keypoint_depth_m": float(depth.detach())}
        return place + DEPTH_WEIGHT * depth, numbers


class GridConvolutions(nn.Module):
    """Two residual 3-D convolutions over the grid of tokens, (B, dim, K, h, w) → the same shape."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.GroupNorm(8, dim) for _ in range(2))
        self.convolutions = nn.ModuleList(nn.Conv3d(dim, dim, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, K, h, w) → (B, dim, K, h, w)."""
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            x = x + convolution(F.gelu(norm(x)))
        return x


class CodeKeypointHead(nn.Module):
    """Finds the joints in the visual tokenizer's codes, so that its encoder learns to keep them there."""

    def __init__(self, channels: int, dim: int = 96) -> None:
        super().__init__()
        self.input = nn.Conv3d(channels, dim, 1)
        self.grid = GridConvolutions(dim)
        self.head = KeypointHead(dim)

    def loss(self, codes: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Codes (B, c, K, h, w) and targets (B, K, 2, 22, 3) → what `KeypointHead.loss` gives."""
        hidden = self.grid(self.input(codes)).flatten(2).transpose(1, 2)
        return self.head.loss(hidden, targets, *codes.shape[-2:])
