"""Training of the continuous visual tokenizer: wavelet errors of clips drawn from their own, slightly noisy latents.

In: a `ClipPack` of rendered clips with the person's mask. Out: a trained `ContinuousVisualTokenizer`. The noise makes
the decoder forgive small errors of the diffusion decoder, which will write the latents.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from unimo.data.pack import ClipPack
from unimo.media.pixels import to_video
from unimo.training.clip_batches import ClipBatches, ClipDataConfig
from unimo.training.config import OptimizationConfig
from unimo.training.task import Batch, step_generator
from unimo.training.video_losses import ReconstructionLoss
from unimo.training.video_scores import score_reconstructions
from visual_tokenizer import (
    ContinuousTokenizerConfig,
    ContinuousVisualTokenizer,
    haar_patch,
    initialize_for_training,
)


@dataclass(frozen=True)
class ContinuousDataConfig(ClipDataConfig):
    """What the continuous tokenizer sees and what counts.

    Attributes:
        latent_noise: deviation of the noise on latents in training, relative to that of their channel.
        statistics_clips: clips of the training pack over which the latents' mean and deviation are taken.
    """

    latent_noise: float = 0.0
    statistics_clips: int = 512


@dataclass(frozen=True)
class ContinuousTokenizerTrainingConfig:
    """configs/visual_tokenizer/continuous/*.yaml."""

    model: ContinuousTokenizerConfig
    optimization: OptimizationConfig
    data: ContinuousDataConfig = ContinuousDataConfig()


class ContinuousTokenizerTask:
    """Learns to draw clips from their latents.

    Args:
        config: sizes, schedule and data of the run.
        train, validation: rendered clips.
        model: weights to go on from; None starts afresh.
        device: of the model.
    """

    name = "continuous-tokenizer"

    def __init__(
        self,
        config: ContinuousTokenizerTrainingConfig,
        train: ClipPack,
        validation: ClipPack,
        model: ContinuousVisualTokenizer | None = None,
        device: str = "cpu",
    ) -> None:
        self.config, self.validation, self.device = config, validation, device
        torch.manual_seed(config.optimization.seed)
        if model is None:
            model = ContinuousVisualTokenizer(config.model)
            initialize_for_training(model)
        self.shipped = model.to(device)
        self.model: nn.Module = self.shipped
        self.batches = ClipBatches(train, config.data, config.optimization.batch_size)
        self.errors = ReconstructionLoss(config.data, device)

    def batch(self, step: int) -> Batch:
        rng = step_generator(self.config.optimization.seed, step)
        clips = self.batches.draw(rng)
        video, mask = clips.video.to(self.device), clips.mask.to(self.device)
        return {"names": clips.rows.tolist(), "video": video, "mask": mask}

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        target = haar_patch(batch["video"])
        coefficients, _ = self.shipped.reconstruct_coefficients(target, self.config.data.latent_noise)
        return self.errors(coefficients, target, batch["video"], batch["mask"])

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Means over clips of `score_reconstructions`."""

        def reconstruct(video: Tensor) -> Tensor:
            return self.shipped.decode(self.shipped.encode(video))

        return score_reconstructions(reconstruct, self.validation, self.config.data.validation_clips, self.device)


@torch.no_grad()
def measure_statistics(model: ContinuousVisualTokenizer, pack: ClipPack, clips: int, batch_size: int = 8) -> None:
    """Sets the model's `latents_mean` and `latents_std` from evenly spread clips of a pack.

    Latent frames beyond the clips' length get the last frame's statistics.
    """
    rows = np.unique(np.linspace(0, len(pack) - 1, min(clips, len(pack))).astype(int))
    device = next(model.parameters()).device
    total, squares, count = 0.0, 0.0, 0
    for start in range(0, len(rows), batch_size):
        latents = model.encode(to_video(np.asarray(pack.frames[rows[start : start + batch_size]]), device)).double()
        total, squares = total + latents.sum((0, 3, 4)), squares + latents.square().sum((0, 3, 4))
        count += latents[:, 0, 0].numel()
    mean = torch.as_tensor(total) / count
    std = (torch.as_tensor(squares) / count - mean.square()).clamp(min=1e-12).sqrt()
    index = torch.arange(model.config.statistics_frames).clamp(max=mean.shape[1] - 1)
    model.latents_mean.copy_(mean[:, index])
    model.latents_std.copy_(std[:, index])
