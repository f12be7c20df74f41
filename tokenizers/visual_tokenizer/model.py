"""The discrete visual tokenizer: video in [-1, 1] <-> one id per 8 frames x 16 x 16 pixels.

In: video (B, 3, T, H, W), T = 1 + 8k frames, H and W multiples of 16. Out: ids (B, K, h, w) int64 with
K = 1 + k, h = H/16, w = W/16, and back. Latent frame 0 stands for frame 0 alone, latent frame n for frames
8n-7 .. 8n; the encoder is causal in time, so an id never depends on later frames.
The networks are diffusers' Cosmos encoder and decoder, layer for layer NVIDIA's DV8x16x16.
"""

from __future__ import annotations

from typing import Any

from diffusers.models.autoencoders.autoencoder_kl_cosmos import CosmosDecoder3d, CosmosEncoder3d
from torch import Tensor, nn

from visual_tokenizer.config import PATCH_SIZE, VisualTokenizerConfig
from visual_tokenizer.fsq import FSQ
from visual_tokenizer.haar import haar_patch, haar_unpatch


class DiscreteVisualTokenizer(nn.Module):
    """Encoder, finite scalar quantiser and decoder; see the module's text for shapes."""

    def __init__(self, config: VisualTokenizerConfig) -> None:
        super().__init__()
        self.config = config
        shared: dict[str, Any] = dict(
            num_resnet_blocks=config.num_res_blocks,
            attention_resolutions=(),  # Cosmos has attention in the middle only
            patch_size=PATCH_SIZE,
            spatial_compression_ratio=config.spatial_compression,
            temporal_compression_ratio=config.temporal_compression,
        )
        self.encoder = CosmosEncoder3d(3, config.z_channels, block_out_channels=config.encoder_widths, **shared)
        self.quant_conv = nn.Conv3d(config.z_channels, len(config.fsq_levels), 1)
        self.quantizer = FSQ(config.fsq_levels)
        self.post_quant_conv = nn.Conv3d(len(config.fsq_levels), config.z_channels, 1)
        self.decoder = CosmosDecoder3d(config.z_channels, 3, block_out_channels=config.decoder_widths, **shared)
        # The wavelets have no weights; ours are the same numbers, faster, and training compares coefficients.
        self.encoder.register_module("patch_embed", nn.Identity())
        self.decoder.register_module("unpatch_embed", nn.Identity())

    @property
    def num_ids(self) -> int:
        """Number of different ids; ids run from 0 to num_ids - 1."""
        return self.quantizer.num_ids

    def latents(self, video: Tensor) -> Tensor:
        """Latents (B, D, K, h, w) of a video (B, 3, T, H, W), before quantisation.

        Raises:
            ValueError: wrong shape or dtype.
        """
        self._check_video(video)
        return self._encode_coefficients(haar_patch(video))

    def decode_codes(self, codes: Tensor) -> Tensor:
        """Video (B, 3, T, H, W), not clipped, of quantised codes (B, D, K, h, w)."""
        return haar_unpatch(self._decode_coefficients(codes))

    def reconstruct_coefficients(self, coefficients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The forward pass for training, between wavelets.

        Args:
            coefficients: (B, 192, 1 + 2k, H/4, W/4) from `haar_patch`.

        Returns:
            reconstructed coefficients of the same shape, latents (B, D, K, h, w) before quantisation, ids (B, K, h, w).
        """
        latents = self._encode_coefficients(coefficients)
        codes, ids = self.quantizer(latents)
        return self._decode_coefficients(codes), latents, ids

    def encode(self, video: Tensor) -> Tensor:
        """Tokenises.

        Args:
            video: (B, 3, T, H, W) float in [-1, 1], T = 1 + 8k (a single picture is T = 1).

        Returns:
            ids (B, 1 + k, H/16, W/16) int64.

        Raises:
            ValueError: wrong shape or dtype.
        """
        return self.quantizer(self.latents(video))[1]

    def decode(self, ids: Tensor) -> Tensor:
        """Draws the video of ids.

        Args:
            ids: (B, K, h, w) integers in [0, num_ids).

        Returns:
            video (B, 3, 1 + 8(K-1), 16h, 16w) in the weights' dtype, clipped to [-1, 1].

        Raises:
            ValueError: wrong shape, dtype or range.
        """
        if ids.ndim != 4 or 0 in ids.shape:
            raise ValueError(f"ids must be (B, K, h, w), got {tuple(ids.shape)}")
        codes = self.quantizer.codes(ids).to(self.post_quant_conv.weight.dtype)
        return self.decode_codes(codes).clamp(-1, 1)

    def forward(self, video: Tensor) -> tuple[Tensor, Tensor]:
        """Encodes and decodes with straight-through gradients.

        Args:
            video: (B, 3, T, H, W) float in [-1, 1].

        Returns:
            reconstruction (B, 3, T, H, W), not clipped, and ids (B, K, h, w) int64.

        Raises:
            ValueError: wrong shape or dtype.
        """
        self._check_video(video)
        coefficients, _, ids = self.reconstruct_coefficients(haar_patch(video))
        return haar_unpatch(coefficients), ids

    def _encode_coefficients(self, coefficients: Tensor) -> Tensor:
        return self.quant_conv(self.encoder(coefficients))

    def _decode_coefficients(self, codes: Tensor) -> Tensor:
        return self.decoder(self.post_quant_conv(codes))

    def _check_video(self, video: Tensor) -> None:
        time, space = self.config.temporal_compression, self.config.spatial_compression
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
