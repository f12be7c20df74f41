"""The discrete visual tokenizer: video in [-1, 1] <-> one id per 8 frames x 16 x 16 pixels.

In: video (B, 3, T, H, W), T = 1 + 8k frames, H and W multiples of 16. Out: ids (B, K, h, w) int64 with
K = 1 + k, h = H/16, w = W/16, and back. An id never depends on later frames. Cosmos DV8x16x16, layer for layer.
"""

from __future__ import annotations

from torch import Tensor

from visual_tokenizer.autoencoder import CosmosAutoencoder
from visual_tokenizer.config import VisualTokenizerConfig
from visual_tokenizer.fsq import FSQ
from visual_tokenizer.haar import haar_patch, haar_unpatch


class DiscreteVisualTokenizer(CosmosAutoencoder):
    """Encoder, finite scalar quantiser and decoder; see the module's text for shapes."""

    config: VisualTokenizerConfig

    def __init__(self, config: VisualTokenizerConfig) -> None:
        super().__init__(config, len(config.fsq_levels))
        self.quantizer = FSQ(config.fsq_levels)

    @property
    def num_ids(self) -> int:
        """Number of different ids; ids run from 0 to num_ids - 1."""
        return self.quantizer.num_ids

    def reconstruct_coefficients(self, coefficients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The forward pass for training, between wavelets.

        Args:
            coefficients: (B, 192, 1 + 2k, H/4, W/4) from `haar_patch`.

        Returns:
            reconstructed coefficients of the same shape, latents (B, D, K, h, w) before quantisation, ids (B, K, h, w).
        """
        latents = self.encode_coefficients(coefficients)
        codes, ids = self.quantizer(latents)
        return self.decode_coefficients(codes), latents, ids

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

    def codes(self, ids: Tensor) -> Tensor:
        """Quantised codes (B, D, K, h, w) of ids (B, K, h, w), in the weights' dtype.

        Raises:
            ValueError: wrong shape, dtype or range.
        """
        if ids.ndim != 4 or 0 in ids.shape:
            raise ValueError(f"ids must be (B, K, h, w), got {tuple(ids.shape)}")
        return self.quantizer.codes(ids).to(self.post_quant_conv.weight.dtype)

    def decode(self, ids: Tensor) -> Tensor:
        """Draws the video of ids.

        Args:
            ids: (B, K, h, w) integers in [0, num_ids).

        Returns:
            video (B, 3, 1 + 8(K-1), 16h, 16w) in the weights' dtype, clipped to [-1, 1].

        Raises:
            ValueError: wrong shape, dtype or range.
        """
        return self.decode_latents(self.codes(ids)).clamp(-1, 1)

    def forward(self, video: Tensor) -> tuple[Tensor, Tensor]:
        """Encodes and decodes with straight-through gradients.

        Args:
            video: (B, 3, T, H, W) float in [-1, 1].

        Returns:
            reconstruction (B, 3, T, H, W), not clipped, and ids (B, K, h, w) int64.

        Raises:
            ValueError: wrong shape or dtype.
        """
        self.check_video(video)
        coefficients, _, ids = self.reconstruct_coefficients(haar_patch(video))
        return haar_unpatch(coefficients), ids
