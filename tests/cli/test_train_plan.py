"""`unimo train ar --plan` as a user meets it: what it prints, that it needs and writes nothing, what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from unimo.cli import common
from unimo.cli.main import run


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and a terminal wide enough for one line a row."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(common.out, "_width", 160)
    return tmp_path


def unimo(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit code and what was printed on both streams, in one line a sentence."""
    with pytest.raises(SystemExit) as stop:
        run(["train", *map(str, arguments)])
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out + captured.err


def row(text: str, name: str) -> list[str]:
    """The cells of the first row that begins so."""
    line = next(line for line in text.splitlines() if line.startswith(name))
    return re.split(r"\s{2,}", line.strip())[1:]


def test_the_plan_of_base_needs_no_data_and_writes_nothing(capsys, here: Path) -> None:
    code, text = unimo(capsys, "ar", "--config", "base", "--plan")
    assert code == 0 and "4.02 B parameters, clips of 65 frames of 512 x 512 pixels" in text
    assert row(text, "positions") == ["11,558", "11,558"]
    assert row(text, "TFLOP forward and backward") == ["328", "308"]
    assert row(text, "GB keys and values") == ["0.757", "0.757"]
    assert "GB on each of 8 GPUs" in text
    assert row(text, "optimiser") == ["32.1", "4.02", "4.02", "4.02"]
    assert row(text, "total, checkpointing, as configured")[1:] == ["29.8", "22.7", "16.8"]
    assert row(text, "  fits into 80 GB") == ["no", "no", "yes", "yes"]
    assert row(text, "seconds") == ["0.809", "1.07"]
    assert "989 TFLOP/s" in text and "Nothing was written" in text
    assert list(here.iterdir()) == []


def test_gpus_stage_and_speed_are_the_users(capsys) -> None:
    arguments = ("--gpus", 64, "--zero", 3, "--gpu-memory", 40, "--peak", 312, "--utilisation", 0.5)
    code, text = unimo(capsys, "ar", "--config", "base", "--plan", *arguments)
    assert code == 0 and "GB on each of 64 GPUs" in text and "ZeRO 2" not in text
    assert row(text, "optimiser") == ["0.502"] and row(text, "  fits into 40 GB") == ["no"]
    assert "A step of 64 sequences" in text and "312 TFLOP/s a GPU, of which 50%" in text
    # 320 and 424 TFLOP at 156 TFLOP/s
    assert row(text, "seconds") == ["2.05", "2.72"]


def test_settings_change_the_plan(capsys) -> None:
    settings = ("--set", "model.motion_layout=frame", "--set", "model.depth={}")
    code, text = unimo(capsys, "ar", "--config", "base", "--plan", *settings)
    assert code == 0 and row(text, "positions") == ["9,283", "9,283"] and row(text, "depth transformer") == ["229"]
    code, text = unimo(capsys, "ar", "--config", "base", "--preset", "mini", "--plan")
    assert code == 0 and "17 frames of 128 x 128" in text


def test_the_plan_of_a_preset_is_for_its_clips_and_that_of_a_file_for_those_named(capsys, here: Path) -> None:
    code, text = unimo(capsys, "ar", "--plan")
    assert code == 0 and "17 frames of 128 x 128" in text and "keypoint head (training only)" in text
    own = here / "own.yaml"
    own.write_text("model: {}\noptimization: {steps: 1, batch_size: 2, learning_rate: 1e-4}\n")
    code, text = unimo(capsys, "ar", "--config", own, "--plan")
    assert code == 2 and "--preset" in text
    code, text = unimo(capsys, "ar", "--config", own, "--plan", "--preset", "base")
    assert code == 0 and "own: 4.02 B parameters" in text and "A step of 16 sequences" in text


def test_what_has_no_plan_is_an_error_that_names_it(capsys) -> None:
    code, text = unimo(capsys, "ar", "--config", "base", "--plan", "--set", "model.context_dim=1024")
    assert code == 2 and "no plan" in text and "context_dim" in text
    code, text = unimo(capsys, "ar", "--config", "base", "--plan", "--preset", "bass")
    assert code == 2 and "did you mean 'base'" in text


@pytest.mark.parametrize("wrong", [("--gpus", 0), ("--zero", 4), ("--utilisation", 2), ("--gpu-memory", 0)])
def test_impossible_numbers_are_refused(capsys, wrong: tuple[object, ...]) -> None:
    code, text = unimo(capsys, "ar", "--config", "base", "--plan", *wrong)
    assert code == 2 and str(wrong[0]) in text


@pytest.mark.parametrize(
    "lone", [("--gpus", 8), ("--zero", 0), ("--gpu-memory", 80), ("--peak", 989), ("--utilisation", 0.4)]
)
def test_numbers_of_a_plan_are_refused_without_one(capsys, here: Path, lone: tuple[object, ...]) -> None:
    code, text = unimo(capsys, "ar", "--mocap", "a", "--validation-mocap", "b", *lone)
    assert code == 2 and f"{lone[0]} belongs to --plan" in text and list(here.iterdir()) == []


def test_training_still_needs_its_motions(capsys, here: Path) -> None:
    code, text = unimo(capsys, "ar", "--config", "debug")
    assert code == 2 and "training the transformer needs --mocap" in text
    code, text = unimo(capsys, "ar", "--config", "no such config", "--mocap", here)
    assert code == 2 and "training the transformer needs --validation-mocap" in text
    assert list(here.iterdir()) == []


def test_other_stages_have_no_plan(capsys) -> None:
    for stage in ("visual-tokenizer", "diffusion-decoder"):
        code, text = unimo(capsys, stage, "--plan")
        assert code == 2 and "--plan" in text
        code, text = unimo(capsys, stage)
        assert code == 2 and "--mocap" in text
