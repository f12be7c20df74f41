"""The transformer's training: two tasks, reading steps, noise at the input only, batches by step, honest validation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ar_model import SequenceLayout
from ar_model.sequence import MOTION, SPECIAL, VISUAL
from unimo.assets import config_path
from unimo.config import load_config
from unimo.data.tokens import TokenPack
from unimo.training.ar import ArDataConfig, ArTask, ArTrainingConfig
from unimo.training.loop import Trainer

DEBUG = load_config(ArTrainingConfig, config_path("ar_model", "debug"))


def token_pack(count: int, seed: int = 0) -> TokenPack:
    rng = np.random.default_rng(seed)
    visual, motion = rng.integers(64, size=(count, 2, 2, 2)), rng.integers(512, size=(count, 9, 36))
    features = np.zeros((count, 9, 145), np.float32)
    features[..., :126] = np.tile([1, 0, 0, 0, 1, 0], 21)  # rest pose
    features[..., 136:142] = [1, 0, 0, 0, -1, 0]
    features[:, 0, 144] = 3.0
    return TokenPack(visual.astype(np.uint16), motion.astype(np.uint16), features)


def task_of(batch_size: int = 4, validation: int = 3, **data) -> ArTask:
    optimization = replace(DEBUG.optimization, batch_size=batch_size, learning_rate=1e-2, warmup_steps=1)
    config = replace(DEBUG, optimization=optimization, data=ArDataConfig(**data))
    return ArTask(config, token_pack(8), token_pack(validation, seed=1))


def test_half_of_a_batch_is_each_task_and_the_odd_clip_takes_turns() -> None:
    task = task_of(batch_size=5)
    sizes = [{name: len(task.batch(step)[name][0]) for name in ("v2m", "i2vm")} for step in (0, 1)]
    assert sizes == [{"v2m": 2, "i2vm": 3}, {"v2m": 3, "i2vm": 2}]
    single = task_of(batch_size=1)
    assert [set(single.batch(step)) - {"names"} for step in (0, 1)] == [{"i2vm"}, {"v2m"}]
    assert torch.isfinite(single.loss(single.batch(0))[0])


def test_a_batch_follows_from_step_and_process_alone(monkeypatch) -> None:
    task = task_of(visual_noise=0.3, motion_noise=0.3)
    first, again, other = task.batch(7), task.batch(7), task.batch(8)
    assert first["names"] == again["names"] and torch.equal(first["v2m"][0], again["v2m"][0])
    assert not torch.equal(first["v2m"][0], other["v2m"][0])
    monkeypatch.setenv("RANK", "1")
    assert not torch.equal(first["v2m"][0], task.batch(7)["v2m"][0])


def test_sequences_are_the_clips_named_in_the_batch() -> None:
    task = task_of()
    batch = task.batch(0)
    for name, rows in (("v2m", batch["names"][:2]), ("i2vm", batch["names"][2:])):
        inputs, labels = batch[name]
        assert torch.equal(inputs, labels)
        visual, motion = SequenceLayout(name, 2, 2, 2, 9).invert(labels)
        assert np.array_equal(visual.numpy(), task.train.visual_ids[rows])
        assert np.array_equal(motion.numpy(), task.train.motion_ids[rows])


def test_noise_is_at_the_input_only_and_never_on_what_generation_is_given() -> None:
    task = task_of(batch_size=16, visual_noise=0.5, motion_noise=0.5)
    batch, clean = task.batch(0), task_of(batch_size=16).batch(0)
    for name, noisy_pictures in (("v2m", True), ("i2vm", False)):
        (inputs, labels), layout = batch[name], task.layouts[name]
        assert sorted(map(tuple, labels.tolist())) == sorted(map(tuple, clean[name][1].tolist()))
        changed = (inputs != labels).float()
        share = {kind: float(changed[:, layout.modality == kind].mean()) for kind in (SPECIAL, VISUAL, MOTION)}
        assert share[SPECIAL] == 0 and share[MOTION] == pytest.approx(0.5, abs=0.05)
        assert share[VISUAL] == (pytest.approx(0.5, abs=0.2) if noisy_pictures else 0)


def test_frame_noise_takes_whole_frames_of_video_to_motion() -> None:
    task = task_of(batch_size=32, frame_noise=1.0)
    batch = task.batch(0)
    assert torch.equal(*batch["i2vm"])
    inputs, labels = batch["v2m"]
    visual, motion = task.layouts["v2m"].invert(inputs)
    clean_visual, clean_motion = task.layouts["v2m"].invert(labels)
    changed = (motion != clean_motion).float().mean(-1)
    # a random code is the right one by chance once in 512
    assert torch.equal(visual, clean_visual) and ((changed == 0) | (changed > 0.8)).all()
    shares = (changed > 0).float().mean(1)
    assert float(shares.mean()) == pytest.approx(0.5, abs=0.2) and shares.min() < 0.3 and shares.max() > 0.7


def test_the_loss_is_the_mean_of_both_tasks_and_learns_a_batch() -> None:
    task = task_of()
    batch = task.batch(0)
    parts = [task.shipped.loss(*(batch[name][0], task.layouts[name])).total for name in ("v2m", "i2vm")]
    loss, numbers = task.loss(batch)
    assert float(loss.detach()) == pytest.approx(float(sum(parts).detach()) / 2, rel=1e-5)
    assert set(numbers) == {
        "v2m.motion_loss", "v2m.motion_accuracy",
        "i2vm.motion_loss", "i2vm.motion_accuracy", "i2vm.visual_loss", "i2vm.visual_accuracy",
    }  # fmt: skip
    optimizer = torch.optim.AdamW(task.model.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        task.loss(batch)[0].backward()
        optimizer.step()
    assert all(parameter.grad is not None for parameter in task.model.parameters())
    assert float(task.loss(batch)[0].detach()) < 0.8 * float(loss.detach())


@torch.no_grad()
def test_validation_counts_every_clip_once_whatever_the_chunks() -> None:
    task = task_of(validation=37, validation_clips=35, visual_noise=0.5, motion_noise=0.5)
    numbers = task.validate(task.model)
    pack = task.validation
    for name in ("v2m", "i2vm"):
        tokens = task.layouts[name].build(
            torch.from_numpy(pack.visual_ids[:35].astype(np.int64)),
            torch.from_numpy(pack.motion_ids[:35].astype(np.int64)),
        )
        whole = task.shipped.loss(tokens, task.layouts[name])
        assert numbers[f"{name}.motion_loss"] == pytest.approx(float(whole.motion), rel=1e-5)
        assert numbers[f"{name}.motion_accuracy"] == pytest.approx(float(whole.motion_accuracy), rel=1e-5)
    assert numbers["i2vm.visual_loss"] == pytest.approx(float(whole.visual), rel=1e-5)


def test_a_resumed_run_ends_at_the_same_weights(tmp_path) -> None:
    noise = {"visual_noise": 0.2, "motion_noise": 0.2, "validation_clips": 1}
    optimization = replace(task_of().config.optimization, steps=4, ema_decay=0.5, checkpoint_every=2)
    whole, stopped, resumed = (task_of(**noise) for _ in range(3))
    Trainer(whole, optimization, tmp_path / "whole").run()
    draw = stopped.batch

    def stop_at_3(step):
        if step == 3:
            raise KeyboardInterrupt
        return draw(step)

    stopped.batch = stop_at_3  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        Trainer(stopped, optimization, tmp_path / "parts").run()
    Trainer(resumed, optimization, tmp_path / "parts", resume=True).run()
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[key]), key


def test_reading_steps_hold_the_condition_and_two_frames_of_foreign_codes() -> None:
    task = task_of(reading_steps=3, reading_batch=6, reading_frames=2, keypoint_weight=1.0, keypoint_layer=1)
    batch, layout = task.batch(2), task.layouts["v2m"]
    inputs, labels = batch["v2m"]
    motion = layout.motion_positions
    assert set(batch) == {"names", "v2m", "keep", "points"} and len(inputs) == 6
    assert (inputs[:, motion] != labels[:, motion]).float().mean() > 0.6
    assert batch["keep"][: layout.condition_length].tolist() == list(range(layout.condition_length))
    assert len(batch["keep"]) in (layout.condition_length + 71, layout.condition_length + 72)
    loss, numbers = task.loss(batch)
    assert torch.isfinite(loss) and numbers["v2m.keypoint_loss"] > 0
    assert "keep" not in task.batch(3) and "i2vm" in task.batch(3)


def test_foreign_frames_are_random_or_another_clips() -> None:
    task = task_of(reading_steps=1, reading_batch=64)
    inputs, labels = task.batch(0)["v2m"]
    layout = task.layouts["v2m"]
    known = {row.tobytes() for row in task.train.motion_ids.reshape(-1, 36).astype(np.int64)}
    foreign, own = layout.invert(inputs)[1], layout.invert(labels)[1]
    others = [all(frame.numpy().tobytes() in known for frame in clip) for clip in foreign]
    assert 0.3 < np.mean(others) < 0.7
    changed = [bool((a != b).any()) for a, b in zip(foreign, own, strict=True)]
    assert np.mean(changed) > 0.8  # another clip is now and then the same one: the pack has eight


def test_reading_comes_back_every_so_many_steps() -> None:
    task = task_of(reading_steps=2, reading_every=3)
    assert [step for step in range(9) if "keep" in task.batch(step)] == [0, 1, 3, 6]


def test_only_the_transformer_is_shipped() -> None:
    task = task_of(keypoint_weight=1.0, keypoint_layer=1)
    assert any(key.startswith("keypoints.") for key in task.model.state_dict())
    assert not any("keypoints" in key for key in task.shipped.state_dict())

