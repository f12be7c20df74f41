"""The results page: tables say what the reports say, and only the part between the markers is replaced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from unimo.errors import InputError, UniMoError
from unimo.evaluation import results as module
from unimo.evaluation.results import BEGIN, END, Asked, make_results, renew_gate, results_tables

GATE = Path(__file__).parents[1] / "fixtures" / "evaluation" / "clips"


def report(command: str, **numbers: Any) -> dict[str, Any]:
    header = {
        "command": command, "seeds": [0, 1], "wall_seconds": 12.3, "peak_memory_gb": 1.5,
        "bundle": {"name": "mini", "sha256": "ab" * 32},
        "clips": {"sha256": "cd" * 32, "graphics_drivers": ["some driver"], "folder": "/secret/clips"},
    }  # fmt: skip
    lists = {"per_clip": {"clip": ["000000"]}, "by_time_mm": [1.0]}
    return {"header": header, "clips": 64, "fps": 15.0, "decode_seconds": 10.0, **lists, **numbers}


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
    assert "| motion: MPJPE, mm (beside: constant pose, also below) | 91.2 | – | (≤ 40 ✗) |" in lines
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
    def fake_run(words: list[str], option: str, target: Path, shown: dict | None = None) -> dict[str, Any]:
        if option == "--json":
            target.write_text(json.dumps(results[words[1]]))
        command = " ".join(["unimo", *((shown or {}).get(word, word) for word in words)])
        return {"command": command, "seconds": 1.0, "peak_memory_gb": 1.0}

    monkeypatch.setattr(module, "_run", fake_run)
    page = tmp_path / "docs" / "results.md"
    page.parent.mkdir()
    page.write_text(f"# Before\n{BEGIN}\nold\n{END}\nafter\n")
    counts = {"tokenizer": 64, "capture": 64, "generate": 16}
    number = {"value": 1.0, "interval": [0.5, 1.5]}
    gate: dict[str, Any] = {"clips": {"count": 1}, "seeds": 2, "renew": "make", "numbers": {"a": number}}
    monkeypatch.setattr(module, "gate_record", lambda *_: gate)
    asked = Asked(Path("/secret/place/val.zip"), "debug", page.parent, tmp_path / "runs", counts, 2, gate=GATE)
    made = make_results(asked)
    text = page.read_text()
    assert text.startswith(f"# Before\n{BEGIN}\nMeasured ") and text.endswith(f"{END}\nafter\n") and "old" not in text
    assert "--dataset synthetic-val --data val.zip --count 16 --bundle debug --device cpu --quiet --seeds 2" in text
    assert "secret" not in text and "| a | 1.00 | 0.500 .. 1.50 |" in text
    stored = json.loads((page.parent / "results.json").read_text())
    assert stored == made and "per_clip" not in stored["capture"] and "secret" not in json.dumps(stored)
    assert "folder" not in stored["capture"]["header"]["clips"] and stored["capture"]["by_time_mm"] == [1.0]
    # the gate alone is renewed in the results that are there
    gate["numbers"]["a"]["value"] = 7.0
    again = renew_gate(page.parent, GATE, "debug")
    assert again["regression"]["numbers"]["a"]["value"] == 7.0 and again["capture"] == stored["capture"]
    assert "| a | 7.00 | 0.500 .. 1.50 |" in page.read_text() and page.read_text().startswith(f"# Before\n{BEGIN}\n")
    page.write_text("no markers")
    with pytest.raises(InputError, match="no markers"):
        make_results(asked)
    assert page.read_text() == "no markers"
    with pytest.raises(InputError, match="no results to put the gate into"):
        renew_gate(tmp_path / "elsewhere", GATE, "debug")


def test_baselines_have_columns_where_a_report_has_them(results: dict) -> None:
    results["capture"] |= {"first_frame_pose.mpjpe_mm": 55.5, "previous_frame.mpjpe_mm": 12.25}
    results["capture"]["header"]["dataset"] = {"name": "synthetic-val", "matches_the_definition": False}
    lines = results_tables(results).splitlines()
    assert "| measure | value | beside | first pose held | one frame late | goal |" in lines
    assert "| MPJPE, mm (beside: constant pose, also below) | 100 [90.0, 110] | 150 | 55.5 | 12.2 |  |" in lines
    assert "| measure | value | beside | goal |" in lines  # of the other evaluations
    assert any("Motion and cameras are NOT those of `synthetic-val`." in line for line in lines)


def test_a_failing_command_is_reported_with_its_own_message(tmp_path: Path) -> None:
    with pytest.raises(UniMoError, match=r"(?s)the command failed \(2\): unimo synth .*--output out\n.*no such motion"):
        module._run(["synth", "--mocap", str(tmp_path / "none")], "--output", tmp_path / "out")
