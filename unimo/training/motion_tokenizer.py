"""Training of the motion tokenizer: feature losses of the leaf, and joint and drift losses that need a body.

In: motion libraries and the camera of the synthetic engine. Out: a trained `MotionVQVAE`. Windows are in the canonical
camera, see `motion_pool.py`. Metres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from motion_tokenizer import MotionTokenizerConfig, MotionVQVAE
from unimo.body import load_body
from unimo.evaluation.pose_errors import clip_joints
from unimo.metrics.pose import codebook_use, drift_mm, mpjpe_mm, pa_mpjpe_mm, rotation_error_deg, translation_error_m
from unimo.motion.features import FEATURE_SLICES, from_features
from unimo.synth.scene import SceneConfig
from unimo.synth.windows import NamedMotion
from unimo.training.config import OptimizationConfig
from unimo.training.motion_pool import MotionDataConfig, MotionPool, scene_features
from unimo.training.task import VALIDATION_SEED, Batch, step_generator

# joint and drift losses count 1 for this error, about what a feature loss of 1 means
_LENGTH = 0.1
# channels that hardly vary are not blown up beyond this share of their expert's mean deviation
_LEAST_DEVIATION = 0.3
_STATISTICS_WINDOWS = 4096


@dataclass(frozen=True)
class MotionLossConfig:
    """Losses outside the leaf, and the warm-up.

    Attributes:
        joints: weight of the L1 error of the pelvis-aligned joints by forward kinematics.
        drift: weight of the L1 error of the translation after its prefix sum.
        quantize_after: steps without codebook before k-means starts it.
        freeze_codes: trains only the decoders of a trained model, so that its ids, and what learned them, stay valid.
    """

    joints: float = 0.0
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


class MotionTokenizerTask:
    """Reconstruction of motion windows.

    Args:
        config: model, optimisation, data and losses.
        train: training motions, world axes.
        validation: validation motions, world axes; no subject of theirs may be in `train`.
        scene: clip length, rate, body and camera.
        canonical_focal: focal length of the tokens' camera in sides.
        device: where the model lives.
    """

    name = "motion tokenizer"

    def __init__(
        self,
        config: MotionTokenizerTrainingConfig,
        train: Sequence[NamedMotion],
        validation: Sequence[NamedMotion],
        scene: SceneConfig,
        canonical_focal: float,
        device: str = "cpu",
    ) -> None:
        self.config, self.device, self.body = config, device, scene.body
        self.pool = MotionPool(train, scene, canonical_focal, config.data)
        seeds = range(VALIDATION_SEED, VALIDATION_SEED + config.data.validation_windows)
        self.validation = scene_features(validation, scene, seeds, canonical_focal)
        torch.manual_seed(config.optimization.seed)
        self._vqvae = MotionVQVAE(config.model)
        self._set_statistics()
        if config.loss.freeze_codes:
            self._vqvae.freeze_codes()
        self.model: nn.Module = self._vqvae.to(device)
        self.shipped = self.model

    def batch(self, step: int) -> Batch:
        generator = self._generator(step)
        features = self.pool.batch(self.config.optimization.batch_size, generator)
        return {"features": features.to(self.device), "step": step, "names": f"drawn at step {step}"}

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        config, features = self.config.loss, batch["features"]
        output = self.model(features, quantize=batch["step"] >= config.quantize_after)
        losses = dict(output.losses)
        total = losses.pop("total")
        if config.joints or config.drift:
            # chains of rotations lose too many digits in half precision
            with torch.autocast(features.device.type, enabled=False):
                losses["joints"], losses["drift"] = self._body_losses(output.features.float(), features)
            total = total + config.joints * losses["joints"] + config.drift * losses["drift"]
        return total, {key: float(value.detach()) for key, value in losses.items()}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """MPJPE and PA-MPJPE in mm, root errors, use of the codebook on the fixed validation windows."""
        outputs = [model(chunk) for chunk in self.validation.to(self.device).split(64)]
        ids = torch.cat([output.ids for output in outputs])
        predicted = _with_mean_shape(torch.cat([output.features for output in outputs]).float().cpu())
        return {
            **reconstruction_metrics(predicted, self.validation, self.body),
            "codebook_use": codebook_use(ids, self.config.model.codebook_size),
        }

    def _body_losses(self, predicted: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """L1 of pelvis-aligned joints and of the absolute translation, in units of 10 cm."""
        joints, true_joints = self._joints(predicted), self._joints(target)
        translation = FEATURE_SLICES["translation"]
        drift = (predicted[..., translation] - target[..., translation]).cumsum(1)
        return (joints - true_joints).abs().mean() / _LENGTH, drift.abs().mean() / _LENGTH

    def _joints(self, features: Tensor) -> Tensor:
        """(B*T,22,3) joints about the pelvis."""
        parts = from_features(_with_mean_shape(features))
        betas = parts["betas"].flatten(0, 1)
        body = load_body(self.body, str(features.device))  # type: ignore[arg-type]
        joints = body.joints(parts["rotations"].flatten(0, 1), betas, torch.zeros_like(betas[:, :3]))
        return joints - joints[:, :1]

    def _generator(self, step: int, stream: int = 0) -> torch.Generator:
        seed = step_generator(self.config.optimization.seed, step, stream).integers(2**62)
        return torch.Generator().manual_seed(int(seed))

    def _set_statistics(self) -> None:
        """Mean and deviation of each channel over one large batch; differences and first positions apart."""
        size = min(_STATISTICS_WINDOWS, 4 * self.config.data.windows)
        features = self.pool.batch(size, self._generator(0, stream=1))
        mean, std = features.mean((0, 1)), features.std((0, 1))
        path = FEATURE_SLICES["translation"]
        if features.shape[1] > 1:
            mean[path], std[path] = features[:, 1:, path].mean((0, 1)), features[:, 1:, path].std((0, 1))
        for channels in FEATURE_SLICES.values():
            std[channels] = std[channels].clamp_min(_LEAST_DEVIATION * float(std[channels].mean()))
        first = features[:, 0, path]
        self._vqvae.set_statistics(mean, std, first.mean(0), first.std(0))


def reconstruction_metrics(predicted: Tensor, target: Tensor, body: str = "open") -> dict[str, float]:
    """Errors of reconstructed features (N,T,145), both sides in the canonical camera, averaged over all frames."""
    parts, truth = from_features(predicted), from_features(target)
    joints, true_joints = clip_joints(parts, body), clip_joints(truth, body)
    pelvis, true_pelvis = joints[:, :, 0], true_joints[:, :, 0]
    orientation = rotation_error_deg(parts["rotations"][:, :, 0], truth["rotations"][:, :, 0])
    return {
        "mpjpe_mm": float(mpjpe_mm(joints, true_joints).mean()),
        "pa_mpjpe_mm": float(pa_mpjpe_mm(joints, true_joints).mean()),
        "root_orientation_deg": float(orientation.mean()),
        "root_translation_m": float(translation_error_m(pelvis, true_pelvis).mean()),
        "root_drift_mm": float(drift_mm(pelvis, true_pelvis).mean()),
    }


def _with_mean_shape(features: Tensor) -> Tensor:
    """Replaces the shape of every frame by the clip's mean, as decoding does."""
    shape = FEATURE_SLICES["shape"]
    mean = features[..., shape].mean(-2, keepdim=True).expand_as(features[..., shape])
    return torch.cat([features[..., : shape.start], mean, features[..., shape.stop :]], -1)
