"""The continuous visual tokenizer: video in [-1, 1] <-> 16 numbers per 8 frames x 8 x 8 pixels.

In: video (B, 3, T, H, W), T = 1 + 8k frames, H and W multiples of 8. Out: latents (B, 16, K, h, w) with K = 1 + k,
h = H/8, w = W/8, and back. A latent never depends on later frames. Cosmos CV8x8x8, layer for layer: an autoencoder
without sampling. The diffusion decoder works on normalised latents, whose mean and deviation depend on the latent
frame's index, because frame 0 stands for one picture and the others for eight.
"""

from __future__ import annotations

import torch
from torch import Tensor

from visual_tokenizer.autoencoder import CosmosAutoencoder
from visual_tokenizer.config import ContinuousTokenizerConfig
from visual_tokenizer.haar import haar_patch, haar_unpatch


class ContinuousVisualTokenizer(CosmosAutoencoder):
    """Encoder, decoder and the statistics of their latents; see the module's text for shapes.

    Attributes:
        latents_mean, latents_std: (C, n) statistics of latent frames 0 .. n-1 of a clip (Cosmos's `mean_std.pt`);
            0 and 1 until they are measured or loaded.
    """

    config: ContinuousTokenizerConfig
    latents_mean: Tensor
    latents_std: Tensor

    def __init__(self, config: ContinuousTokenizerConfig) -> None:
        super().__init__(config, config.latent_channels)
        shape = (config.latent_channels, config.statistics_frames)
        self.register_buffer("latents_mean", torch.zeros(shape))
        self.register_buffer("latents_std", torch.ones(shape))

    def reconstruct_coefficients(self, coefficients: Tensor, noise: float = 0.0) -> tuple[Tensor, Tensor]:
        """The forward pass for training, between wavelets.

        Args:
            coefficients: (B, 192, 1 + 2k, H/4, W/4) from `haar_patch`.
            noise: deviation of Gaussian noise on the latents the decoder sees, relative to that of their channel.

        Returns:
            reconstructed coefficients of the same shape, latents (B, C, K, h, w) without the noise.
        """
        latents = seen = self.encode_coefficients(coefficients)
        if noise:
            spread = latents.detach().float().std(dim=(0, 2, 3, 4), keepdim=True)
            seen = latents + (noise * spread * torch.randn_like(latents, dtype=torch.float32)).to(latents.dtype)
        return self.decode_coefficients(seen), latents

    def encode(self, video: Tensor) -> Tensor:
        """Latents (B, C, 1 + k, H/8, W/8) of a video (B, 3, 1 + 8k, H, W) in [-1, 1].

        Raises:
            ValueError: wrong shape or dtype.
        """
        return self.latents(video)

    def decode(self, latents: Tensor) -> Tensor:
        """Video (B, 3, 1 + 8(K-1), 8h, 8w), clipped to [-1, 1], of latents (B, C, K, h, w).

        Raises:
            ValueError: wrong shape.
        """
        self._check_latents(latents)
        return self.decode_latents(latents).clamp(-1, 1)

    def normalize(self, latents: Tensor) -> Tensor:
        """Latents (B, C, K, h, w) of a clip's first K latent frames, each less its mean, over its deviation.

        Raises:
            ValueError: wrong shape, or more latent frames than there are statistics.
        """
        mean, std = self._statistics(latents)
        return (latents - mean) / std

    def denormalize(self, latents: Tensor) -> Tensor:
        """The inverse of `normalize`; same shapes and errors."""
        mean, std = self._statistics(latents)
        return latents * std + mean

    def forward(self, video: Tensor) -> tuple[Tensor, Tensor]:
        """Encodes and decodes: the reconstruction (B, 3, T, H, W), not clipped, and latents (B, C, K, h, w).

        Raises:
            ValueError: wrong shape or dtype.
        """
        self.check_video(video)
        coefficients, latents = self.reconstruct_coefficients(haar_patch(video))
        return haar_unpatch(coefficients), latents

    def _statistics(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        self._check_latents(latents)
        frames = latents.shape[2]
        if frames > self.config.statistics_frames:
            raise ValueError(f"there are statistics of {self.config.statistics_frames} latent frames, not of {frames}")
        mean, std = self.latents_mean[:, :frames], self.latents_std[:, :frames]
        return mean[..., None, None].to(latents), std[..., None, None].to(latents)

    def _check_latents(self, latents: Tensor) -> None:
        channels = self.config.latent_channels
        if latents.ndim != 5 or latents.shape[1] != channels or 0 in latents.shape:
            raise ValueError(f"latents must be (B, {channels}, K, h, w), got {tuple(latents.shape)}")
