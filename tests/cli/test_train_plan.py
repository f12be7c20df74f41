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
    assert row(text, "forward and backward") == ["328 TFLOP", "308 TFLOP"]
    assert row(text, "keys and values") == ["757 MB", "757 MB"]
    assert "Memory on each of 8 GPUs" in text
    assert row(text, "optimiser") == ["32.1 GB", "4.02 GB", "4.02 GB", "4.02 GB"]
    assert row(text, "total, checkpointing, as configured")[1:] == ["29.8 GB", "22.7 GB", "16.8 GB"]
    assert row(text, "  fits into 80 GB") == ["no", "no", "yes", "yes"]
    assert row(text, "time") == ["0.809 s", "1.07 s"]
    assert row(text, "time of 50,000 steps") == ["11.2 h", "14.9 h"]
    assert row(text, "the same of all GPUs together") == ["89.9 h", "119 h"]
    assert "989 TFLOP/s" in text and "Nothing was written" in text
    assert list(here.iterdir()) == []


def test_gpus_stage_and_speed_are_the_users(capsys) -> None:
    arguments = ("--gpus", 64, "--zero", 3, "--gpu-memory", 40, "--peak", 312, "--utilisation", 0.5)
    code, text = unimo(capsys, "ar", "--config", "base", "--plan", *arguments)
    assert code == 0 and "Memory on each of 64 GPUs" in text and "ZeRO 2" not in text
    assert row(text, "optimiser") == ["502 MB"] and row(text, "  fits into 40 GB") == ["no"]
    assert "A step of 64 sequences" in text and "312 TFLOP/s a GPU, of which 50%" in text
    # 320 and 424 TFLOP at 156 TFLOP/s
    assert row(text, "time") == ["2.05 s", "2.72 s"]


def test_settings_change_the_plan(capsys) -> None:
    settings = ("--set", "model.motion_layout=frame", "--set", "model.depth={}")
    code, text = unimo(capsys, "ar", "--config", "base", "--plan", *settings)
    assert code == 0 and row(text, "positions") == ["9,283", "9,283"] and row(text, "depth transformer") == ["229 M"]
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


def test_small_models_are_counted_in_units_that_fit_and_no_line_ends_in_spaces(capsys, monkeypatch) -> None:
    for width in (80, 160):
        monkeypatch.setattr(common.out, "_width", width)
        code, text = unimo(capsys, "ar", "--config", "mini", "--plan")
        assert code == 0 and "mini: 6.15 M parameters" in text
        assert row(text, "blocks") == ["2.66 M"] and row(text, "visual head") == ["786 K"]
        assert row(text, "last norm") == ["966"] and row(text, "optimiser")[:2] == ["36.0 MB", "4.50 MB"]
        assert row(text, "forward: heads on target tokens") == ["80.2 MFLOP", "282 MFLOP"]
        assert row(text, "time") == ["139 µs", "181 µs"] and row(text, "the same of all GPUs") == ["111 s", "2.42 min"]
        lines = text.splitlines()
        assert [line for line in lines if line != line.rstrip()] == [] and max(map(len, lines)) <= 80


def test_one_gpu_and_one_sequence_stand_in_the_singular(capsys) -> None:
    one = ("--gpus", 1, "--set", "optimization.batch_size=1", "--set", "optimization.steps=1")
    code, text = unimo(capsys, "ar", "--plan", *one)
    assert code == 0 and "Memory on the GPU\n" in text and "A step of 1 sequence\n" in text
    assert row(text, "time of 1 step")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (966, "966"), (999.4, "999"), (999.6, "1.00 K"), (20_480, "20.5 K"), (999_600, "1.00 M"),
     (4.02e9, "4.02 B"), (3.2e13, "32,000 B"), (12.5, "12.5")],
)  # fmt: skip
def test_quantities_have_three_digits(value: float, text: str) -> None:
    assert common.quantity(value) == text


@pytest.mark.parametrize(
    "idle",
    [("--mocap", "a"), ("--validation-mocap", "a"), ("--work", "w"), ("--clips", 30000), ("--validation-clips", 8),
     ("--minutes", 1), ("--start-from", "mini"), ("--sweep", "ar_model"), ("--seeds", "0,1"), ("--resume",),
     ("--device", "auto"), ("--quiet",), ("-q",)],
)  # fmt: skip
def test_what_says_nothing_of_a_plan_is_refused_with_one(capsys, here: Path, idle: tuple[object, ...]) -> None:
    code, text = unimo(capsys, "ar", "--config", "base", "--plan", *idle)
    name = str(idle[0]).replace("-q", "--quiet") if idle[0] == "-q" else str(idle[0])
    assert code == 2 and f"{name} would change nothing: --plan only does sums" in text
    assert f"try: leave out --plan, or {name}\n" in text and list(here.iterdir()) == []


def test_all_idle_options_are_named_in_the_order_of_the_help(capsys) -> None:
    code, text = unimo(capsys, "ar", "--resume", "--plan", "--clips", 3, "--mocap", "a", "--gpus", 2)
    assert code == 2 and "error: --mocap, --clips, --resume would change nothing" in text


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
