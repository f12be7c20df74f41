"""`MotionVQVAE`: motion features <-> 36 ids a frame, one codebook, four expert decoders.

In: raw motion features (B, T, D): body pose 6-D 126 | betas 10 | global orientation 6-D 6 | translation 3, where row 0
of the translation is a position and later rows are differences to the row before.
Out: ids (B, T, 36) int64 in 0..codebook_size-1, or features of the same layout. Buffers hold the normalisation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .config import MotionTokenizerConfig
from .losses import reconstruction_losses
from .network import ExpertDecoders, MotionEncoder
from .quantizer import MotionQuantizer


@dataclass(frozen=True)
class MotionVQVAEOutput:
    """What one forward pass gives.

    Attributes:
        features: (B, T, D) reconstruction in raw units.
        ids: (B, T, tokens_per_frame) int64.
        losses: scalars; "total" is the weighted sum to minimise.
    """

    features: Tensor
    ids: Tensor
    losses: dict[str, Tensor]


class MotionVQVAE(nn.Module):
    """The paper's motion tokenizer (section 3.1).

    The paper gives 123.13 M parameters but neither kernels nor depth. `base` takes what lands nearest, 119.98 M:
    constant width 512, resampling kernels 4, 4, 6, 6, and in each block three residual layers of two 3-wide
    convolutions, the first dilated by 1, 3, 9 (encoder 23.38 M; decoders 24.20, 24.14, 24.13, 24.13 M). The codebook
    adds 0.26 M.
    """

    mean: Tensor
    std: Tensor
    first_translation_mean: Tensor
    first_translation_std: Tensor

    def __init__(self, config: MotionTokenizerConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = MotionEncoder(config)
        self.quantizer = MotionQuantizer(config)
        self.decoders = ExpertDecoders(config)
        translation = config.expert_dims[-1]
        self.register_buffer("mean", torch.zeros(config.feature_dim))
        self.register_buffer("std", torch.ones(config.feature_dim))
        self.register_buffer("first_translation_mean", torch.zeros(translation))
        self.register_buffer("first_translation_std", torch.ones(translation))

    def set_statistics(
        self, mean: Tensor, std: Tensor, first_translation_mean: Tensor, first_translation_std: Tensor
    ) -> None:
        """Sets the normalisation of the features.

        Args:
            mean: (D,) per channel; the translation channels are those of the differences.
            std: (D,) positive.
            first_translation_mean: (3,) of the position in row 0, metres.
            first_translation_std: (3,) positive, metres.

        Raises:
            ValueError: a wrong shape, a value that is not finite, or a standard deviation that is not positive.
        """
        values = {
            "mean": mean, "std": std,
            "first_translation_mean": first_translation_mean, "first_translation_std": first_translation_std,
        }  # fmt: skip
        for name, value in values.items():
            buffer = getattr(self, name)
            if value.shape != buffer.shape:
                raise ValueError(f"{name} must have shape {tuple(buffer.shape)}, not {tuple(value.shape)}")
            if not torch.isfinite(value).all() or (name.endswith("std") and (value <= 0).any()):
                raise ValueError(f"{name} must be finite and standard deviations positive")
        for name, value in values.items():
            getattr(self, name).copy_(value)

    def freeze_codes(self) -> None:
        """From now on only what lies behind the codebook trains, so that ids made before keep their meaning."""
        self.encoder.requires_grad_(False)
        self.quantizer.freeze_codes()

    def normalize(self, features: Tensor) -> Tensor:
        """(B, T, D) raw units -> normalised, row 0 of the translation by its own statistics."""
        mean, std = self._row_statistics(features.shape[1])
        return (features - mean) / std

    def denormalize(self, features: Tensor) -> Tensor:
        """The inverse of `normalize`."""
        mean, std = self._row_statistics(features.shape[1])
        return features * std + mean

    def encode(self, features: Tensor) -> Tensor:
        """(B, T, D) raw features -> (B, T, tokens_per_frame) int64 ids. Raises ValueError on a wrong shape."""
        self._check(features)
        ids = self.quantizer.encode(self._encoded(self.normalize(features)))
        return ids.unflatten(1, (features.shape[1], self.config.tokens_per_frame))

    def decode(self, ids: Tensor) -> Tensor:
        """(B, T, tokens_per_frame) ids -> (B, T, D) raw features.

        Raises:
            ValueError: a wrong shape or type, or an id outside 0..codebook_size-1.
        """
        if ids.ndim != 3 or ids.shape[2] != self.config.tokens_per_frame or ids.shape[1] == 0:
            raise ValueError(f"ids must have shape (B, T, {self.config.tokens_per_frame}), not {tuple(ids.shape)}")
        if ids.dtype not in (torch.int64, torch.int32):
            raise ValueError(f"ids must be int64, not {ids.dtype}")
        if ids.numel() and (int(ids.min()) < 0 or int(ids.max()) >= self.config.codebook_size):
            raise ValueError(f"ids must lie in 0..{self.config.codebook_size - 1}")
        return self.denormalize(self._decoded(self.quantizer.decode(ids.flatten(1))))

    def forward(self, features: Tensor, target: Tensor | None = None, quantize: bool = True) -> MotionVQVAEOutput:
        """Encodes, quantises and decodes a batch, with losses.

        Args:
            features: (B, T, D) raw features that enter the encoder.
            target: (B, T, D) raw features to reconstruct when the input is a noisy version of them; default `features`.
            quantize: False skips the codebook (a warm-up before k-means).

        Returns:
            Reconstruction, ids and losses: `reconstruction_losses`, "commitment", "codebook", and "total", weighted.

        Raises:
            ValueError: a wrong shape.
        """
        self._check(features)
        normalized = self.normalize(features)
        codes, ids, losses = self.quantizer(self._encoded(normalized), quantize)
        decoded = self._decoded(codes).float()  # half precision stops here: the losses want all digits
        wanted = normalized if target is None else self.normalize(target)
        losses = {**reconstruction_losses(decoded, wanted, self.config.expert_dims), **losses}
        losses["total"] = (
            losses["reconstruction"]
            + self.config.velocity_weight * losses["velocity"]
            + self.config.acceleration_weight * losses["acceleration"]
            + self.config.commitment_weight * losses["commitment"]
            + self.config.codebook_weight * losses["codebook"]
        )
        shape = (features.shape[1], self.config.tokens_per_frame)
        return MotionVQVAEOutput(self.denormalize(decoded), ids.unflatten(1, shape), losses)

    def _encoded(self, normalized: Tensor) -> Tensor:
        return self.encoder(normalized.transpose(1, 2)).transpose(1, 2)

    def _decoded(self, codes: Tensor) -> Tensor:
        return self.decoders(codes.transpose(1, 2)).transpose(1, 2)

    def _row_statistics(self, frames: int) -> tuple[Tensor, Tensor]:
        start = self.config.feature_dim - self.config.expert_dims[-1]
        mean, std = self.mean.repeat(frames, 1), self.std.repeat(frames, 1)
        mean[0, start:], std[0, start:] = self.first_translation_mean, self.first_translation_std
        return mean, std

    def _check(self, features: Tensor) -> None:
        if features.ndim != 3 or features.shape[2] != self.config.feature_dim or features.shape[1] == 0:
            raise ValueError(f"features must have shape (B, T, {self.config.feature_dim}), not {tuple(features.shape)}")
