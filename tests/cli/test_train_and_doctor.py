"""`unimo train` and `unimo doctor` as a user meets them: results, what is refused, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from unimo.cli import doctor
from unimo.cli.main import run
from unimo.errors import MissingAssetError
from unimo.motion.library import MotionLibrary
from unimo.synth.gait import gait_library

SMALL = ("--config", "debug", "--preset", "debug", "--clips", 2, "--validation-clips", 1, "--device", "cpu")


@pytest.fixture
def mocap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inline_pool: None) -> tuple[object, ...]:
    """Arguments of two mocap folders, whose content is four procedural walkers."""
    folders = [tmp_path / "train", tmp_path / "validation"]
    for folder in folders:
        folder.mkdir()
        (folder / "walk.bvh").touch()
    walkers = gait_library(4, seconds=3.0)
    library = {folders[0]: walkers[:2], folders[1]: walkers[2:]}
    read = staticmethod(lambda paths, *_, **__: MotionLibrary(library[paths[0]]))
    monkeypatch.setattr(MotionLibrary, "from_files", read)
    return "--mocap", folders[0], "--validation-mocap", folders[1], "--work", tmp_path / "work"


def unimo(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit code and what was printed on both streams."""
    with pytest.raises(SystemExit) as stop:
        run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out + captured.err


def test_train_leaves_weights_and_a_log_and_only_resumes_when_told(mocap, tmp_path: Path, capsys) -> None:
    command = ("train", "visual-tokenizer", *mocap, *SMALL)
    code, text = unimo(capsys, *command, "--set", "optimization.steps=2")
    work = tmp_path / "work"
    assert code == 0 and str(work / "visual-tokenizer.safetensors") in text
    assert load_file(work / "visual-tokenizer.safetensors")
    rows = [json.loads(line) for line in (work / "visual-tokenizer" / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["kind"] == "validation" and rows[-1]["step"] == 2
    code, text = unimo(capsys, *command)
    assert code == 2 and "holds checkpoints of visual-tokenizer" in text and "--resume" in text
    code, _ = unimo(capsys, *command, "--resume", "--set", "optimization.steps=3")
    rows = [json.loads(line) for line in (work / "visual-tokenizer" / "log.jsonl").read_text().splitlines()]
    assert code == 0 and rows[-1]["step"] == 3


def test_the_transformer_needs_trained_tokenizers(mocap, capsys) -> None:
    code, text = unimo(capsys, "train", "ar", *mocap, *SMALL)
    assert code == 2 and "has not been trained yet" in text and "run the stage" in text


def test_an_unknown_setting_is_named_with_its_neighbour(mocap, tmp_path: Path, capsys) -> None:
    code, text = unimo(capsys, "train", "ar", *mocap, *SMALL, "--set", "optimization.learning_rat=1")
    assert code == 2 and "learning_rat" in text and "learning_rate" in text
    assert not (tmp_path / "work").exists()


def test_doctor_tells_what_is_missing_and_fails_only_for_what_is_required(monkeypatch, capsys) -> None:
    def absent() -> str:
        raise MissingAssetError("no such thing", "nowhere", "fetch it")

    monkeypatch.setattr(doctor, "CHECKS", (("a driver", True, lambda: "llvmpipe"), ("an extra", False, absent)))
    code, text = unimo(capsys, "doctor")
    assert code == 0 and "llvmpipe" in text and "fetch it" in text and "optional" in text
    monkeypatch.setattr(doctor, "CHECKS", (("a driver", True, absent),))
    code, text = unimo(capsys, "doctor")
    assert code == 2 and "missing" in text and "no such thing" in text


def test_every_check_of_the_doctor_answers_on_this_machine() -> None:
    for name, required, check in doctor.CHECKS:
        if required:
            assert check(), name


def test_the_doctor_looks_for_seedvr(monkeypatch, capsys, tmp_path: Path) -> None:
    seedvr = [check for check in doctor.CHECKS if "SeedVR" in check[0]]
    monkeypatch.setattr(doctor, "CHECKS", seedvr)
    monkeypatch.delenv("UNIMO_SEEDVR", raising=False)
    code, text = unimo(capsys, "doctor")
    assert code == 0 and "optional" in text and "not configured" in text
    monkeypatch.setenv("UNIMO_SEEDVR", str(tmp_path))
    monkeypatch.setenv("UNIMO_SEEDVR_COMMAND", "sh run.sh {video_path} {output_dir}")
    code, text = unimo(capsys, "doctor")
    assert code == 0 and "optional" not in text and len(seedvr) == 1
