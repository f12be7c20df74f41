"""Ablations: configurations change what they say, finished runs are kept, cut ones go on, the table tells the truth."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from motion_tokenizer import build_motion_tokenizer
from unimo.config import load_config, read_yaml
from unimo.errors import ConfigError, InputError
from unimo.synth.gait import gait_library
from unimo.synth.scene import SceneConfig
from unimo.training.motion_pool import MotionWindows
from unimo.training.motion_tokenizer import MotionTokenizerTask, MotionTokenizerTrainingConfig
from unimo.training.studies import motion_study
from unimo.training.sweep import Ablation, load_ablations, run_sweep, write_table

CONFIGS = Path(__file__).parents[2] / "configs"
PAPER = CONFIGS / "ablations" / "motion_tokenizer"
BASE = CONFIGS / "motion_tokenizer" / "debug.yaml"
SMALL = ["data.windows=4", "data.validation_windows=2", "optimization.steps=3", "optimization.checkpoint_every=1"]


def draw(config):
    library = gait_library(count=2, seconds=1.5)
    return MotionWindows.draw(library, library, SceneConfig(frames=5, fps=15, side=32), 1.2, config)


STUDY = motion_study(draw)


def two() -> dict[str, Ablation]:
    return {
        "a": Ablation({"One": "first"}, (1.0, 2.5), {"model": {"codebook_size": 64}}),
        "b": Ablation({"One": "second", "Two": "again"}, change={"loss": {"drift": 1.0}}),
    }


def test_every_row_of_the_papers_tables_is_there():
    rows = [(heading[:7], label) for item in load_ablations(PAPER).values() for heading, label in item.rows.items()]
    assert sum(table == "Table 5" for table, _ in rows) == 9
    assert {label for table, label in rows if table == "Table 6"} == {"6-D", "rotation matrix", "axis-angle"}
    assert sum(table == "Table 1" for table, _ in rows) == 2


@pytest.mark.parametrize("preset", ["mini", "base"])
def test_every_shipped_ablation_fits_the_presets_and_builds(preset):
    for folder in sorted((CONFIGS / "ablations").glob("motion_tokenizer*")):
        sizes = {}
        for name, ablation in load_ablations(folder).items():
            values = read_yaml(CONFIGS / "motion_tokenizer" / f"{preset}.yaml")
            merged = {**values, **{k: {**values.get(k, {}), **v} for k, v in ablation.change.items()}}
            config = load_config(MotionTokenizerTrainingConfig, merged)
            if name.startswith("table5"):
                tokens, codes = int(name[8:10]), int(name[12:])
                assert (config.model.tokens_per_frame, config.model.codebook_size) == (tokens, codes)
            if preset == "mini":
                sizes[name] = sum(build_motion_tokenizer(config.model).parameter_counts().values())
        # a comparison at equal size; fewer tokens a frame cost fewer parameters in the paper too
        assert all(2.1e6 < size < 2.9e6 for size in sizes.values()), sizes


def test_the_baseline_of_parts_has_as_many_parameters_as_mini():
    values = read_yaml(CONFIGS / "motion_tokenizer" / "mini.yaml")
    parts = load_ablations(PAPER)["table1_parts"].change["model"]
    counts = []
    for model in (values["model"], {**values["model"], **parts}):
        config = load_config(
            MotionTokenizerTrainingConfig, {**values, "model": model, "data": {"windows": 4, "validation_windows": 2}}
        )
        counts.append(sum(MotionTokenizerTask(config, draw(config.data)).parameter_counts.values()))
    assert counts[1] == pytest.approx(counts[0], rel=0.02)


def test_a_sweep_runs_resumes_and_tabulates(tmp_path, monkeypatch):
    table = run_sweep(STUDY, {"a": two()["a"]}, BASE, SMALL, [0, 1], 5, tmp_path)
    write_table(STUDY.columns, two(), tmp_path, 5)
    lines = table.read_text().splitlines()
    assert lines[0].startswith("5 minutes a run")
    first, second, again = (
        next(line for line in lines if line.startswith(f"| {word} |")) for word in ("first", "second", "again")
    )
    assert first.split(" | ")[1:3] == ["2", "3 (3–3)"] and first.endswith("1 / 2.5 |")
    assert "not run" in second and "not run" in again and "not run" not in first
    result = json.loads((tmp_path / "a" / "seed_0" / "result.json").read_text())
    assert result["steps"] == 3 and result["mpjpe_mm"] > 0
    stamp = (tmp_path / "a" / "seed_0" / "result.json").stat().st_mtime_ns
    run_sweep(STUDY, {"a": two()["a"]}, BASE, SMALL, [0], 5, tmp_path)
    assert (tmp_path / "a" / "seed_0" / "result.json").stat().st_mtime_ns == stamp


def test_a_run_that_is_cut_off_goes_on_where_it_was(tmp_path, monkeypatch):
    plain, steps = MotionTokenizerTask.batch, []

    def cut(task, step):
        steps.append(step)
        if steps == [0, 1, 2]:
            raise KeyboardInterrupt
        return plain(task, step)

    monkeypatch.setattr(MotionTokenizerTask, "batch", cut)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(STUDY, {"a": two()["a"]}, BASE, SMALL, [0], 5, tmp_path / "cut")
    run_sweep(STUDY, {"a": two()["a"]}, BASE, SMALL, [0], 5, tmp_path / "cut")
    assert steps == [0, 1, 2, 2]
    run_sweep(STUDY, {"a": two()["a"]}, BASE, SMALL, [0], 5, tmp_path / "whole")
    cut_off, whole = (load_file(tmp_path / way / "a/seed_0/step_00000003.safetensors") for way in ("cut", "whole"))
    assert all(torch.equal(cut_off[key], value) for key, value in whole.items())


def test_a_run_of_another_configuration_is_not_taken_for_this_one(tmp_path):
    run_sweep(STUDY, {"a": two()["a"]}, BASE, SMALL, [0], 5, tmp_path)
    for minutes, overrides in ((6, SMALL), (5, [*SMALL, "model.codebook_dim=4"])):
        with pytest.raises(InputError, match="a run of another configuration or budget lies here"):
            run_sweep(STUDY, {"a": two()["a"]}, BASE, overrides, [0], minutes, tmp_path)


def test_a_run_that_diverges_is_noted_and_the_next_begins(tmp_path):
    bad = Ablation({"One": "bad"}, change={"optimization": {"learning_rate": 1e30, "warmup_steps": 1}})
    table = run_sweep(STUDY, {"a": bad, "b": two()["b"]}, BASE, SMALL, [0], 5, tmp_path).read_text(encoding="utf-8")
    assert "| bad | 1 | diverged |" in table and "| second | 1 | 3 |" in table


def test_bad_sweeps_are_named(tmp_path):
    with pytest.raises(InputError, match="there are no ablations here"):
        load_ablations(tmp_path / "nowhere")
    bad = {"a": Ablation({"One": "first"}, change={"model": {"codebok_size": 3}})}
    with pytest.raises(ConfigError, match="did you mean 'model.codebook_size'"):
        run_sweep(STUDY, bad, BASE, SMALL, [0], 1, tmp_path)
    assert not list(tmp_path.iterdir())


def test_runs_on_other_data_are_not_mixed(tmp_path):
    run_sweep(STUDY, {"a": two()["a"]}, BASE, SMALL, [0], 5, tmp_path)
    with pytest.raises(InputError, match="a run on other clips or tokens lies here"):
        run_sweep(replace(STUDY, data="other tokens"), {"a": two()["a"]}, BASE, SMALL, [0], 5, tmp_path)
