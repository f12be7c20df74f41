"""The error of a drawn clip, as both tokenizers of video learn from it.

In: wavelet coefficients, drawn and real, and the person's mask. Out: the weighted sum and its parts. The absolute
error of coefficients compares edges and movement at two scales and needs no downloaded network; LPIPS, when its
weights are given, and the flicker along the real movement come on top.
"""

from __future__ import annotations

from torch import Tensor

from unimo.training.clip_batches import ClipDataConfig
from visual_tokenizer import block_weights, wavelet_losses


class ReconstructionLoss:
    """Weighted sum of the terms that a `ClipDataConfig` asks for.

    Raises:
        MissingAssetError: LPIPS is asked for and its file is not there.
    """

    def __init__(self, config: ClipDataConfig, device: str) -> None:
        self.config = config

    def __call__(
        self, coefficients: Tensor, target: Tensor, video: Tensor, mask: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        """The sum and the logged parts.

        Args:
            coefficients, target: (B, 192, K', H/4, W/4) drawn and real.
            video: (B, 3, T, H, W) the real clips in [-1, 1].
            mask: (B, T, H, W) bool, the person's pixels.
        """
        data = self.config
        losses = wavelet_losses(coefficients, target, block_weights(mask, data.person_weight))
        total = data.l1_weight * losses["l1"] + data.l2_weight * losses["l2"]
        return total, {key: float(value.detach()) for key, value in losses.items()}
