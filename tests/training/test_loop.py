"""The loop: a resumed run equals an uninterrupted one, bad steps stop it, averaged weights are what is validated."""

from __future__ import annotations

import json
import math
import os
import signal

import pytest
import torch
from torch import nn

from unimo.errors import CheckpointError, TrainingError
from unimo.training.checkpoint import checkpoint_paths
from unimo.training.config import OptimizationConfig
from unimo.training.loop import Trainer, learning_rate
from unimo.training.optimizer import Optimizers, parameter_groups
from unimo.training.task import step_generator


class LineTask:
    """Fits y = 3x with noise and dropout, so that every source of randomness counts."""

    name = "line"

    def __init__(self, poison_at: int | None = None) -> None:
        torch.manual_seed(0)
        self.model: nn.Module = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.Linear(8, 1))
        self.poison_at = poison_at

    def batch(self, step):
        rng = step_generator(5, step)
        x = torch.from_numpy(rng.normal(size=(6, 4))).float()
        if step == self.poison_at:
            x[0, 0] = math.nan
        return {"x": x, "y": 3 * x.sum(1, keepdim=True), "names": ["clip_a", "clip_b"]}

    def loss(self, batch):
        loss = (self.model(batch["x"]) - batch["y"]).square().mean()
        return loss, {"mse": float(loss.detach())}

    def validate(self, model):
        batch = self.batch(10_000)
        return {"mse": float((model(batch["x"]) - batch["y"]).square().mean())}


def _config(**changes) -> OptimizationConfig:
    values = {"steps": 30, "batch_size": 6, "learning_rate": 1e-2, "ema_decay": 0.9, "warmup_steps": 3}
    return OptimizationConfig(**{**values, "log_every": 1, "validate_every": 100, "checkpoint_every": 10, **changes})


def test_a_resumed_run_ends_at_the_same_weights(tmp_path):
    whole, parts = LineTask(), LineTask()
    Trainer(whole, _config(), tmp_path / "whole").run()

    original = parts.batch

    def terminate_in_step_17(step):
        if step == 17:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(step)

    parts.batch = terminate_in_step_17
    with pytest.raises(KeyboardInterrupt):
        Trainer(parts, _config(), tmp_path / "parts").run()
    assert checkpoint_paths(tmp_path / "parts")[-1].name == "step_00000018.safetensors"
    resumed = LineTask()
    Trainer(resumed, _config(), tmp_path / "parts", resume=True).run()
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[key]), key


class Blocks(nn.Module):
    """A stack whose matrices Muon takes."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
        self.output = nn.Linear(4, 1)

    def forward(self, x):
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return self.output(x)


def blocks_task() -> LineTask:
    task = LineTask()
    torch.manual_seed(1)
    task.model = Blocks()
    return task


def test_muon_takes_the_matrices_of_blocks_and_resumes_to_the_same_weights(tmp_path):
    config = _config(muon_rate=2e-2)
    muon = Optimizers(blocks_task().model, config).parts[1]
    assert [tuple(p.shape) for group in muon.param_groups for p in group["params"]] == [(4, 4), (4, 4)]
    whole, parts = blocks_task(), blocks_task()
    Trainer(whole, config, tmp_path / "whole").run()
    Trainer(parts, _config(muon_rate=2e-2), tmp_path / "parts").run()
    (tmp_path / "parts" / "step_00000030.safetensors").unlink()
    resumed = blocks_task()
    Trainer(resumed, config, tmp_path / "parts", resume=True).run()
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[key]), key
    with pytest.raises(CheckpointError, match="other parameters"):
        Trainer(blocks_task(), _config(), tmp_path / "whole", resume=True)


def test_a_loss_that_is_not_finite_stops_with_the_clip_names(tmp_path):
    with pytest.raises(TrainingError, match="step 4 of line failed.*\n.*clip_a"):
        Trainer(LineTask(poison_at=4), _config(), tmp_path).run()


def test_only_the_newest_checkpoints_stay_and_log_lines_are_json(tmp_path):
    Trainer(LineTask(), _config(), tmp_path).run()
    assert [path.name for path in checkpoint_paths(tmp_path)] == [
        "step_00000020.safetensors",
        "step_00000030.safetensors",
    ]
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["kind"] == "train"] == list(range(1, 31))
    assert rows[-1]["kind"] == "validation" and rows[-1]["mse"] > 0


def test_validation_sees_the_averaged_weights(tmp_path):
    task, seen = LineTask(), {}
    trainer = Trainer(task, _config(steps=5), tmp_path)
    task.validate = lambda model: seen.update(model.state_dict()) or {}
    trainer.run()
    for key, value in trainer.average.items():
        assert torch.equal(seen[key], value)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    Trainer(LineTask(), _config(steps=10), tmp_path).run()
    other = LineTask()
    other.model = nn.Linear(4, 1)
    with pytest.raises(CheckpointError, match="does not fit the model"):
        Trainer(other, _config(), tmp_path, resume=True)


def test_learning_rate_warms_up_then_falls_to_its_floor():
    config = _config(warmup_steps=10, final_rate=0.1)
    assert learning_rate(config, 0, 0.0) == pytest.approx(1e-3)
    assert learning_rate(config, 9, 0.0) == pytest.approx(1e-2)
    assert learning_rate(config, 100, 1.0) == pytest.approx(1e-3)


def test_wide_kernels_learn_slower_and_vectors_do_not_decay():
    model = nn.Sequential(nn.Linear(8, 4), nn.Linear(64, 4))
    groups = parameter_groups(list(model.parameters()), _config(reference_fan_in=16, weight_decay=0.1))
    found = {tuple(p.shape): (g["rate"], g["weight_decay"]) for g in groups for p in g["params"]}
    assert found == {(4, 8): (1.0, 0.1), (4, 64): (0.25, 0.1), (4,): (1.0, 0.0)}


def test_a_checkpoint_of_other_trainable_parameters_is_refused(tmp_path):
    Trainer(LineTask(), _config(steps=10), tmp_path).run()
    task = LineTask()
    task.model[0].requires_grad_(False)
    with pytest.raises(CheckpointError, match="other parameters"):
        Trainer(task, _config(), tmp_path, resume=True)
