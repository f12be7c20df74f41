"""Normalisation of motion features inside the model: one mean and deviation a channel, and a second pair for row 0.

Row 0 of the translation is a position in metres while later rows are steps, so its three channels have statistics of
their own. All are buffers, so that checkpoints and bundles carry them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class NormalizedModel(nn.Module):
    """A model of (B, T, D) features whose last `translation_dim` channels are the translation."""

    mean: Tensor
    std: Tensor
    first_translation_mean: Tensor
    first_translation_std: Tensor

    def __init__(self, feature_dim: int, translation_dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(feature_dim))
        self.register_buffer("std", torch.ones(feature_dim))
        self.register_buffer("first_translation_mean", torch.zeros(translation_dim))
        self.register_buffer("first_translation_std", torch.ones(translation_dim))

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

    def normalize(self, features: Tensor) -> Tensor:
        """(B, T, D) raw units -> normalised, row 0 of the translation by its own statistics."""
        mean, std = self._row_statistics(features.shape[1])
        return (features - mean) / std

    def denormalize(self, features: Tensor) -> Tensor:
        """The inverse of `normalize`."""
        mean, std = self._row_statistics(features.shape[1])
        return features * std + mean

    def _row_statistics(self, frames: int) -> tuple[Tensor, Tensor]:
        start = len(self.mean) - len(self.first_translation_mean)
        mean, std = self.mean.repeat(frames, 1), self.std.repeat(frames, 1)
        mean[0, start:], std[0, start:] = self.first_translation_mean, self.first_translation_std
        return mean, std
