"""The transformer's study: shipped ablations fit, runs capture validation clips, single tasks leave cells open."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ar_model import UniMoTransformer
from ar_model.config import DepthConfig
from tests.training.test_ar import token_pack
from unimo.assets import config_path
from unimo.bundle import load_motion_tokenizer
from unimo.config import load_config, read_yaml
from unimo.evaluation.token_capture import capture_from_tokens
from unimo.training.ar import ArTrainingConfig
from unimo.training.studies import ar_study
from unimo.training.sweep import Ablation, load_ablations, run_sweep

SHIPPED = load_ablations(Path(__file__).parents[2] / "configs" / "ablations" / "ar_model")
DEBUG = config_path("ar_model", "debug")
CODES = (torch.randn(64, 3), torch.randn(512, 4))
SHORT = ["optimization.steps=2", "data.validation_clips=2"]


def study():
    return ar_study(token_pack(4), token_pack(3, seed=1), load_motion_tokenizer("debug"), 1.2, CODES)


@pytest.mark.parametrize("preset", ["debug", "mini", "base"])
def test_every_shipped_ablation_fits_the_presets(preset: str) -> None:
    values = read_yaml(config_path("ar_model", preset))
    for ablation in SHIPPED.values():
        merged = {**values, **{key: {**values.get(key, {}), **part} for key, part in ablation.change.items()}}
        assert load_config(ArTrainingConfig, merged)


def test_the_papers_comparisons_are_there() -> None:
    table = "Ablation (paper Fig. 6, Tables 7 and 8)"
    assert {name for name, item in SHIPPED.items() if table in item.rows} == {
        "layout_token", "unified", "layout_frame", "unified_rope", "v2m_alone", "i2vm_alone", "equations_3_4",
    }  # fmt: skip
    unified = SHIPPED["unified"].change["model"]
    assert unified["unified_rope"] and unified["unified_vocabulary"]


def test_runs_are_measured_by_what_they_learn(tmp_path: Path) -> None:
    changes = {"both": {}, "writes": {"data": {"tasks": ["i2vm"]}}, "reads": {"data": {"tasks": ["v2m"]}}}
    ablations = {name: Ablation({"Table": name}, change=change) for name, change in changes.items()}
    text = run_sweep(study(), ablations, DEBUG, SHORT, [0], 5, tmp_path).read_text()
    results = {name: json.loads((tmp_path / name / "seed_0/result.json").read_text()) for name in changes}
    assert results["both"]["capture.mpjpe_mm"] > 10 and results["both"]["capture.seconds"] > 0
    assert "capture.mpjpe_mm" not in results["writes"] and "capture.mpjpe_mm" in results["reads"]
    cells = {name: next(line for line in text.splitlines() if line.startswith(f"| {name} |")) for name in changes}
    assert cells["writes"].split(" | ")[4] == "–" and cells["reads"].split(" | ")[4] != "–"
    model = UniMoTransformer(load_config(ArTrainingConfig, DEBUG).model)
    assert results["both"]["parameters"] == sum(value.numel() for value in model.parameters())


def test_capture_of_tokens_follows_the_video_and_not_the_batch() -> None:
    frame = {"motion_layout": "frame", "depth": DepthConfig(dim=24, layers=1, heads=2, ffn_hidden=32, code_dim=4)}
    for changes in ({}, frame):
        config = load_config(ArTrainingConfig, DEBUG).model
        torch.manual_seed(0)
        model = UniMoTransformer(type(config)(**{**vars(config), **changes})).eval()
        pack, tokenizer = token_pack(3, seed=1), load_motion_tokenizer("debug")
        first = capture_from_tokens(model, tokenizer, pack, 2)
        again = capture_from_tokens(model, tokenizer, pack, 2)
        other = capture_from_tokens(model, tokenizer, pack, 2, seed=9)
        assert {**first, "seconds": 0} == {**again, "seconds": 0} and first["mpjpe_mm"] != other["mpjpe_mm"]
