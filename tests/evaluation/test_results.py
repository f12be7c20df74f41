"""The results page: tables say what the reports say, and only the part between the markers is replaced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from unimo.errors import InputError, UniMoError
from unimo.evaluation import results as module
from unimo.evaluation.results import BEGIN, END, make_results, results_tables


def report(command: str, **numbers: Any) -> dict[str, Any]:
    header = {
        "command": command, "seeds": [0, 1], "wall_seconds": 12.3, "peak_memory_gb": 1.5,
        "bundle": {"name": "mini", "sha256": "ab" * 32},
        "clips": {"sha256": "cd" * 32, "graphics_drivers": ["some driver"]},
    }  # fmt: skip
    return {"header": header, "clips": 64, "fps": 15.0, "decode_seconds": 10.0, **numbers}


@pytest.fixture
def results() -> dict[str, Any]:
    return {
        "date": "2026-01-01T00:00:00+00:00",
        "machine": {"cores": 2, "cpu": "a CPU", "load_average": 0.5},
        "tokenizer": report("unimo evaluate tokenizer", mpjpe_mm=91.234, codebook_use=0.97, psnr_in_mask_db=None),
        "capture": report(
            "unimo evaluate capture",
            **{"mpjpe_mm": 100.4, "interval95.mpjpe_mm": [90.0, 110.0], "constant_pose.mpjpe_mm": 150.0},
            **{"ratio_to_constant_pose.mpjpe": 0.6693, "constant_pose.fitted_to": "training clips"},
            **{"num_samples": 4, "one_sample.mpjpe_mm": 123.4},
        ),
        "generate": report("unimo evaluate generate", **{"ratio_to_data.joint_speed": 2.4}),
        "commands": {"capture": {"command": "unimo capture", "seconds": 31.0, "peak_memory_gb": 1.25}},
    }


def test_tables_print_the_number_its_interval_the_baseline_and_whether_the_goal_is_met(results: dict) -> None:
    lines = results_tables(results).splitlines()
    assert "| motion: MPJPE, mm | 91.2 |  | (≤ 40 ✗) |" in lines
    assert "| motion: share of the codebook in use | 0.970 |  | (≥ 0.95 ✓) |" in lines
    assert "| MPJPE, mm (beside: constant pose, also below) | 100 [90.0, 110] | 150 |  |" in lines
    assert "| MPJPE ÷ constant pose | 0.669 |  | (≤ 0.75 ✓) |" in lines
    assert "| MPJPE of one sample alone instead of the samples' mean, mm | 123 |  |  |" in lines
    assert any("each the mean of 4 samples" in line for line in lines)
    assert "| joint speed ÷ data | 2.40 |  | (0.5-2 ✗) |" in lines
    assert "| `unimo capture` | 31.0 (≤ 30 ✗) | 1.25 (≤ 4 ✓) |" in lines
    assert any("PSNR on the person" in line and "| – |" in line and "✗" in line for line in lines)


def test_only_the_part_between_the_markers_changes(
    results: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake_run(words: list[str], option: str, target: Path) -> dict[str, Any]:
        if option == "--json":
            target.write_text(json.dumps(results[words[1]]))
        return {"command": " ".join(["unimo", *words]), "seconds": 1.0, "peak_memory_gb": 1.0}

    monkeypatch.setattr(module, "_run", fake_run)
    (tmp_path / "clips" / "000000").mkdir(parents=True)
    page = tmp_path / "results.md"
    page.write_text(f"# Before\n{BEGIN}\nold\n{END}\nafter\n")
    counts = {"tokenizer": 64, "capture": 64, "generate": 16}
    made = make_results(tmp_path, "debug", tmp_path, counts, [0, 1])
    text = page.read_text()
    assert text.startswith(f"# Before\n{BEGIN}\nMeasured ") and text.endswith(f"{END}\nafter\n") and "old" not in text
    assert "--count 16 --bundle debug --device cpu --quiet --seeds 0,1" in text
    assert json.loads((tmp_path / "results.json").read_text()) == made
    page.write_text("no markers")
    with pytest.raises(InputError, match="no markers"):
        make_results(tmp_path, "debug", tmp_path, counts, [0, 1])
    assert page.read_text() == "no markers"


def test_a_failing_command_is_reported_with_its_own_message(tmp_path: Path) -> None:
    with pytest.raises(UniMoError, match=r"(?s)the command failed \(2\): unimo synth .*--output out\n.*no such motion"):
        module._run(["synth", "--mocap", str(tmp_path / "none")], "--output", tmp_path / "out")
