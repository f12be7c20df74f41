"""A small regressor from frozen visual tokens to the pose: shows what the tokens know of the person before the
transformer is trained on them.

In: a `TokenPack`. Out: root-aligned MPJPE, root orientation and translation errors beside the best constant's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from unimo.data.tokens import TokenPack
from unimo.evaluation.constant_pose import fit_constant_pose
from unimo.evaluation.pose_errors import clip_joints, pose_errors
from unimo.motion.features import FEATURE_SLICES, NUM_FEATURES, from_features
from unimo.training.code_start import rows_from_codes
from unimo.training.config import OptimizationConfig
from unimo.training.keypoints import GridConvolutions
from unimo.training.task import Batch, step_generator


@dataclass(frozen=True)
class ProbeConfig:
    """Width of the convolutions and of the dense layers, dropout; `id_noise` is the share of ids made random."""

    dim: int = 96
    hidden: int = 512
    dropout: float = 0.2
    id_noise: float = 0.1


class PoseProbe(nn.Module):
    """Two 3-D convolutions over the grid of tokens, then dense layers; (B,K,h,w) ids → (B,T,145).

    The embedding starts from the quantiser's codes `(N,c)`; `size` is (K,h,w).
    """

    def __init__(self, config: ProbeConfig, codes: Tensor, size: tuple[int, int, int], frames: int) -> None:
        super().__init__()
        self.frames = frames
        self.embedding = nn.Embedding.from_pretrained(rows_from_codes(codes, config.dim), freeze=False)
        self.grid = GridConvolutions(config.dim)
        self.narrow = nn.Conv3d(config.dim, config.dim // 3, 1)
        self.head = nn.Sequential(
            nn.Dropout(config.dropout),
            nn.Linear(config.dim // 3 * math.prod(size), config.hidden),
            nn.GELU(),
            nn.Linear(config.hidden, config.hidden),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, frames * NUM_FEATURES),
        )

    def forward(self, ids: Tensor) -> Tensor:
        """Normalised features with absolute translation in every row."""
        x = self.grid(self.embedding(ids).movedim(-1, 1))
        return self.head(self.narrow(x).flatten(1)).unflatten(1, (self.frames, NUM_FEATURES))


class ProbeTask:
    """Trains a `PoseProbe` on the training pack; validates against the constant pose of the training pack."""

    name = "pose probe"

    def __init__(
        self,
        config: ProbeConfig,
        optimization: OptimizationConfig,
        codes: Tensor,
        train: TokenPack,
        validation: TokenPack,
        device: str = "cpu",
    ) -> None:
        self.device = device
        torch.manual_seed(optimization.seed)
        self.config, self.optimization, self.num_ids = config, optimization, len(codes)
        self.train, self.validation = train, validation
        targets = _absolute(torch.from_numpy(train.features))
        self.mean, self.std = targets.mean((0, 1)), targets.std((0, 1)).clamp_min(1e-4)
        self.targets = (targets - self.mean) / self.std
        _, latent_frames, height, width = train.visual_ids.shape
        truth = from_features(torch.from_numpy(validation.features))
        constant = fit_constant_pose(from_features(torch.from_numpy(train.features)))
        self.baseline = constant.errors(clip_joints(truth), truth["rotations"][:, :, 0])
        self.model: nn.Module = PoseProbe(config, codes, (latent_frames, height, width), targets.shape[1]).to(device)
        self.shipped = self.model

    def batch(self, step: int) -> Batch:
        rng = step_generator(self.optimization.seed, step)
        rows = rng.integers(len(self.train), size=self.optimization.batch_size)
        ids = self.train.visual_ids[rows].astype(np.int64)
        noise = rng.random(ids.shape) < self.config.id_noise
        ids[noise] = rng.integers(self.num_ids, size=int(noise.sum()))
        seen, wanted = torch.from_numpy(ids).to(self.device), self.targets[rows].to(self.device)
        return {"ids": seen, "target": wanted, "names": rows.tolist()}

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        error = (self.model(batch["ids"]).float() - batch["target"]).abs()
        # pose, shape, orientation and translation count alike, whatever their number of channels
        groups = [error[..., part] for part in FEATURE_SLICES.values()]
        loss = torch.stack([group.mean() for group in groups]).sum()
        return loss, {"pose_l1": float(groups[0].detach().mean())}

    def validate(self, model: nn.Module) -> dict[str, float]:
        ids = torch.from_numpy(self.validation.visual_ids.astype(np.int64))
        outputs = torch.cat([model(chunk.to(self.device)).float().cpu() for chunk in ids.split(64)])
        predicted = outputs * self.std + self.mean
        truth = from_features(torch.from_numpy(self.validation.features))
        errors = {key: float(value.mean()) for key, value in pose_errors(_split(predicted), truth).items()}
        return errors | {f"constant_pose.{key}": value for key, value in self.baseline.items()}


def _absolute(features: Tensor) -> Tensor:
    """Features with the translation absolute in every row, which is what a frame-wise regressor can predict."""
    path = features[..., FEATURE_SLICES["translation"]].cumsum(-2)
    return torch.cat([features[..., : FEATURE_SLICES["translation"].start], path], -1)


def _split(absolute: Tensor) -> dict[str, Tensor]:
    parts = from_features(absolute)
    return parts | {"transl": absolute[..., FEATURE_SLICES["translation"]]}
