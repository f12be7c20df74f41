"""A small regressor from frozen visual tokens to the pose: shows what the tokens know of the person before the
transformer is trained on them.

In: a `TokenPack`. Out: root-aligned MPJPE, root orientation and translation errors beside the best constant's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from unimo.data.tokens import TokenPack
from unimo.evaluation.constant_pose import fit_constant_pose
from unimo.evaluation.pose_errors import clip_joints, pose_errors
from unimo.motion.features import NUM_FEATURES, from_features
from unimo.training.config import OptimizationConfig
from unimo.training.task import Batch, step_generator


@dataclass(frozen=True)
class ProbeConfig:
    """Width, depth and dropout of the regressor; `id_noise` is the share of input ids replaced at random."""

    dim: int = 128
    layers: int = 3
    heads: int = 4
    dropout: float = 0.1
    id_noise: float = 0.1


class PoseProbe(nn.Module):
    """Transformer encoder over the visual tokens and one learned query a motion frame; (B,K,h,w) ids → (B,T,145)."""

    def __init__(self, config: ProbeConfig, num_ids: int, tokens: int, frames: int) -> None:
        super().__init__()
        self.frames = frames
        self.embedding = nn.Embedding(num_ids, config.dim)
        self.position = nn.Parameter(0.02 * torch.randn(tokens + frames, config.dim))
        layer = nn.TransformerEncoderLayer(
            config.dim, config.heads, 3 * config.dim, config.dropout, "gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.LayerNorm(config.dim), nn.Linear(config.dim, NUM_FEATURES))

    def forward(self, ids: Tensor) -> Tensor:
        """Normalised features with absolute translation in every row."""
        seen = self.embedding(ids.flatten(1))
        queries = seen.new_zeros(len(ids), self.frames, seen.shape[-1])
        return self.head(self.encoder(torch.cat([seen, queries], 1) + self.position)[:, -self.frames :])


class ProbeTask:
    """Trains a `PoseProbe` on the training pack; validates against the constant pose of the training pack."""

    name = "pose probe"

    def __init__(
        self,
        config: ProbeConfig,
        optimization: OptimizationConfig,
        num_ids: int,
        train: TokenPack,
        validation: TokenPack,
    ) -> None:
        self.config, self.optimization, self.num_ids = config, optimization, num_ids
        self.train, self.validation = train, validation
        targets = _absolute(torch.from_numpy(train.features))
        self.mean, self.std = targets.mean((0, 1)), targets.std((0, 1)).clamp_min(1e-4)
        self.targets = (targets - self.mean) / self.std
        tokens = int(np.prod(train.visual_ids.shape[1:]))
        truth = from_features(torch.from_numpy(validation.features))
        constant = fit_constant_pose(from_features(torch.from_numpy(train.features)))
        self.baseline = constant.errors(clip_joints(truth), truth["rotations"][:, :, 0])
        self.model: nn.Module = PoseProbe(config, num_ids, tokens, targets.shape[1])

    def batch(self, step: int) -> Batch:
        rng = step_generator(self.optimization.seed, step)
        rows = rng.integers(len(self.train), size=self.optimization.batch_size)
        ids = self.train.visual_ids[rows].astype(np.int64)
        noise = rng.random(ids.shape) < self.config.id_noise
        ids[noise] = rng.integers(self.num_ids, size=int(noise.sum()))
        return {"ids": torch.from_numpy(ids), "target": self.targets[rows], "names": rows.tolist()}

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        error = (self.model(batch["ids"]).float() - batch["target"]).abs()
        # pose, shape, orientation and translation count alike, whatever their number of channels
        groups = [error[..., 0:126], error[..., 126:136], error[..., 136:142], error[..., 142:145]]
        loss = torch.stack([group.mean() for group in groups]).sum()
        return loss, {"pose_l1": float(groups[0].detach().mean())}

    def validate(self, model: nn.Module) -> dict[str, float]:
        ids = torch.from_numpy(self.validation.visual_ids.astype(np.int64))
        predicted = torch.cat([model(chunk) for chunk in ids.split(64)]).float() * self.std + self.mean
        truth = from_features(torch.from_numpy(self.validation.features))
        errors = {key: float(value.mean()) for key, value in pose_errors(_split(predicted), truth).items()}
        return errors | {f"constant_pose.{key}": value for key, value in self.baseline.items()}


def _absolute(features: Tensor) -> Tensor:
    """Features with the translation absolute in every row, which is what a frame-wise regressor can predict."""
    return torch.cat([features[..., :142], features[..., 142:].cumsum(-2)], -1)


def _split(absolute: Tensor) -> dict[str, Tensor]:
    parts = from_features(absolute)
    return parts | {"transl": absolute[..., 142:]}
