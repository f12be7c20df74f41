"""Training of the transformer: cross-entropy on target tokens of the two tasks, and steps that only read.

The paper's baseline, video alone without motion, is a third task that stands by itself.

In: a `TokenSource` of clips that frozen tokenizers have turned to ids. Out: a trained `UniMoTransformer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ar_model import ARConfig, ARLoss, SequenceLayout, UniMoTransformer
from unimo.data.tokens import TokenPack, TokenSource
from unimo.training.code_start import start_from_codes
from unimo.training.config import OptimizationConfig
from unimo.training.keypoints import KeypointHead, keypoint_targets
from unimo.training.task import Batch, step_generator

TASKS = ("v2m", "i2vm")
VIDEO = "video"
_VALIDATION_TOKENS = 13_000


@dataclass(frozen=True)
class ArDataConfig:
    """What the transformer sees.

    Attributes:
        visual_noise: share of the condition's visual ids replaced at random, so that no single id is relied on.
        motion_noise: share of the motion ids at the input (never of the labels) replaced at random, so that the model
            looks at the video instead of copying its own last codes, which at inference may be wrong.
        frame_noise: video-to-motion only: largest share of motion frames whose input codes are not the clip's but
            random or another clip's, drawn anew for every sequence. Without it only the first frame of a clip has to be
            read from the video, since every later one is easier to guess from the frame before.
        validation_clips: clips of the validation pack that are scored.
        reading_steps: the first steps teach only to read: video-to-motion alone, no motion frame at the input is the
            clip's, and only `reading_frames` of them are there, which makes sequences short.
        reading_every: after them every so many steps is one more such step, lest reading fade; 0 means none.
        reading_batch, reading_frames: clips of such a step and motion frames of each.
        keypoint_weight: video-to-motion: weight of finding the 22 joints and their depth in the grid of visual
            tokens (`KeypointHead.loss`), a task of the training alone.
        keypoint_layer: number of blocks after which the joints are looked for.
        tasks: what is trained: both, or "v2m" or "i2vm" alone (an ablation), or "video" alone (the paper's baseline).
    """

    visual_noise: float = 0.0
    motion_noise: float = 0.0
    frame_noise: float = 0.0
    validation_clips: int = 64
    reading_steps: int = 0
    reading_every: int = 0
    reading_batch: int = 8
    reading_frames: int = 2
    keypoint_weight: float = 0.0
    keypoint_layer: int = 4
    tasks: tuple[str, ...] = TASKS

    def __post_init__(self) -> None:
        if self.tasks != (VIDEO,) and (not self.tasks or set(self.tasks) - set(TASKS)):
            known = f"some of {', '.join(TASKS)}, or {VIDEO} alone"
            raise ValueError(f"tasks must be {known}, not {', '.join(self.tasks) or 'none'}")
        if "v2m" not in self.tasks and (self.reading_steps or self.reading_every):
            raise ValueError("steps that only read are video-to-motion: reading_steps and reading_every need task v2m")


@dataclass(frozen=True)
class ArTrainingConfig:
    """configs/ar_model/*.yaml.

    Attributes:
        z_loss: weight of the squared log-partition beside the cross-entropy (Cosmos: 1e-4); 0 leaves it out.
        activation_checkpointing: keep only the stream between blocks and compute the rest again in the backward pass.
    """

    model: ARConfig
    optimization: OptimizationConfig
    data: ArDataConfig = ArDataConfig()
    z_loss: float = 0.0
    activation_checkpointing: bool = False

    def __post_init__(self) -> None:
        if self.data.keypoint_weight and not 1 <= self.data.keypoint_layer <= self.model.layers:
            raise ValueError(f"keypoint_layer must be in 1..{self.model.layers}, not {self.data.keypoint_layer}")


class ArTask:
    """Half of every batch is video-to-motion, half the other task; first, and now and then, steps that only read."""

    name = "ar"

    def __init__(
        self,
        config: ArTrainingConfig,
        train: TokenSource,
        validation: TokenPack,
        model: UniMoTransformer | None = None,
        device: str = "cpu",
        canonical_focal: float = 1.2,
        codes: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        """`codes`: the quantisers' codes of every visual and every motion id, (N,c) each, to start from."""
        self.config, self.train, self.validation, self.device = config, train, validation, device
        data = config.data
        torch.manual_seed(config.optimization.seed)
        self.shipped = (model or UniMoTransformer(config.model)).to(device)
        self.shipped.activation_checkpointing = config.activation_checkpointing
        if codes is not None:
            start_from_codes(self.shipped, *codes, config.optimization.seed)
        self.model: nn.Module = nn.ModuleDict({"transformer": self.shipped})
        self.layouts = task_layouts(config, train.grid, train.frames)
        self.canonical_focal = canonical_focal
        self.keypoints: KeypointHead | None = None
        if data.keypoint_weight:
            # of a pack all at once; of shards step by step
            self._pack_points = self._points_of(train) if isinstance(train, TokenPack) else None
            self.keypoints = KeypointHead(config.model.dim).to(device)
            self.model["keypoints"] = self.keypoints

    def batch(self, step: int) -> Batch:
        rng = step_generator(self.config.optimization.seed, step)
        data = self.config.data
        if step < data.reading_steps or (data.reading_every and step % data.reading_every == 0):
            return self._reading_batch(rng)
        size = self.config.optimization.batch_size
        names, clips = self.train.draw(rng, size)
        half = (size + step % 2) // 2
        both = {"v2m": slice(0, half), "i2vm": slice(half, size)}
        parts = both if len(set(data.tasks)) > 1 else {data.tasks[0]: slice(0, size)}
        batch: Batch = {"names": names}
        for task, part in parts.items():
            if len(names[part]):
                batch[task] = self._sequences(task, clips.rows(part), rng)
        return batch | self._points(names, clips, len(batch["v2m"][0]) if "v2m" in batch else 0)

    def _reading_batch(self, rng: np.random.Generator) -> Batch:
        data, layout = self.config.data, self.layouts["v2m"]
        names, clips = self.train.draw(rng, data.reading_batch)
        frames = rng.choice(layout.frames, size=min(data.reading_frames, layout.frames), replace=False)
        sequences = self._sequences("v2m", clips, rng, all_foreign=True)
        keep = layout.reading_positions(sorted(frames.tolist()))
        return {"names": names, "v2m": sequences, "keep": keep, **self._points(names, clips, len(names))}

    def _points(self, names: list[Any], clips: TokenPack, count: int) -> dict[str, Tensor]:
        """Where the joints are in the first `count` clips, when that is asked for."""
        if self.keypoints is None or not count:
            return {}
        pack = self._pack_points
        return {"points": self._points_of(clips.rows(slice(0, count))) if pack is None else pack[names[:count]]}

    def _points_of(self, clips: TokenPack) -> Tensor:
        return keypoint_targets(torch.from_numpy(clips.features), self.canonical_focal, clips.grid[0])

    def position(self) -> dict[str, Any]:
        """Where the training clips have been drawn to."""
        return self.train.position()

    def go_to(self, position: Mapping[str, Any]) -> None:
        """Draws training clips from `position` on."""
        self.train.go_to(position)

    def _sequences(
        self, task: str, clips: TokenPack, rng: np.random.Generator, all_foreign: bool = False
    ) -> tuple[Tensor, Tensor]:
        """(noisy input tokens, labels), both (B,N); with `all_foreign` no motion frame at the input is the clip's."""
        data, model, layout = self.config.data, self.config.model, self.layouts[task]
        visual, motion, labels = self._clean(task, clips)
        if task == VIDEO:
            return labels.to(self.device), labels.to(self.device)
        visual = _with_noise(visual, data.visual_noise if task == "v2m" else 0.0, model.visual_ids, rng)
        motion = _with_noise(motion, data.motion_noise, model.motion_ids, rng)
        if task == "v2m":
            shares = np.ones((len(clips), 1, 1)) if all_foreign else data.frame_noise * rng.random((len(clips), 1, 1))
            motion = self._with_foreign_frames(motion, shares, rng)
        return layout.build(visual, motion).to(self.device), labels.to(self.device)

    def _with_foreign_frames(self, motion: Tensor, shares: np.ndarray, rng: np.random.Generator) -> Tensor:
        """Replaces whole frames, about `shares (B,1,1)` of them: in half of the clips by random codes, in the others by
        those of another clip, which no look at the codes alone gives away."""
        replaced = rng.random((*motion.shape[:2], 1)) < shares
        others = self.train.foreign(rng, len(motion)).astype(np.int64)
        noise = rng.integers(self.config.model.motion_ids, size=motion.shape)
        foreign = np.where(rng.random((len(motion), 1, 1)) < 0.5, others, noise)
        return torch.where(torch.from_numpy(replaced), torch.from_numpy(foreign), motion)

    def _clean(self, task: str, clips: TokenPack) -> tuple[Tensor, Tensor, Tensor]:
        """Visual ids (B,K,h,w), motion ids (B,T,36) and the tokens (B,N) of clips."""
        visual = torch.from_numpy(clips.visual_ids.astype(np.int64))
        motion = torch.from_numpy(clips.motion_ids.astype(np.int64))
        if task == VIDEO:
            begin = self.config.model.visual_ids if self.layouts[task].begin_of_video else None
            return visual, motion, self.layouts[task].build(visual, begin_id=begin)
        return visual, motion, self.layouts[task].build(visual, motion)

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        losses, numbers = [], {}
        for task in self.layouts:
            if task in batch:
                loss, found = self._loss(task, batch)
                losses.append(loss)
                numbers |= found
        return torch.stack(losses).mean(), numbers

    def _loss(self, task: str, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        (inputs, labels), layout, keep = batch[task], self.layouts[task], batch.get("keep")
        keep = None if keep is None else keep.to(self.device)
        streams = self.shipped.residuals(inputs, layout, keep)
        result = self.shipped.loss_of(self.shipped.norm(streams[-1]), layout, inputs, labels, keep, self.config.z_loss)
        total, numbers = result.total, _numbers(task, result)
        if task == "v2m" and self.keypoints is not None:
            data = self.config.data
            seen = streams[data.keypoint_layer - 1][:, layout.visual_positions.to(self.device)]
            found, more = self.keypoints.loss(seen, batch["points"], layout.height, layout.width)
            total = total + data.keypoint_weight * found
            numbers |= {f"v2m.{key}": value for key, value in more.items()}
        return total, numbers

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Losses of the tasks, and `v2m.read_loss`: nats a code when all motion codes before it are random."""
        rows = np.arange(min(self.config.data.validation_clips, len(self.validation)))
        totals: dict[str, float] = {}
        at_once = max(1, _VALIDATION_TOKENS // max(layout.num_tokens for layout in self.layouts.values()))
        for chunk in np.array_split(rows, max(1, len(rows) // at_once)):
            clips = self.validation.rows(chunk)
            for task, layout in self.layouts.items():
                tokens = self._clean(task, clips)[2].to(self.device)
                self._add(totals, _numbers(task, self.shipped.loss(tokens, layout)), chunk)
            if "v2m" not in self.layouts:
                continue
            rng = step_generator(self.config.optimization.seed, int(chunk[0]), stream=1)
            visual, motion, labels = self._clean("v2m", clips)
            noise = _with_noise(motion, 1.0, self.config.model.motion_ids, rng)
            inputs = self.layouts["v2m"].build(visual, noise).to(self.device)
            read = self.shipped.loss(inputs, self.layouts["v2m"], labels=labels.to(self.device)).motion
            self._add(totals, {"v2m.read_loss": float(read)}, chunk)
        return {key: value / len(rows) for key, value in totals.items()}

    @staticmethod
    def _add(totals: dict[str, float], numbers: dict[str, float], rows: np.ndarray) -> None:
        for key, value in numbers.items():
            totals[key] = totals.get(key, 0.0) + value * len(rows)


def task_layouts(config: ArTrainingConfig, grid: tuple[int, int, int], frames: int) -> dict[str, SequenceLayout]:
    """The layouts of clips of (K,h,w) visual ids and T motion frames: of both tasks, or of video alone."""
    model = config.model
    if config.data.tasks == (VIDEO,):
        begins = model.embedding_rows > model.visual_ids
        return {VIDEO: SequenceLayout(VIDEO, *grid, begin_of_video=begins)}
    return {task: SequenceLayout(task, *grid, frames, motion_layout=model.motion_layout) for task in TASKS}


def _numbers(task: str, loss: ARLoss) -> dict[str, float]:
    """Loss (nats) and accuracy of each modality that the task writes."""
    numbers: dict[str, float] = {}
    if loss.motion_tokens:
        numbers |= {f"{task}.motion_loss": float(loss.motion), f"{task}.motion_accuracy": float(loss.motion_accuracy)}
    if loss.visual_tokens:
        numbers |= {f"{task}.visual_loss": float(loss.visual), f"{task}.visual_accuracy": float(loss.visual_accuracy)}
    return numbers


def _with_noise(ids: Tensor, share: float, size: int, rng: np.random.Generator) -> Tensor:
    """Replaces about `share` of the ids by random ones."""
    replaced = torch.from_numpy(rng.random(ids.shape) < share)
    return torch.where(replaced, torch.from_numpy(rng.integers(size, size=ids.shape)), ids)
