"""`DiffusionVideoDecoder`: ids of the discrete visual tokenizer → pictures in bytes, through sampled latents.

In: ids (B, K, h, w). Out: uint8 RGB frames (B, T, H, W, 3), T = 1 + 8(K-1). Ids condition the diffusion decoder, which
samples latents of the continuous visual tokenizer, whose decoder draws them. Clips of more latent frames than the
decoder's window are sampled in overlapping windows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from unimo.errors import InputError
from unimo.media.pixels import to_frames, to_video
from visual_tokenizer import (
    GUIDANCE,
    STEPS,
    ContinuousVisualTokenizer,
    DiffusionDecoder,
    DiffusionSampler,
    decode_windows,
    draw_noise,
)


class DiffusionVideoDecoder:
    """Wraps the two leaf models.

    Args:
        model: trained diffusion decoder; its device and floating type are used as they are. It must not train or
            move after the first `decode`.
        tokenizer: the continuous tokenizer whose latents it writes, on the same device.
        fps: frame rate of the clips it was trained on.

    Raises:
        ValueError: the two do not belong together.
    """

    def __init__(self, model: DiffusionDecoder, tokenizer: ContinuousVisualTokenizer, fps: float) -> None:
        ours, theirs = model.config.latent_channels, tokenizer.config.latent_channels
        if ours != theirs:
            raise ValueError(f"the diffusion decoder writes {ours} channels, the continuous tokenizer has {theirs}")
        window, known = model.config.window, tokenizer.config.statistics_frames
        if window > known:
            raise ValueError(
                f"the diffusion decoder's window is {window} latent frames, "
                f"the continuous tokenizer has statistics of {known}"
            )
        self.model, self.tokenizer, self.fps = model, tokenizer, fps

    @cached_property
    def _sampler(self) -> DiffusionSampler:
        """Built by the first `decode`: it copies weights, which `reconstruct` does not need."""
        return DiffusionSampler(self.model)

    @torch.inference_mode()
    def decode(
        self,
        ids: Tensor,
        seeds: Sequence[int],
        steps: int = STEPS,
        guidance: float = GUIDANCE,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Samples and draws.

        Args:
            ids: (B, K, h, w) integers.
            seeds: one a clip; a clip's frames do not depend on the other clips.
            steps: of the sampler.
            guidance: g of cond + g (cond - uncond), 0 or more.
            progress: called with (steps done, steps in all).

        Returns:
            uint8 (B, T, H, W, 3).

        Raises:
            InputError: wrong shape, an id out of range, not one seed a clip, or steps or guidance out of range.
        """
        if ids.ndim != 4 or 0 in ids.shape:
            what = f"these ids cannot be drawn: they must be (B, K, h, w), none of them 0, not {tuple(ids.shape)}"
            raise InputError(what)
        if len(seeds) != len(ids):
            raise InputError(f"{len(ids)} clips need as many seeds, not {len(seeds)}", None, "one seed a clip")
        config, device = self.model.config, next(self.model.parameters()).device
        frames, height, width = ids.shape[1:]
        up = config.token_upsample
        # drawn on the processor, so that a seed means the same noise everywhere
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        noise = draw_noise(generators, (config.latent_channels, frames, up * height, up * width)).to(device)
        text = self.model.prompt_states(len(ids))
        try:
            windows = self._sampler.sample_windows(
                ids, noise, text, self.fps, steps=steps, guidance=guidance, progress=progress
            )
            video = decode_windows(windows, self._draw, self.tokenizer.config.temporal_compression)
        except ValueError as error:
            raise InputError(f"these ids cannot be drawn: {error}") from error
        return to_frames(video)

    @torch.inference_mode()
    def reconstruct(self, frames: np.ndarray) -> np.ndarray:
        """uint8 (B, T, H, W, 3) through the continuous tokenizer's latents and back: the best this decoder could do."""
        weight = self.tokenizer.post_quant_conv.weight
        video = to_video(frames, weight.device).to(weight.dtype)
        return to_frames(self.tokenizer.decode(self.tokenizer.encode(video)))

    def _draw(self, latents: Tensor) -> Tensor:
        """Video (B, 3, T, H, W) in [-1, 1] of normalised latents."""
        latents = self.tokenizer.denormalize(latents)
        return self.tokenizer.decode(latents.to(self.tokenizer.post_quant_conv.weight.dtype))
