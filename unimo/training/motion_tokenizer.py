"""Training of the motion tokenizer: feature losses of the leaf, and losses that need a body.

In: motion libraries and the camera of the synthetic engine. Out: a trained `MotionVQVAE` (or the baseline beside it).
Windows are in the canonical camera, see `motion_pool.py`. Metres.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from motion_tokenizer import MotionTokenizerConfig, MotionVQVAE, build_motion_tokenizer
from unimo.evaluation.reconstruction import reconstruction_metrics, with_mean_shape
from unimo.metrics.codebook import codebook_use
from unimo.motion.features import RotationForm, feature_slices, rotation_form, with_rotation_form
from unimo.training.body_losses import BODY_LOSSES, BodyLosses
from unimo.training.config import OptimizationConfig
from unimo.training.motion_pool import MotionDataConfig, MotionWindows
from unimo.training.task import Batch, step_generator

logger = logging.getLogger(__name__)

# channels that hardly vary are not blown up beyond this share of their expert's mean deviation
_LEAST_DEVIATION = 0.3
_STATISTICS_WINDOWS = 4096
# encoder outputs a code that k-means starts from
_START_VECTORS = 8


@dataclass(frozen=True)
class MotionLossConfig:
    """Losses outside the leaf, and the warm-up; weights of 0 switch a loss off.

    Attributes:
        joints: weight of the L1 error of the pelvis-aligned joints by forward kinematics.
        vertices: the same of vertices of the skinned body.
        contact: weight of the L1 error of the steps of feet that stand.
        drift: weight of the L1 error of the translation after its prefix sum.
        quantize_after: steps without codebook before k-means starts it.
        freeze_codes: trains only the decoders of a trained model, so that its ids, and what learned them, stay valid.
    """

    joints: float = 0.0
    vertices: float = 0.0
    contact: float = 0.0
    drift: float = 0.0
    quantize_after: int = 0
    freeze_codes: bool = False


@dataclass(frozen=True)
class MotionTokenizerTrainingConfig:
    """configs/motion_tokenizer/*.yaml."""

    model: MotionTokenizerConfig
    optimization: OptimizationConfig
    data: MotionDataConfig = MotionDataConfig()
    loss: MotionLossConfig = MotionLossConfig()

    def __post_init__(self) -> None:
        slices = feature_slices(rotation_form(self.model.feature_dim))
        widths = tuple(part.stop - part.start for part in slices.values())
        if self.model.expert_dims != widths:
            raise ValueError(f"expert_dims must be {widths} for {sum(widths)} features, not {self.model.expert_dims}")
        if self.model.partwise and self.loss.freeze_codes:
            raise ValueError("freeze_codes is for the paper's model, not for the partwise baseline")


class MotionTokenizerTask:
    """Reconstruction of motion windows.

    Args:
        config: model, optimisation and losses.
        windows: what it trains and validates on, made with `config.data`.
        device: where the model lives.
    """

    name = "motion tokenizer"

    def __init__(self, config: MotionTokenizerTrainingConfig, windows: MotionWindows, device: str = "cpu") -> None:
        self.config, self.device, self.body, self.pool = config, device, windows.body, windows.pool
        self.form: RotationForm = rotation_form(config.model.feature_dim)
        self.validation = with_rotation_form(windows.validation, self.form)
        self._body_losses = BodyLosses(windows.body)
        torch.manual_seed(config.optimization.seed)
        self._vqvae = build_motion_tokenizer(config.model)
        parts = ", ".join(f"{name} {count:,}" for name, count in self.parameter_counts.items())
        logger.info("%s parameters: %s", f"{sum(self.parameter_counts.values()):,}", parts)
        self._set_statistics()
        if config.loss.freeze_codes:
            assert isinstance(self._vqvae, MotionVQVAE)
            self._vqvae.freeze_codes()
        self.model: nn.Module = self._vqvae.to(device)
        self.shipped = self.model

    @property
    def parameter_counts(self) -> dict[str, int]:
        """Parameters of the model by part."""
        return self._vqvae.parameter_counts()

    def batch(self, step: int) -> Batch:
        config, generator = self.config, self._generator(step)
        size = config.optimization.batch_size
        if config.model.kmeans_init and step == config.loss.quantize_after:
            vectors = config.model.codebook_size * _START_VECTORS
            size = max(size, -(-vectors // self._vqvae.num_tokens(self.validation.shape[1])))
        features = with_rotation_form(self.pool.batch(size, generator), self.form)
        return {"features": features.to(self.device), "step": step, "names": f"drawn at step {step}"}

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        config, features = self.config.loss, batch["features"]
        output = self.model(features, quantize=batch["step"] >= config.quantize_after)
        losses = dict(output.losses)
        total = losses.pop("total")
        weights = {name: getattr(config, name) for name in BODY_LOSSES if getattr(config, name)}
        if weights:
            # chains of rotations lose too many digits in half precision
            with torch.autocast(features.device.type, enabled=False):
                losses |= self._body_losses(output.features.float(), features, weights)
            total = total + sum(weight * losses[name] for name, weight in weights.items())
        return total, {key: float(value.detach()) for key, value in losses.items()}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """`reconstruction_metrics` and use of the codebook on the fixed validation windows."""
        outputs = [model(chunk) for chunk in self.validation.to(self.device).split(64)]
        ids = torch.cat([output.ids for output in outputs])
        predicted = with_mean_shape(torch.cat([output.features for output in outputs]).float().cpu())
        return {
            **reconstruction_metrics(predicted, self.validation, self.body),
            "codebook_use": codebook_use(ids, self._vqvae.num_ids),
        }

    def _generator(self, step: int, stream: int = 0) -> torch.Generator:
        seed = step_generator(self.config.optimization.seed, step, stream).integers(2**62)
        return torch.Generator().manual_seed(int(seed))

    def _set_statistics(self) -> None:
        """Mean and deviation of each channel over one large batch; differences and first positions apart."""
        size = min(_STATISTICS_WINDOWS, 4 * self.config.data.windows)
        features = with_rotation_form(self.pool.batch(size, self._generator(0, stream=1)), self.form)
        mean, std = features.mean((0, 1)), features.std((0, 1))
        slices = feature_slices(self.form)
        path = slices["translation"]
        if features.shape[1] > 1:
            mean[path], std[path] = features[:, 1:, path].mean((0, 1)), features[:, 1:, path].std((0, 1))
        for channels in slices.values():
            std[channels] = std[channels].clamp_min(_LEAST_DEVIATION * float(std[channels].mean()))
        first = features[:, 0, path]
        self._vqvae.set_statistics(mean, std, first.mean(0), first.std(0))
