"""Training of the discrete visual tokenizer: squared and absolute wavelet errors, the person counted more.

In: a `ClipPack` of rendered clips with the person's mask. Out: a trained `DiscreteVisualTokenizer`. Every clip of a
batch is mirrored, brightened and tinted at random; part of the steps see random squares of the frame instead of
whole frames, which shows more people for the same arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from unimo.data.pack import ClipPack
from unimo.metrics.video import box_downsampled, psnr_db
from unimo.training.config import OptimizationConfig
from unimo.training.task import Batch, step_generator
from visual_tokenizer import (
    DiscreteVisualTokenizer,
    VisualTokenizerConfig,
    block_weights,
    code_spread,
    haar_patch,
    initialize_for_training,
    wavelet_losses,
)

_VALIDATION_BATCH = 8


@dataclass(frozen=True)
class VisualDataConfig:
    """What the visual tokenizer sees and what counts.

    Attributes:
        person_weight: weight of the person's pixels against 1 elsewhere.
        l1_weight, l2_weight, spread_weight: weights of the loss terms.
        crop: side of the square crops in pixels, a multiple of 16.
        whole_share: share of the steps on whole frames; they hold fewer clips, so that a step costs the same.
        gain, offset: largest random change of the colours, relative (each colour) and absolute (all, of 2).
        decoder_only: leave the encoder as it is, so that ids and everything trained on them stay valid.
        validation_clips: clips of the validation pack that are scored.
    """

    person_weight: float = 4.0
    l1_weight: float = 1.0
    l2_weight: float = 1.0
    spread_weight: float = 0.3
    crop: int = 64
    whole_share: float = 1.0
    gain: float = 0.15
    offset: float = 0.1
    decoder_only: bool = False
    validation_clips: int = 64


@dataclass(frozen=True)
class VisualTokenizerTrainingConfig:
    """configs/visual_tokenizer/*.yaml."""

    model: VisualTokenizerConfig
    optimization: OptimizationConfig
    data: VisualDataConfig = VisualDataConfig()


class VisualTokenizerTask:
    """Learns to draw clips from their ids.

    Args:
        config: sizes, schedule and data of the run.
        train, validation: rendered clips.
        model: weights to go on from; None starts afresh.
        device: of the model.
    """

    name = "visual-tokenizer"

    def __init__(
        self,
        config: VisualTokenizerTrainingConfig,
        train: ClipPack,
        validation: ClipPack,
        model: DiscreteVisualTokenizer | None = None,
        device: str = "cpu",
    ) -> None:
        self.config, self.train, self.validation, self.device = config, train, validation, device
        torch.manual_seed(config.optimization.seed)
        if model is None:
            model = DiscreteVisualTokenizer(config.model)
            initialize_for_training(model)
        if config.data.decoder_only:
            model.encoder.requires_grad_(False)
            model.quant_conv.requires_grad_(False)
        self.model: nn.Module = model.to(device)
        self.shipped = self.model

    def batch(self, step: int) -> Batch:
        data, rng = self.config.data, step_generator(self.config.optimization.seed, step)
        side, count = self.train.frames.shape[2], self.config.optimization.batch_size
        whole = data.crop >= side or rng.random() < data.whole_share
        crop = side if whole else data.crop
        if whole and data.crop < side:
            count = max(1, round(count * (data.crop / side) ** 2))
        rows = np.sort(rng.integers(len(self.train), size=count))
        frames, masks = [], []
        for row, mask in zip(rows, self.train.masks(rows), strict=True):
            y, x = rng.integers(side - crop + 1, size=2)
            window = np.s_[:, y : y + crop, x : x + crop]
            frame, mask = self.train.frames[row][window], mask[window]
            mirror = -1 if rng.random() < 0.5 else 1
            frames.append(frame[:, :, ::mirror])
            masks.append(mask[:, :, ::mirror])
        gain = 1 + rng.uniform(-data.gain, data.gain, (count, 3, 1, 1, 1))
        offset = rng.uniform(-data.offset, data.offset, (count, 1, 1, 1, 1))
        video = to_video(np.stack(frames)) * torch.from_numpy(gain).float() + torch.from_numpy(offset).float()
        mask = torch.from_numpy(np.stack(masks))
        return {"names": rows.tolist(), "video": video.clamp(-1, 1).to(self.device), "mask": mask.to(self.device)}

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        data = self.config.data
        target = haar_patch(batch["video"])
        coefficients, latents, _ = self.model.reconstruct_coefficients(target)  # type: ignore[operator]
        losses = wavelet_losses(coefficients, target, block_weights(batch["mask"], data.person_weight))
        losses["spread"] = code_spread(latents)
        total = data.l1_weight * losses["l1"] + data.l2_weight * losses["l2"] + data.spread_weight * losses["spread"]
        return total, {key: float(value.detach()) for key, value in losses.items()}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """PSNR (dB, mean over clips) of the frame and of the person, beside a 16x smaller copy's, and use of the ids.

        `code_entropy_bits` is the entropy of the ids over all clips; the largest possible is log2 of their number.
        """
        count = min(self.config.data.validation_clips, len(self.validation))
        scores: list[tuple[float, ...]] = []
        used = torch.zeros(model.num_ids)  # type: ignore[arg-type]
        for start in range(0, count, _VALIDATION_BATCH):
            rows = np.arange(start, min(start + _VALIDATION_BATCH, count))
            frames, masks = np.asarray(self.validation.frames[rows]), self.validation.masks(rows)
            reconstruction, ids = model(to_video(frames).to(self.device))
            used += torch.bincount(ids.flatten().cpu(), minlength=len(used))
            drawn = to_frames(reconstruction)
            for real, ours, mask in zip(frames, drawn, masks, strict=True):
                small = box_downsampled(real)
                pairs = ((ours, None), (ours, mask), (small, None), (small, mask))
                scores.append(tuple(psnr_db(picture, real, where) for picture, where in pairs))
        names = ("psnr_db", "psnr_person_db", "downsampled.psnr_db", "downsampled.psnr_person_db")
        numbers = dict(zip(names, np.nanmean(np.array(scores), axis=0).tolist(), strict=True))
        share = used[used > 0] / used.sum()
        return numbers | {
            "code_entropy_bits": float(-(share * share.log2()).sum()),
            "codebook_use": float((used > 0).float().mean()),
        }


def to_video(frames: np.ndarray) -> Tensor:
    """Frames (B,T,H,W,3) uint8 -> video (B,3,T,H,W) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def to_frames(video: Tensor) -> np.ndarray:
    """Video (B,3,T,H,W) in [-1, 1] -> frames (B,T,H,W,3) uint8."""
    frames = ((video.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return frames.permute(0, 2, 3, 4, 1).cpu().numpy()
