"""`unimo train` and `unimo doctor` as a user meets them: results, what is refused, exit codes."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from unimo.cli import common, doctor
from unimo.errors import InputError, MissingAssetError
from unimo.motion.library import MotionLibrary
from unimo.synth.gait import gait_library
from unimo.training.chain import Chain
from unimo.training.work_folder import ChainConfig

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


@pytest.fixture
def unimo_says(unimo):
    """Runs a command: exit code, and what it printed on both streams."""

    def command(*words: object) -> tuple[int, str]:
        code, out, err = unimo(*words)
        return code, out + err

    return command


def test_train_leaves_weights_and_a_log_and_only_resumes_when_told(mocap, tmp_path: Path, unimo_says) -> None:
    command = ("train", "visual-tokenizer", *mocap, *SMALL)
    code, text = unimo_says(*command, "--set", "optimization.steps=2")
    work = tmp_path / "work"
    assert code == 0 and str(work / "visual-tokenizer.safetensors") in text
    assert load_file(work / "visual-tokenizer.safetensors")
    rows = [json.loads(line) for line in (work / "visual-tokenizer" / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["kind"] == "validation" and rows[-1]["step"] == 2
    code, text = unimo_says(*command)
    assert code == 2 and "holds checkpoints of visual-tokenizer" in text and "--resume" in text
    code, _ = unimo_says(*command, "--resume", "--set", "optimization.steps=3")
    rows = [json.loads(line) for line in (work / "visual-tokenizer" / "log.jsonl").read_text().splitlines()]
    assert code == 0 and rows[-1]["step"] == 3


@pytest.fixture
def nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a body nor a clip may be made."""
    for name in ("unimo.cli.common.prepare_drawing", "unimo.training.chain.build_pack"):
        monkeypatch.setattr(name, lambda *_, **__: pytest.fail("something was rendered"))


@pytest.mark.parametrize("sweep", [(), ("--sweep", "ar_model")])
def test_the_transformer_needs_trained_tokenizers_before_anything_is_rendered(
    mocap, tmp_path: Path, unimo_says, nothing_is_made: None, sweep: tuple[str, ...]
) -> None:
    code, text = unimo_says("train", "ar", *mocap, *SMALL, *sweep)
    assert code == 2
    assert "motion-tokenizer and visual-tokenizer must be trained in the work folder first; nothing was" in text
    assert f"looked: {tmp_path}/work/motion-tokenizer.safetensors, {tmp_path}/work/visual-tokenizer.safetensors" in text
    train, validation, work = tmp_path / "train", tmp_path / "validation", tmp_path / "work"
    lines = [line.removeprefix("  try:").strip() for line in text.splitlines()]
    preset = f"--work {work} --config debug --preset debug"
    first = f"unimo train motion-tokenizer --data {train} --validation-data {validation} {preset}"
    second = f"unimo train visual-tokenizer --mocap {train} --validation-mocap {validation} {preset}"
    place = lines.index(first)
    assert lines[place + 1] == f"{second} --clips 2 --validation-clips 1"
    assert lines[place + 2].startswith("then this command again")
    assert ("--start-from" in lines[place + 2]) == (not sweep)
    assert not work.exists()


def test_the_commands_of_the_advice_run_and_then_the_transformer_trains(mocap, tmp_path: Path, unimo_says) -> None:
    code, text = unimo_says("train", "ar", *mocap, *SMALL)
    advice = [shlex.split(line.removeprefix("  try:")) for line in text.splitlines() if " unimo train " in line]
    assert code == 2 and [words[2] for words in advice] == ["motion-tokenizer", "visual-tokenizer"]
    quick = {"motion-tokenizer": ("--set", "data.windows=4", "--set", "data.validation_windows=2")}
    for words in advice:
        code, text = unimo_says(*words[1:], "--device", "cpu", *quick.get(words[2], ()))
        assert code == 0, text
    code, text = unimo_says("train", "ar", *mocap, *SMALL)
    assert code == 0 and (tmp_path / "work" / "ar.safetensors").is_file()


def test_the_diffusion_decoder_names_all_three_tokenizers(mocap, unimo_says, nothing_is_made: None) -> None:
    code, text = unimo_says("train", "diffusion-decoder", *mocap, *SMALL)
    assert code == 2 and "motion-tokenizer and visual-tokenizer and continuous-tokenizer must be trained" in text
    commands = [line.split() for line in text.splitlines() if " unimo train " in line]
    assert [words[-1] == "--continuous" for words in commands] == [False, False, True]


def test_tokenizers_of_a_bundle_will_do(mocap, tmp_path: Path) -> None:
    folders = {"mocap": [mocap[1]], "validation_mocap": [mocap[3]], "work": tmp_path / "work"}
    chain = Chain(ChainConfig(**folders, bundle=tmp_path / "bundle", preset="debug", start_from="debug"))
    chain.check(["clips", "tokens", "ar"])
    chain.check(["latents", "diffusion-decoder"])
    with pytest.raises(InputError, match="visual-tokenizer must be trained in the work folder first"):
        Chain(replace(chain.config, start_from=None)).check(["clips", "motion-tokenizer", "tokens"])


def test_a_stage_begun_on_other_tokens_is_refused_before_anything_is_rendered(
    mocap, tmp_path: Path, unimo_says, nothing_is_made: None
) -> None:
    (tmp_path / "work" / "ar").mkdir(parents=True)
    (tmp_path / "work" / "ar" / "tokenizers.txt").write_text("others")
    (tmp_path / "work" / "ar" / "step_00000002.safetensors").touch()
    code, text = unimo_says("train", "ar", *mocap, *SMALL, "--start-from", "debug", "--resume")
    assert code == 2 and "ar was trained on tokens of other tokenizers" in text
    assert f"try: mv {tmp_path}/work/ar {tmp_path}/work/ar_before, or another --work" in text


def test_an_unknown_setting_is_named_with_its_neighbour(mocap, tmp_path: Path, unimo_says) -> None:
    code, text = unimo_says("train", "ar", *mocap, *SMALL, "--set", "optimization.learning_rat=1")
    assert code == 2 and "learning_rat" in text and "learning_rate" in text
    assert not (tmp_path / "work").exists()


def test_doctor_tells_what_is_missing_and_fails_only_for_what_is_required(monkeypatch, unimo_says) -> None:
    def absent() -> str:
        raise MissingAssetError("no such thing", "nowhere", "fetch it")

    monkeypatch.setattr(doctor, "CHECKS", (("a driver", True, lambda: "llvmpipe"), ("an extra", False, absent)))
    code, text = unimo_says("doctor")
    assert code == 0 and "llvmpipe" in text and "fetch it" in text and "optional" in text
    monkeypatch.setattr(doctor, "CHECKS", (("a driver", True, absent),))
    code, text = unimo_says("doctor")
    assert code == 2 and "missing" in text and "no such thing" in text


def test_the_doctor_fits_into_80_columns_and_breaks_no_path(monkeypatch, unimo_says) -> None:
    path = "/home/someone/with/a/rather/long/place/for/weights/and/even-longer-names/SMPLX_NEUTRAL.npz"

    def absent() -> str:
        raise MissingAssetError("the body is not on this machine", path, "put it into " + "one place " * 20)

    monkeypatch.setattr(doctor, "CHECKS", (("a body", False, absent), ("compute", True, doctor._device)))
    monkeypatch.setattr(common.out, "_width", 80)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    _, text = unimo_says("doctor")
    lines = text.splitlines()
    assert lines[0].split() == ["a", "body", "absent", "(optional)"] and any(path in line for line in lines)
    assert all(len(line) <= 80 or line.strip() == path for line in lines) and "┃" not in text
    assert lines[-1].endswith("CPU with 1 thread") and sum("one place" in line for line in lines) > 2


def test_every_check_of_the_doctor_answers_on_this_machine() -> None:
    for name, required, check in doctor.CHECKS:
        if required:
            assert check(), name


def test_the_doctor_names_every_extra_that_code_uses(monkeypatch, unimo_says) -> None:
    there = {"ray": "2.60.0", "lz4": "4"}

    def version(name: str) -> str:
        if name not in there:
            raise PackageNotFoundError(name)
        return there[name]

    monkeypatch.setattr("unimo.extras.version", version)
    extras = ("Ray", "viser", "h5py", "flash-attn")
    monkeypatch.setattr(doctor, "CHECKS", tuple(check for check in doctor.CHECKS if check[0].startswith(extras)))
    code, text = unimo_says("doctor")
    assert code == 0 and len(doctor.CHECKS) == 4 and "ray 2.60.0" in text
    for extra in ("viewer", "importers", "gpu"):
        assert f"pip install 'unimo[{extra}]'" in text
    assert "needs h5py, not installed here\n" in text and "unimo[scale]" not in text


def test_the_doctor_looks_for_seedvr(monkeypatch, unimo_says, tmp_path: Path) -> None:
    seedvr = [check for check in doctor.CHECKS if "SeedVR" in check[0]]
    monkeypatch.setattr(doctor, "CHECKS", seedvr)
    monkeypatch.delenv("UNIMO_SEEDVR", raising=False)
    code, text = unimo_says("doctor")
    assert code == 0 and "optional" in text and "not configured" in text
    monkeypatch.setenv("UNIMO_SEEDVR", str(tmp_path))
    monkeypatch.setenv("UNIMO_SEEDVR_COMMAND", "sh run.sh {video_path} {output_dir}")
    code, text = unimo_says("doctor")
    assert code == 0 and "optional" not in text and len(seedvr) == 1
