"""Training of the transformer: cross-entropy on target tokens, the two tasks in equal parts.

In: a `TokenPack` of clips that frozen tokenizers have turned to ids. Out: a trained `UniMoTransformer`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ar_model import ARConfig, ARLoss, SequenceLayout, UniMoTransformer
from unimo.data.tokens import TokenPack
from unimo.training.config import OptimizationConfig
from unimo.training.task import Batch, step_generator

TASKS = ("v2m", "i2vm")


@dataclass(frozen=True)
class ArDataConfig:
    """What the transformer sees.

    Attributes:
        visual_noise: share of the condition's visual ids replaced at random, so that no single id is relied on.
        motion_noise: share of the motion ids at the input (never of the labels) replaced at random, so that the model
            looks at the video instead of copying its own last codes, which at inference may be wrong.
        frame_noise: video-to-motion only: largest share of motion frames whose input codes are all random, drawn anew
            for every sequence. Without it only the first frame of a clip has to be read from the video, since every
            later one is easier to guess from the frame before.
        validation_clips: clips of the validation pack that are scored.
    """

    visual_noise: float = 0.0
    motion_noise: float = 0.0
    frame_noise: float = 0.0
    validation_clips: int = 64


@dataclass(frozen=True)
class ArTrainingConfig:
    """configs/ar_model/*.yaml."""

    model: ARConfig
    optimization: OptimizationConfig
    data: ArDataConfig = ArDataConfig()


class ArTask:
    """Half of every batch is video-to-motion, half image-to-video-and-motion."""

    name = "ar"

    def __init__(
        self,
        config: ArTrainingConfig,
        train: TokenPack,
        validation: TokenPack,
        model: UniMoTransformer | None = None,
        device: str = "cpu",
    ) -> None:
        self.config, self.train, self.validation, self.device = config, train, validation, device
        torch.manual_seed(config.optimization.seed)
        self.model: nn.Module = (model or UniMoTransformer(config.model)).to(device)
        _, latent_frames, height, width = train.visual_ids.shape
        frames = train.motion_ids.shape[1]
        self.layouts = {task: SequenceLayout(task, latent_frames, height, width, frames) for task in TASKS}

    def batch(self, step: int) -> Batch:
        rng = step_generator(self.config.optimization.seed, step)
        size = self.config.optimization.batch_size
        rows = rng.integers(len(self.train), size=size)
        half = (size + step % 2) // 2
        parts = {"v2m": rows[:half], "i2vm": rows[half:]}
        batch: Batch = {"names": rows.tolist()}
        for task, part in parts.items():
            if len(part):
                batch[task] = self._sequences(task, self.train, part, rng)
        return batch

    def _sequences(
        self, task: str, pack: TokenPack, rows: np.ndarray, rng: np.random.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """(input tokens, labels), both (B,S); with `rng` the inputs are noisy."""
        layout = self.layouts[task]
        visual = torch.from_numpy(pack.visual_ids[rows].astype(np.int64))
        motion = torch.from_numpy(pack.motion_ids[rows].astype(np.int64))
        labels = layout.build(visual, motion)
        if rng is None:
            return labels.to(self.device), labels.to(self.device)
        data, model = self.config.data, self.config.model
        visual = _with_noise(visual, data.visual_noise if task == "v2m" else 0.0, model.visual_ids, rng)
        motion = _with_noise(motion, data.motion_noise, model.motion_ids, rng)
        if task == "v2m":
            shares = data.frame_noise * rng.random((len(rows), 1, 1))
            motion = _with_noise(motion, np.broadcast_to(shares, (*motion.shape[:2], 1)), model.motion_ids, rng)
        return layout.build(visual, motion).to(self.device), labels.to(self.device)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        losses, numbers = [], {}
        for task in TASKS:
            if task in batch:
                inputs, labels = batch[task]
                result = self.model.loss(inputs, self.layouts[task], labels=labels)  # type: ignore[operator]
                losses.append(result.total)
                numbers |= _numbers(task, result)
        return torch.stack(losses).mean(), numbers

    def validate(self, model: nn.Module) -> dict[str, float]:
        rows = np.arange(min(self.config.data.validation_clips, len(self.validation)))
        totals: dict[str, float] = {}
        for task in TASKS:
            for chunk in np.array_split(rows, max(1, len(rows) // 16)):
                inputs, labels = self._sequences(task, self.validation, chunk, None)
                result = model.loss(inputs, self.layouts[task], labels=labels)  # type: ignore[operator]
                for key, value in _numbers(task, result).items():
                    totals[key] = totals.get(key, 0.0) + value * len(chunk) / len(rows)
        return totals


def _numbers(task: str, loss: ARLoss) -> dict[str, float]:
    """Loss (nats) and accuracy of each modality that the task writes."""
    numbers = {f"{task}.motion_loss": float(loss.motion), f"{task}.motion_accuracy": float(loss.motion_accuracy)}
    if loss.visual_tokens:
        numbers |= {f"{task}.visual_loss": float(loss.visual), f"{task}.visual_accuracy": float(loss.visual_accuracy)}
    return numbers


def _with_noise(ids: Tensor, share: float | np.ndarray, size: int, rng: np.random.Generator) -> Tensor:
    """Replaces about `share` of the ids by random ones; an array decides for whole slices where it is 1 wide."""
    shape = share.shape if isinstance(share, np.ndarray) else ids.shape
    replaced = torch.from_numpy(rng.random(shape) < share)
    return torch.where(replaced, torch.from_numpy(rng.integers(size, size=ids.shape)), ids)
