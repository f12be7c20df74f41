"""Sampling of the diffusion decoder: visual ids and noise -> normalised latents of the continuous tokenizer.

In: ids (B, K, h, w) and standard normal noise (B, C, K, H, W). Out: normalised latents (B, C, K, H, W), float32.
The steps are those of diffusers' `EDMEulerScheduler` (Karras et al. 2022) with Cosmos's settings and guidance
cond + g (cond - uncond). Every sample runs by itself, so its result does not depend on what else is in the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from visual_tokenizer.diffusion_fast import ClipCondition, FastTransformer
from visual_tokenizer.diffusion_model import DiffusionDecoder
from visual_tokenizer.diffusion_windows import join_windows, window_starts

SIGMA_MAX, SIGMA_MIN, RHO = 80.0, 0.02, 7.0  # Cosmos
STEPS, GUIDANCE = 15, 1.8
Progress = Callable[[int, int], None]


def noise_levels(steps: int) -> Tensor:
    """(steps + 1,) float32: Karras's levels from 80 to 0.02, then 0.

    Raises:
        ValueError: fewer than two steps.
    """
    if steps < 2:
        raise ValueError(f"steps must be at least 2, got {steps}")
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    first, last = SIGMA_MAX ** (1 / RHO), SIGMA_MIN ** (1 / RHO)
    return torch.cat([(first + ramp * (last - first)) ** RHO, torch.zeros(1)]).float()


def draw_noise(generators: Sequence[torch.Generator], shape: Sequence[int]) -> Tensor:
    """(B, *shape) standard normal noise, one generator a sample."""
    return torch.stack([torch.randn(*shape, generator=generator, device=generator.device) for generator in generators])


class DiffusionSampler:
    """Samples from a trained decoder, in the floating type of its weights; autocast is off while it runs.

    Some weights are copied and rearranged, others stay the model's (see `FastTransformer`): build it anew after
    training steps, or after the model has moved.

    Args:
        model: on any device, in float32, bfloat16 or float16. Activations above 65504 overflow float16.
    """

    def __init__(self, model: DiffusionDecoder) -> None:
        self.model, self.config = model, model.config
        self._network = FastTransformer(model)

    @torch.no_grad()
    def sample(
        self,
        ids: Tensor,
        noise: Tensor,
        text: Tensor | None = None,
        fps: float | None = None,
        steps: int = STEPS,
        guidance: float = GUIDANCE,
        progress: Progress | None = None,
    ) -> Tensor:
        """Samples one window.

        Args:
            ids: (B, K, h, w) integers in [0, num_ids).
            noise: (B, C, K, H, W) standard normal, for example from `draw_noise`.
            text: (B, M, text_dim) text states, any floating type; None for none.
            fps: frames per second of the video; None for `base_fps`.
            steps: evaluations of the network (of both branches together), at least 2.
            guidance: g of cond + g (cond - uncond); 0 leaves the unconditional branch out. A textbook scale is g + 1.
            progress: called with (steps done, steps in all) after every step of every sample.

        Returns:
            (B, C, K, H, W) float32 normalised latents.

        Raises:
            ValueError: wrong shape, dtype or range.
        """
        self.model.check(noise, ids, text)
        if not (math.isfinite(guidance) and guidance >= 0):
            raise ValueError(f"guidance must be 0 or more, got {guidance}")
        levels = noise_levels(steps)
        times = (0.25 * levels[:-1].log()).to(noise.device)
        result = torch.empty_like(noise, dtype=torch.float32)
        with torch.autocast(noise.device.type, enabled=False):  # packed weights have one type
            modulations = self._network.modulations(times)
            for index in range(len(ids)):
                own = slice(index, index + 1)
                condition = self._network.condition(ids[own], None if text is None else text[own], fps, guidance != 0)
                tell = _offset(progress, index * steps, len(ids) * steps)
                result[own] = self._run(noise[own].float(), condition, modulations, levels.tolist(), guidance, tell)
        return result

    def sample_windows(
        self,
        ids: Tensor,
        noise: Tensor,
        text: Tensor | None = None,
        fps: float | None = None,
        steps: int = STEPS,
        guidance: float = GUIDANCE,
        progress: Progress | None = None,
    ) -> list[tuple[int, Tensor]]:
        """Samples a clip of any length in overlapping windows; moments that two windows share have the same noise.

        Args:
            As `sample`.

        Returns:
            For each window its first latent frame and its normalised latents (B, C, window, H, W). A window is
            normalised, and to be decoded, as a clip of its own.

        Raises:
            ValueError: wrong shape, dtype or range.
        """
        self.model.check(noise, ids, text, any_length=True)
        starts = window_starts(ids.shape[1], self.config.window, self.config.overlap)
        total, results = len(ids) * steps, []
        for number, start in enumerate(starts):
            frames = slice(start, start + self.config.window)
            tell = _offset(progress, number * total, len(starts) * total)
            latents = self.sample(ids[:, frames], noise[:, :, frames], text, fps, steps, guidance, tell)
            results.append((start, latents))
        return results

    def _run(
        self,
        noise: Tensor,
        condition: ClipCondition,
        modulations: list[Tensor],
        levels: list[float],
        guidance: float,
        progress: Progress | None,
    ) -> Tensor:
        """One sample (1, C, K, H, W). A step, x + (x - denoised) / sigma (next - sigma), is linear in x and output."""
        data = self.config.sigma_data
        state = self._network.patches(noise) * (SIGMA_MAX**2 + 1) ** 0.5
        for step, (sigma, following) in enumerate(zip(levels, levels[1:], strict=False)):
            total = sigma**2 + data**2
            output = self._network(state, total**-0.5, modulations[step], condition).float()
            if guidance:
                output = torch.lerp(output[1:], output[:1], 1 + guidance)
            kept = 1 + (following - sigma) * sigma / total
            state = kept * state + (sigma - following) * data * total**-0.5 * output
            if progress is not None:
                progress(step + 1, len(levels) - 1)
        return self._network.latents(state / data, tuple(noise.shape))


def decode_windows(
    windows: Sequence[tuple[int, Tensor]], decode: Callable[[Tensor], Tensor], frames_per_latent: int = 8
) -> Tensor:
    """Decodes each window and joins the videos over all frames they share.

    Args:
        windows: from `DiffusionSampler.sample_windows`.
        decode: normalised latents (B, C, K, H, W) of a clip -> video (B, 3, 1 + n(K-1), height, width).
        frames_per_latent: n, video frames of every latent frame but a clip's first.

    Returns:
        (B, 3, T, height, width).

    Raises:
        ValueError: videos that do not fit together.
    """
    return join_windows(
        [decode(latents) for _, latents in windows], [frames_per_latent * start for start, _ in windows]
    )


def _offset(progress: Progress | None, done: int, total: int) -> Progress | None:
    return None if progress is None else lambda step, _: progress(done + step, total)
