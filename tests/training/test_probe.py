"""The pose probe: its numbers are in metres, degrees and mm, stand beside a right baseline, and ids that tell the pose
are read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from unimo.data.tokens import TokenPack
from unimo.motion.features import to_features
from unimo.training.config import OptimizationConfig
from unimo.training.probe import ProbeConfig, ProbeTask

CONFIG = ProbeConfig(dim=24, hidden=32, dropout=0.0, id_noise=0.0)
OPTIMIZATION = OptimizationConfig(steps=4, batch_size=16, learning_rate=1e-2)


def token_pack(copies: int) -> TokenPack:
    """Two motions that go different ways; the ids say which one a clip shows."""
    rng = np.random.default_rng(0)
    pose = torch.from_numpy(0.5 * rng.normal(size=(2, 1, 21, 3))).float().expand(2, 9, 21, 3)
    betas = torch.from_numpy(rng.normal(size=(2, 1, 10))).float().expand(2, 9, 10)
    heading = torch.tensor([[[np.pi, 0, 0]], [[0, 0, np.pi]]]).float().expand(2, 9, 3)
    steps = torch.arange(9)[None, :, None] * torch.tensor([[[0.1, 0, 0]], [[0, 0, -0.1]]])
    features = to_features(pose, betas, heading, torch.tensor([0.0, 0.3, 3.0]) + steps).numpy()
    kinds = np.arange(2).repeat(copies)
    visual = np.broadcast_to(kinds[:, None, None, None].astype(np.uint16), (2 * copies, 2, 2, 2)).copy()
    return TokenPack(visual, np.zeros((2 * copies, 9, 36), np.uint16), features[kinds])


@pytest.fixture(scope="module")
def task() -> ProbeTask:
    torch.manual_seed(0)
    return ProbeTask(CONFIG, OPTIMIZATION, torch.linspace(-1, 1, 8)[:, None], token_pack(8), token_pack(2))


def answers(task: ProbeTask, shift: float = 0.0):
    """A model that knows the right answer, but for a shift in x of every frame, metres."""

    def model(ids: torch.Tensor) -> torch.Tensor:
        first = torch.stack([task.targets[8 * int(kind)] for kind in ids[:, 0, 0, 0]]) * task.std + task.mean
        first[..., 142] += shift
        return (first - task.mean) / task.std

    return model


def test_the_right_answer_has_no_error_and_a_shift_is_a_translation(task) -> None:
    right, shifted = task.validate(answers(task)), task.validate(answers(task, shift=0.25))
    assert right["mpjpe_mm"] < 0.1 and right["root_orientation_deg"] < 0.1 and right["root_translation_m"] < 1e-4
    assert shifted["root_translation_m"] == pytest.approx(0.25, abs=1e-4) and shifted["mpjpe_mm"] < 0.1


def test_the_baseline_is_the_best_constant_of_these_clips(task) -> None:
    numbers = task.validate(answers(task))
    # two opposite headings, half of the clips each: no constant is nearer than 90 degrees on average
    assert numbers["constant_pose.root_orientation_deg"] == pytest.approx(90, abs=2)
    assert numbers["constant_pose.mpjpe_mm"] > 50
    # the paths part by up to 0.8 m along x and −z; the best point lies between them
    assert 0.1 < numbers["constant_pose.root_translation_m"] < 0.6


def test_a_batch_follows_from_the_step_and_carries_its_targets(task) -> None:
    batch, again = task.batch(3), task.batch(3)
    assert batch["names"] == again["names"] and torch.equal(batch["ids"], again["ids"])
    assert batch["names"] != task.batch(4)["names"]
    assert torch.equal(batch["ids"], torch.from_numpy(task.train.visual_ids[batch["names"]].astype(np.int64)))
    assert torch.equal(batch["target"], task.targets[batch["names"]])


def test_id_noise_replaces_its_share(task) -> None:
    noisy = ProbeTask.__new__(ProbeTask)
    noisy.__dict__.update(task.__dict__, config=replace(CONFIG, id_noise=0.5), num_ids=1000)
    batch = [noisy.batch(step) for step in range(8)]
    changed = [step["ids"].numpy() != task.train.visual_ids[step["names"]] for step in batch]
    assert np.mean(changed) == pytest.approx(0.5, abs=0.06)
    assert (task.train.visual_ids <= 1).all()


def test_ids_that_tell_the_pose_are_read(task) -> None:
    optimizer = torch.optim.AdamW(task.model.parameters(), lr=1e-2)
    for step in range(150):
        optimizer.zero_grad()
        task.loss(task.batch(step))[0].backward()
        optimizer.step()
    with torch.no_grad():
        after = task.validate(task.model.eval())
    assert after["mpjpe_mm"] < 0.5 * after["constant_pose.mpjpe_mm"]
    assert after["root_orientation_deg"] < 0.5 * after["constant_pose.root_orientation_deg"]
    assert after["root_translation_m"] < 0.5 * after["constant_pose.root_translation_m"]
