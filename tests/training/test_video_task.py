"""The paper's baseline: the transformer trained on video alone, from the shipped configurations to a video."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ar_model import Engine, SequenceLayout
from ar_model.config import DepthConfig
from tests.training.test_ar import DEBUG, token_pack
from unimo.assets import config_path
from unimo.bundle import BundleSettings
from unimo.config import load_config, read_yaml
from unimo.errors import CheckpointError, InputError
from unimo.training.ar import ArDataConfig, ArTask, ArTrainingConfig
from unimo.training.loop import Trainer
from unimo.training.plan import Hardware, make_plan
from unimo.training.sweep import load_ablations, run_sweep
from unimo.training.sweep_runs import load_run

SHIPPED = load_ablations(Path(__file__).parents[2] / "configs" / "ablations" / "ar_model_video")
FRAME = {"motion_layout": "frame", "depth": DepthConfig(dim=16, layers=1, heads=2, ffn_hidden=32, code_dim=4)}


def task_of(model: dict | None = None, steps: int = 3, **data) -> ArTask:
    optimization = replace(DEBUG.optimization, batch_size=3, learning_rate=1e-2, warmup_steps=1, steps=steps)
    config = replace(DEBUG, optimization=optimization, model=replace(DEBUG.model, **(model or {})))
    config = replace(config, data=ArDataConfig(tasks=("video",), **data))
    return ArTask(config, token_pack(8), token_pack(3, seed=1))


@pytest.mark.parametrize("model", [{}, FRAME, {"visual_embedding_rows": 68}])
def test_a_batch_is_the_clips_pictures_and_its_loss_that_of_all_but_the_first(model: dict) -> None:
    task = task_of(model, visual_noise=0.5, motion_noise=0.5)
    batch = task.batch(0)
    assert set(batch) == {"names", "video"}
    inputs, labels = batch["video"]
    begins = "visual_embedding_rows" in model
    layout = SequenceLayout("video", 2, 2, 2, begin_of_video=begins)
    assert inputs.shape == (3, 8 + begins) and torch.equal(inputs, labels)
    assert np.array_equal(layout.invert(labels)[0].numpy(), task.train.visual_ids[batch["names"]])
    assert not begins or (inputs[:, 0] == 64).all()
    loss, numbers = task.loss(batch)
    assert set(numbers) == {"video.visual_loss", "video.visual_accuracy"}
    logits = task.shipped.output(task.shipped(inputs, layout))[:, begins + 3 : -1]
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, begins + 4 :].flatten())
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_it_trains_and_motion_parts_stay_as_they_are(tmp_path: Path) -> None:
    task = task_of(FRAME, steps=20)
    before = {key: value.clone() for key, value in task.shipped.state_dict().items()}
    first = task.validate(task.model.eval())
    last = Trainer(task, task.config.optimization, tmp_path).run()
    assert set(first) == set(last) == {"video.visual_loss", "video.visual_accuracy"}
    losses = [float(task.loss(task.batch(step))[0].detach()) for step in range(3)]
    fresh = task_of(FRAME)
    untrained = [float(fresh.loss(fresh.batch(step))[0].detach()) for step in range(3)]
    assert sum(losses) < 0.9 * sum(untrained)
    moved = {key.split(".")[0] for key, value in task.shipped.state_dict().items() if not value.equal(before[key])}
    assert moved == {"tok_embeddings", "layers", "norm", "output"} | moved & {"position_gain"}


def test_a_step_then_a_video_from_one_picture_the_same_every_time(tmp_path: Path) -> None:
    task = task_of(FRAME, steps=1)
    Trainer(task, task.config.optimization, tmp_path).run()
    first = torch.from_numpy(task.train.visual_ids[:2, 0].astype(np.int64))
    videos = [Engine(task.shipped.eval()).generate_video(first, 3, seeds=seeds) for seeds in ([4, 4], [4, 4], [5, 5])]
    assert videos[0].shape == (2, 3, 2, 2) and torch.equal(videos[0][:, 0], first)
    assert torch.equal(videos[0], videos[1]) and not torch.equal(videos[0], videos[2])


def test_video_is_trained_alone_or_not_at_all() -> None:
    with pytest.raises(ValueError, match="or video alone, not i2vm, video"):
        ArDataConfig(tasks=("i2vm", "video"))
    with pytest.raises(ValueError, match="need task v2m"):
        ArDataConfig(tasks=("video",), reading_every=2)


@pytest.mark.parametrize("preset", ["debug", "mini", "base"])
def test_the_shipped_pair_differs_in_nothing_but_motion(preset: str) -> None:
    values = read_yaml(config_path("ar_model", preset))
    configs = {}
    for name, ablation in SHIPPED.items():
        merged = {**values, **{key: {**values.get(key, {}), **part} for key, part in ablation.change.items()}}
        configs[name] = load_config(ArTrainingConfig, merged)
    assert {name: config.data.tasks for name, config in configs.items()} == {
        "video": ("video",), "video_and_motion": ("i2vm",),
    }  # fmt: skip
    same = [replace(config, data=replace(config.data, tasks=("v2m", "i2vm"))) for config in configs.values()]
    assert same[0] == same[1]


def test_the_plan_counts_a_video_by_its_pictures() -> None:
    config = load_config(ArTrainingConfig, config_path("ar_model", "base"), ["data.tasks=[video]"])
    plan = make_plan(config, load_config(BundleSettings, config_path("bundle", "base")), Hardware())
    (work,) = plan.sequences.values()
    assert (work.task, work.positions, work.condition, work.targets) == ("video", 9216, 1024, 8192)
    assert work.heads == 2.0 * 8192 * 4096 * 64000


def test_a_run_of_the_sweep_is_found_again(tmp_path: Path) -> None:
    from tests.training.test_studies import DEBUG as BASE
    from tests.training.test_studies import study

    overrides = ["optimization.steps=2", "data.validation_clips=2", "optimization.ema_decay=0.5"]
    table = run_sweep(study(), SHIPPED, BASE, overrides, [0], 5, tmp_path).read_text()
    cells = next(line for line in table.splitlines() if line.startswith("| video alone |")).split(" | ")
    assert cells[-3] == "–" and 3 < float(cells[-2]) < 6
    run = load_run(tmp_path / "video" / "seed_0")
    assert run.tasks == ("video",) and run.step == 2 and 0 < run.minutes < 1
    config = load_config(ArTrainingConfig, read_yaml(BASE))
    task = ArTask(replace(config, data=ArDataConfig(tasks=("video",), validation_clips=2)), token_pack(4),
                  token_pack(3, seed=1), model=run.model)  # fmt: skip
    assert task.validate(task.model)["video.visual_loss"] == pytest.approx(float(cells[-2]), abs=6e-4)
    with pytest.raises(InputError, match="no run of a sweep"):
        load_run(tmp_path)
    newest = sorted((tmp_path / "video" / "seed_0").glob("step_*"))[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cannot use the checkpoint"):
        load_run(tmp_path / "video" / "seed_0")
