"""The error of a drawn clip, as both tokenizers of video learn from it.

In: wavelet coefficients, drawn and real, and the person's mask. Out: the weighted sum and its parts. The absolute
error of coefficients compares edges and movement at two scales and needs no downloaded network; LPIPS, when its
weights are given, and the flicker along the real movement come on top.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unimo.metrics.lpips import load_lpips
from unimo.training.clip_batches import ClipDataConfig
from unimo.training.flow import flow_consistency
from visual_tokenizer import block_weights, haar_unpatch, wavelet_losses


class ReconstructionLoss:
    """Weighted sum of the terms that a `ClipDataConfig` asks for.

    Raises:
        MissingAssetError: LPIPS is asked for and a file of its weights is not there.
        CheckpointError: such a file holds something else.
        InputError: LPIPS has no such network.
    """

    def __init__(self, config: ClipDataConfig, device: str) -> None:
        self.config = config
        self.lpips = None
        if config.lpips_weight:
            backbone, linear = config.lpips_backbone or "", config.lpips_linear or ""  # the config has checked both
            self.lpips = load_lpips(config.lpips_network, backbone, linear, device)

    def __call__(
        self, coefficients: Tensor, target: Tensor, video: Tensor, mask: Tensor
    ) -> tuple[Tensor, dict[str, float]]:
        """The sum and the logged parts, each before its weight.

        Args:
            coefficients, target: (B, 192, K', H/4, W/4) drawn and real.
            video: (B, 3, T, H, W) the real clips in [-1, 1].
            mask: (B, T, H, W) bool, the person's pixels.
        """
        data = self.config
        losses = wavelet_losses(coefficients, target, block_weights(mask, data.person_weight))
        total = data.l1_weight * losses["l1"] + data.l2_weight * losses["l2"]
        if data.flow_weight or self.lpips is not None:
            # the terms of pixels are small differences: they are taken in float32 whatever the networks run in
            with torch.autocast(coefficients.device.type, enabled=False):
                drawn = haar_unpatch(coefficients.float())
                if data.flow_weight:
                    losses["flow"] = flow_consistency(drawn, video)
                    total = total + data.flow_weight * losses["flow"]
                if self.lpips is not None:
                    losses["lpips"] = self.lpips(_pictures(drawn), _pictures(video)).mean()
                    total = total + data.lpips_weight * losses["lpips"]
        return total, {key: float(value.detach()) for key, value in losses.items()}


def _pictures(video: Tensor) -> Tensor:
    """Clips (B, 3, T, H, W) as pictures (B T, 3, H, W)."""
    return video.transpose(1, 2).flatten(0, 1)
