"""The training task on a handful of made-up clips: same step, same batch; crops; learning; metrics."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from unimo.training.config import OptimizationConfig
from unimo.training.loop import Trainer
from unimo.training.visual_tokenizer import (
    VisualDataConfig,
    VisualTokenizerTask,
    VisualTokenizerTrainingConfig,
)
from visual_tokenizer import VisualTokenizerConfig


class FakePack:
    """Six clips of a bright square that moves over a ramp, and people who stand where it is."""

    def __init__(self) -> None:
        ramp = np.linspace(30, 200, 48, dtype=np.float32)
        self.frames = np.zeros((6, 9, 48, 48, 3), np.uint8)
        self._masks = np.zeros((6, 9, 48, 48), bool)
        for clip in range(6):
            self.frames[clip] = (ramp[None, :, None, None] * (0.5 + clip / 12)).astype(np.uint8)
            for frame in range(9):
                where = np.s_[frame, 8 + clip : 30 + clip, 4 + 2 * frame : 16 + 2 * frame]
                self.frames[clip][where], self._masks[clip][where] = (250, 40 * clip, 20), True

        self.intrinsics = np.tile(np.array([[48.0, 0, 24], [0, 48, 24], [0, 0, 1]], np.float32), (6, 1, 1))
        self.motions = {
            "body_pose": np.zeros((6, 9, 21, 3), np.float32),
            "betas": np.zeros((6, 9, 10), np.float32),
            "global_orient": np.tile(np.array([np.pi, 0, 0], np.float32), (6, 9, 1)),
            "transl": np.zeros((6, 9, 3), np.float32),
        }
        middle = 10 + 2 * np.arange(9) - 24
        self.motions["transl"][..., 0] = 3 * middle / 48
        self.motions["transl"][..., 2] = 3

    def __len__(self) -> int:
        return 6

    def masks(self, rows: np.ndarray) -> np.ndarray:
        return self._masks[rows]


CONFIG = VisualTokenizerTrainingConfig(
    model=VisualTokenizerConfig(channels=8, channel_multipliers=(1, 1, 2), num_res_blocks=1, fsq_levels=(8, 8, 8)),
    optimization=OptimizationConfig(steps=10, batch_size=4, learning_rate=3e-3),
    data=VisualDataConfig(crop=48),
)


def _task(config: VisualTokenizerTrainingConfig = CONFIG) -> VisualTokenizerTask:
    return VisualTokenizerTask(config, FakePack(), FakePack())  # type: ignore[arg-type]


def test_a_batch_depends_on_the_step_alone() -> None:
    task = _task()
    first, again, other = task.batch(3), task.batch(3), task.batch(4)
    assert torch.equal(first["video"], again["video"]) and torch.equal(first["mask"], again["mask"])
    assert first["names"] == again["names"] and not torch.equal(first["video"], other["video"])
    assert first["video"].shape == (4, 3, 9, 48, 48) and first["mask"].shape == (4, 9, 48, 48)
    assert -1 <= first["video"].min() and first["video"].max() <= 1


def test_the_mask_moves_with_the_picture() -> None:
    data = replace(CONFIG.data, crop=32, whole_share=0.0, gain=0.0, offset=0.0)
    batch = _task(replace(CONFIG, data=data)).batch(0)
    assert batch["video"].shape == (4, 3, 9, 32, 32)
    red = (batch["video"][:, 0] - batch["video"][:, 2]) > 0.5  # only the square is red
    assert batch["mask"].any() and torch.equal(red, batch["mask"])


def test_whole_frames_among_crops_cost_the_same() -> None:
    data = replace(CONFIG.data, crop=32, whole_share=0.5)
    task = _task(replace(CONFIG, data=data))
    shapes = {tuple(task.batch(step)["video"].shape) for step in range(20)}
    assert shapes == {(4, 3, 9, 32, 32), (2, 3, 9, 48, 48)}


def test_loss_falls_and_metrics_stand_beside_the_baseline() -> None:
    task = _task()
    before = task.validate(task.model)
    optimizer = torch.optim.AdamW(task.model.parameters(), lr=1e-3)
    for step in range(40):
        loss, numbers = task.loss(task.batch(step))
        assert set(numbers) == {"l1", "l2", "spread"}
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = task.validate(task.model)
    assert after["psnr_db"] > before["psnr_db"] + 1
    assert after["psnr_in_mask_db"] > before["psnr_in_mask_db"] + 1
    assert after["downsampled_16x.psnr_db"] == pytest.approx(before["downsampled_16x.psnr_db"])
    assert 0 < after["codebook_use"] <= 1 and 0 < after["code_entropy_bits"] <= 9


def test_a_decoder_trained_alone_keeps_the_ids(tmp_path: Path) -> None:
    task = _task(replace(CONFIG, data=replace(CONFIG.data, decoder_only=True)))
    before = {key: value.clone() for key, value in task.shipped.state_dict().items()}
    Trainer(task, replace(CONFIG.optimization, steps=2, ema_decay=0.5, weight_decay=0.1), tmp_path).run()
    after = task.shipped.state_dict()
    frozen = [key for key in before if key.startswith(("encoder.", "quant_conv."))]
    assert frozen and all(torch.equal(before[key], after[key]) for key in frozen)
    assert not torch.equal(before["decoder.conv_out.conv_s.weight"], after["decoder.conv_out.conv_s.weight"])


def test_joints_are_found_in_the_codes_and_the_finder_is_not_shipped() -> None:
    data = replace(CONFIG.data, keypoint_weight=1.0, keypoint_clips=3, gain=0.0, offset=0.0)
    task = _task(replace(CONFIG, data=data))
    optimizer = torch.optim.AdamW(task.model.parameters(), lr=3e-3)
    before = task.validate(task.model)
    for step in range(40):
        batch = task.batch(step)
        assert batch["keypoint_video"].shape == (3, 3, 9, 48, 48) and batch["keypoints"].shape == (3, 2, 2, 22, 3)
        assert len(batch["names"]) == 4 + 3
        loss, numbers = task.loss(batch)
        assert {"l2", "keypoint_loss", "keypoint_depth_m"} <= set(numbers)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = task.validate(task.model)
    assert after["keypoint_loss"] < before["keypoint_loss"] - 0.3
    assert not any("reader" in key for key in task.shipped.state_dict())


def test_a_mirrored_clip_has_mirrored_joints() -> None:
    data = replace(CONFIG.data, keypoint_weight=1.0, keypoint_clips=6, gain=0.0, offset=0.0)
    batch = _task(replace(CONFIG, data=data)).batch(1)
    red = (batch["keypoint_video"][:, 0] - batch["keypoint_video"][:, 2])[:, 0] > 0.5
    columns = (torch.arange(48) + 0.5) / 48
    square = (red * columns).sum((1, 2)) / red.sum((1, 2))
    pelvis = batch["keypoints"][:, 0, 1, 0, 0]
    assert square.std() > 0.1 and torch.allclose(square, pelvis, atol=0.03)


def test_finding_joints_alone_teaches_the_encoder() -> None:
    data = replace(CONFIG.data, keypoint_weight=1.0, keypoint_clips=2, l1_weight=0.0, l2_weight=0.0, spread_weight=0.0)
    task = _task(replace(CONFIG, data=data))
    task.loss(task.batch(0))[0].backward()
    gradients = [p.grad.abs().sum() for p in task.shipped.encoder.parameters() if p.grad is not None]
    assert gradients and float(sum(gradients)) > 0


def test_a_decoder_trained_alone_looks_for_no_joints() -> None:
    data = replace(CONFIG.data, keypoint_weight=1.0, decoder_only=True)
    task = _task(replace(CONFIG, data=data))
    assert task.reader is None and set(task.loss(task.batch(0))[1]) == {"l1", "l2", "spread"}
