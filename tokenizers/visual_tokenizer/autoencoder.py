"""What both visual tokenizers share: the two networks, the wavelets around them, and the check of a video.

In: a geometry. Out: `CosmosAutoencoder`, whose networks are diffusers' Cosmos encoder and decoder, layer for layer
NVIDIA's. Latent frame 0 stands for frame 0 alone, latent frame n for frames 8n-7 .. 8n; the encoder is causal in time.
"""

from __future__ import annotations

from typing import Any

from diffusers.models.autoencoders.autoencoder_kl_cosmos import CosmosDecoder3d, CosmosEncoder3d
from torch import Tensor, nn

from visual_tokenizer.config import PATCH_SIZE, AutoencoderConfig
from visual_tokenizer.haar import haar_patch, haar_unpatch


class CosmosAutoencoder(nn.Module):
    """Encoder and decoder with 1x1x1 convolutions to `latent_channels` and back between them."""

    config: AutoencoderConfig

    def __init__(self, config: AutoencoderConfig, latent_channels: int) -> None:
        super().__init__()
        shared: dict[str, Any] = dict(
            num_resnet_blocks=config.num_res_blocks,
            attention_resolutions=(),  # Cosmos has attention in the middle only
            patch_size=PATCH_SIZE,
            spatial_compression_ratio=config.spatial_compression,
            temporal_compression_ratio=config.temporal_compression,
        )
        self.config = config
        self.compression = (config.temporal_compression, config.spatial_compression)
        self.encoder = CosmosEncoder3d(3, config.z_channels, block_out_channels=config.encoder_widths, **shared)
        self.quant_conv = nn.Conv3d(config.z_channels, latent_channels, 1)
        self.post_quant_conv = nn.Conv3d(latent_channels, config.z_channels, 1)
        self.decoder = CosmosDecoder3d(config.z_channels, 3, block_out_channels=config.decoder_widths, **shared)
        # The wavelets have no weights; ours are the same numbers, faster, and training compares coefficients.
        self.encoder.register_module("patch_embed", nn.Identity())
        self.decoder.register_module("unpatch_embed", nn.Identity())

    def latents(self, video: Tensor) -> Tensor:
        """Latents (B, C, K, h, w) of a video (B, 3, T, H, W), before any quantisation.

        Raises:
            ValueError: wrong shape or dtype.
        """
        self.check_video(video)
        return self.encode_coefficients(haar_patch(video))

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Video (B, 3, T, H, W), not clipped, of latents or quantised codes (B, C, K, h, w)."""
        return haar_unpatch(self.decode_coefficients(latents))

    def encode_coefficients(self, coefficients: Tensor) -> Tensor:
        """Latents of wavelet coefficients (B, 192, 1 + 2k, H/4, W/4) from `haar_patch`."""
        return self.quant_conv(self.encoder(coefficients))

    def decode_coefficients(self, latents: Tensor) -> Tensor:
        """Wavelet coefficients of latents."""
        return self.decoder(self.post_quant_conv(latents))

    def check_video(self, video: Tensor) -> None:
        """Raises ValueError unless `video` is float (B, 3, 1 + 8k, H, W) with sides that the network divides."""
        time, space = self.compression
        if video.ndim != 5 or video.shape[1] != 3 or 0 in video.shape:
            raise ValueError(f"video must be (B, 3, T, H, W), got {tuple(video.shape)}")
        if not video.is_floating_point():
            raise ValueError(f"video must be float in [-1, 1], got {video.dtype}")
        if video.shape[2] % time != 1:
            raise ValueError(f"the number of frames must be 1 + {time}k, got {video.shape[2]}")
        if video.shape[3] % space or video.shape[4] % space:
            raise ValueError(
                f"height and width must be multiples of {space}, got {video.shape[3]} x {video.shape[4]}"
            )
