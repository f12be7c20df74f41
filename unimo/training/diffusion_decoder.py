"""Training of the diffusion decoder: noisy latents of clips are cleaned with the clips' visual ids as condition.

In: visual ids (`TokenPack`), latents of the same clips (`LatentPack`), the person's masks (`ClipPack`). Out: a trained
`DiffusionDecoder`. The objective is EDM's (Karras et al. 2022): a log-normal noise level, preconditioning and weight.
With the probability `drop` ids become 0 and there is no text: the unconditional branch of guidance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unimo.data.latents import LatentPack
from unimo.data.pack import ClipPack
from unimo.data.tokens import TokenPack
from unimo.errors import InputError
from unimo.media.diffusion import DiffusionVideoDecoder
from unimo.media.pixels import to_video
from unimo.training.config import OptimizationConfig
from unimo.training.task import Batch, step_generator
from unimo.training.token_start import embedding_start, mean_latents
from unimo.training.video_scores import score_reconstructions
from visual_tokenizer import (
    GUIDANCE,
    ContinuousVisualTokenizer,
    DiffusionDecoder,
    DiffusionDecoderConfig,
    initialize_diffusion_decoder,
)

VALIDATION_LEVELS = (0.1, 0.4, 1.5, 8.0)


@dataclass(frozen=True)
class DiffusionDataConfig:
    """What the diffusion decoder sees and what counts.

    Attributes:
        log_sigma_mean, log_sigma_std: of the normal distribution of ln sigma in training.
        drop: probability of leaving the condition out.
        person_weight: weight of latent cells on the person against 1 elsewhere.
        start_clips: clips from which the token embedding learns, before training, what latents an id stands for.
        validation_clips: clips whose cleaning is scored.
        sampled_clips: clips that are sampled and drawn at every validation.
    """

    log_sigma_mean: float = 0.0
    log_sigma_std: float = 1.5
    drop: float = 0.1
    person_weight: float = 1.0
    start_clips: int = 2000
    validation_clips: int = 64
    sampled_clips: int = 16

    def __post_init__(self) -> None:
        if not 0 <= self.drop < 1 or min(self.log_sigma_std, self.person_weight, self.start_clips) <= 0:
            raise ValueError("drop must lie in [0, 1), log_sigma_std, person_weight and start_clips must be positive")


@dataclass(frozen=True)
class DiffusionDecoderTrainingConfig:
    """configs/diffusion_decoder/*.yaml."""

    model: DiffusionDecoderConfig
    optimization: OptimizationConfig
    data: DiffusionDataConfig = DiffusionDataConfig()


@dataclass(frozen=True)
class DiffusionClips:
    """The same clips as pixels with masks, as visual ids and as latents."""

    pack: ClipPack
    tokens: TokenPack
    latents: LatentPack

    def __post_init__(self) -> None:
        if not len(self.pack) == len(self.tokens) == len(self.latents):
            sizes = f"{len(self.pack)}, {len(self.tokens)} and {len(self.latents)}"
            raise ValueError(f"pixels, ids and latents must be of the same clips, there are {sizes}")

    @property
    def latent_frames(self) -> int:
        """K, of every clip."""
        return self.latents.latents.shape[2]


class DiffusionDecoderTask:
    """Learns to draw latents from visual ids.

    Args:
        config: sizes, schedule and data of the run.
        train, validation: clips.
        tokenizer: the frozen continuous tokenizer, for its statistics and to draw samples.
        fps: frame rate of the clips.
        codes: (ids, D) the quantiser's code of every id.
        model: weights to go on from; None starts afresh.
        device: of the model.

    Raises:
        InputError: clips are longer than the decoder's window.
    """

    name = "diffusion-decoder"

    def __init__(
        self,
        config: DiffusionDecoderTrainingConfig,
        train: DiffusionClips,
        validation: DiffusionClips,
        tokenizer: ContinuousVisualTokenizer,
        fps: float,
        codes: Tensor,
        model: DiffusionDecoder | None = None,
        device: str = "cpu",
    ) -> None:
        self.config, self.train, self.validation, self.device, self.fps = config, train, validation, device, fps
        frames, window = train.latent_frames, config.model.window
        if frames > window:
            what = f"clips of {frames} latent frames, while the decoder draws {window} at once"
            raise InputError(what, fix="model.window of its configuration, or shorter clips")
        self.tokenizer = tokenizer.to(device).eval().requires_grad_(False)
        torch.manual_seed(config.optimization.seed)
        self.shipped = (model or DiffusionDecoder(config.model)).to(device)
        self.model: nn.Module = self.shipped
        if model is None:
            initialize_diffusion_decoder(self.shipped)
            self._start_embedding(codes)

    @torch.no_grad()
    def _start_embedding(self, codes: Tensor) -> None:
        """The token embedding begins with the mean latents of its ids."""
        count = self.config.data.start_clips
        size = self.config.optimization.batch_size

        def parts() -> Iterator[tuple[Tensor, Tensor]]:
            for start in range(0, min(count, len(self.train.pack)), size):
                batch = self._rows(self.train, np.arange(start, min(start + size, count, len(self.train.pack))))
                yield batch["ids"].cpu(), batch["latents"].cpu()

        means = mean_latents(parts(), codes)
        self.shipped.token_embedder.weight.copy_(embedding_start(means, self.config.model.token_dim))

    def batch(self, step: int) -> Batch:
        data, rng = self.config.data, step_generator(self.config.optimization.seed, step)
        rows = np.sort(rng.integers(len(self.train.pack), size=self.config.optimization.batch_size))
        batch = self._rows(self.train, rows)
        sigma = np.exp(rng.normal(data.log_sigma_mean, data.log_sigma_std, len(rows)))
        noise = rng.standard_normal(batch["latents"].shape, dtype=np.float32)
        dropped = torch.from_numpy(rng.random(len(rows)) < data.drop).to(self.device)
        batch["ids"] = batch["ids"].masked_fill(dropped[:, None, None, None], 0)
        if batch["text"] is not None:
            batch["text"] = batch["text"].masked_fill(dropped[:, None, None], 0)
        sigma = torch.from_numpy(sigma.astype(np.float32))
        return batch | {"sigma": sigma.to(self.device), "noise": torch.from_numpy(noise).to(self.device)}

    def _rows(self, clips: DiffusionClips, rows: np.ndarray) -> Batch:
        """Ids, the prompt, normalised latents and the person's share of each latent cell of some clips."""
        latents = torch.from_numpy(clips.latents.latents[rows].astype(np.float32)).to(self.device)
        ids = torch.from_numpy(clips.tokens.visual_ids[rows].astype(np.int64)).to(self.device)
        person = person_share(clips.pack.masks(rows), latents.shape[2:]).to(self.device)
        text, latents = self.shipped.prompt_states(len(rows)), self.tokenizer.normalize(latents)
        return {"names": rows.tolist(), "latents": latents, "ids": ids, "text": text, "person": person}

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        error = self._error(batch)
        weight = 1 + (self.config.data.person_weight - 1) * batch["person"]
        loss = (error * weight / weight.mean()).mean()
        person = (error.detach() * batch["person"]).sum() / batch["person"].sum().clamp(min=1e-6)
        return loss, {"person_loss": float(person)}

    def _error(self, batch: Batch) -> Tensor:
        """EDM's weighted squared error, mean over channels: (B, 1, K, h, w)."""
        state, denoised, weight = self.shipped.denoise_noised(
            batch["latents"], batch["ids"], batch["sigma"], batch["noise"], batch["text"], self.fps
        )
        return (weight * (denoised - state).square()).mean(1, keepdim=True)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """The loss at fixed noise levels, and scores of samples (no guidance, and the default) as drawn videos."""
        numbers = {f"loss_at_{level:g}": self._validation_error(level) for level in VALIDATION_LEVELS}
        decoder = DiffusionVideoDecoder(self.shipped, self.tokenizer, self.fps)
        for name, guidance in (("plain", 0.0), ("guided", GUIDANCE)):
            scores = self._sampled(decoder, guidance)
            numbers |= {f"{name}.{key}": value for key, value in scores.items() if "downsampled" not in key}
        return numbers

    def _validation_error(self, level: float) -> float:
        """The loss of the validation clips at one noise level, as many clips at once as in training."""
        count = min(self.config.data.validation_clips, len(self.validation.pack))
        generator, total = torch.Generator().manual_seed(0), 0.0
        for rows in np.array_split(np.arange(count), -(-count // self.config.optimization.batch_size)):
            batch = self._rows(self.validation, rows)
            noise = torch.randn(batch["latents"].shape, generator=generator).to(self.device)
            sigma = torch.full((len(rows),), level, device=self.device)
            total += len(rows) * float(self._error(batch | {"sigma": sigma, "noise": noise}).detach().mean())
        return total / count

    def _sampled(self, decoder: DiffusionVideoDecoder, guidance: float) -> dict[str, float]:
        """Scores of samples of the first validation clips."""
        clips = self.config.data.sampled_clips
        ids = torch.from_numpy(self.validation.tokens.visual_ids[:clips].astype(np.int64)).to(self.device)
        done = 0

        def reconstruct(video: Tensor) -> Tensor:
            nonlocal done
            seeds = range(done, done + len(video))
            done += len(video)
            return to_video(decoder.decode(ids[seeds.start : seeds.stop], seeds, guidance=guidance))

        return score_reconstructions(reconstruct, self.validation.pack, clips, self.device)


def person_share(masks: np.ndarray, cells: torch.Size) -> Tensor:
    """Share of each latent cell that the person covers.

    Args:
        masks: (B, T, H, W) bool, T = 1 + n(K-1).
        cells: (K, h, w).

    Returns:
        (B, 1, K, h, w) float32 in [0, 1].
    """
    frames, height, width = cells
    mask = torch.from_numpy(masks).float()[:, None]
    first = F.adaptive_avg_pool3d(mask[:, :, :1], (1, height, width))
    if frames == 1:
        return first
    return torch.cat([first, F.adaptive_avg_pool3d(mask[:, :, 1:], (frames - 1, height, width))], dim=2)
