"""Reports: from a folder of the synthetic engine to a JSON file that says how its numbers came about."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unimo.errors import InputError
from unimo.evaluation.report import EVALUATIONS, run_evaluation, save_report
from unimo.synth.engine import generate_clips
from unimo.synth.gait import gait_library
from unimo.synth.scene import SceneConfig


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("clips") / "out"
    generate_clips(gait_library(count=3), 3, 0, output, SceneConfig(side=32, frames=9), workers=1)
    return output


@pytest.mark.parametrize("kind", EVALUATIONS)
def test_a_folder_becomes_a_report(kind: str, folder: Path, tmp_path: Path) -> None:
    stages = set()
    report = run_evaluation(
        kind, folder, "debug", count=2, seeds=(0, 4), progress=lambda stage, done, total: stages.add(stage)
    )
    save_report(tmp_path / "report.json", report)
    assert json.loads((tmp_path / "report.json").read_text()) == report
    header = report["header"]
    assert header["evaluation"] == kind and header["bundle"]["name"] == "debug"
    assert header["clips"]["count"] == report["clips"] == 2 and len(header["clips"]["sha256"]) == 64
    assert header["clips"]["graphics_drivers"] and header["clips"]["subjects"]
    assert header["seeds"] == ([] if kind == "tokenizer" else [0, 4])
    assert header["wall_seconds"] > 0 and 0.1 < header["peak_memory_gb"] < 100 and header["cores"] >= 1
    assert "reading clips" in stages and len(stages) >= 2


def test_bad_wishes_are_refused_before_any_work(folder: Path) -> None:
    with pytest.raises(InputError, match="unknown evaluation 'pose'"):
        run_evaluation("pose", folder, "debug")
    with pytest.raises(InputError, match="seeds must be given and differ"):
        run_evaluation("capture", folder, "debug", seeds=(1, 1))
    with pytest.raises(InputError, match="batch size"):
        run_evaluation("capture", folder, "debug", batch_size=0)
    with pytest.raises(InputError, match="no such folder of clips"):
        run_evaluation("capture", folder / "nowhere", "debug")


def test_numbers_that_are_no_numbers_never_reach_a_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        save_report(tmp_path / "report.json", {"mpjpe_mm": float("nan")})
    assert list(tmp_path.iterdir()) == []
