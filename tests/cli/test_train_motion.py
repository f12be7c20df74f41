"""`unimo train motion-tokenizer --data` on a user's own files: from a fresh start to a bundle part and pictures."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.motion.amass_sample import save_amass
from unimo import load_motion_tokenizer
from unimo.bundle import load_bundle, save_bundle
from unimo.cli.main import run
from unimo.errors import MissingAssetError
from unimo.motion.frames import world_to_camera
from unimo.motion.library import MotionLibrary
from unimo.training import chain as chain_module

SMALL = ("--config", "debug", "--preset", "debug", "--device", "cpu")
SMALL += ("--set", "data.windows=4", "--set", "data.validation_windows=3")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three subjects with a motion each, and a file that is none."""
    folder = tmp_path_factory.mktemp("data") / "mine"
    for subject in ("anna", "ben", "carla"):
        save_amass(folder / subject / "walk_stageii.npz", 90)
    np.savez(folder / "anna" / "shape.npz", betas=np.zeros(16))
    return folder


def unimo(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit code and what was printed on both streams, on one line."""
    with pytest.raises(SystemExit) as stop:
        run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return int(stop.value.code or 0), " ".join((captured.out + captured.err).split())


def train(capsys, data: Path, work: Path, *arguments: object) -> tuple[int, str]:
    return unimo(capsys, "train", "motion-tokenizer", "--data", data, "--work", work, *SMALL, *arguments)


def rows(work: Path) -> list[dict]:
    return [json.loads(line) for line in (work / "motion-tokenizer" / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work folder of a finished run, not to be changed."""
    work = tmp_path_factory.mktemp("finished") / "work"
    with pytest.raises(SystemExit) as stop:
        run(["train", "motion-tokenizer", "--data", str(data), "--work", str(work), *SMALL, "--quiet"])
    assert not stop.value.code
    return work


@pytest.fixture
def work(finished: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(finished, tmp_path / "work"))


def test_a_run_ends_with_a_bundle_part_and_pictures(finished: Path) -> None:
    assert rows(finished)[-1]["step"] == 4
    for name in ("curve.png", "reconstructions.png"):
        assert np.asarray(Image.open(finished / "motion-tokenizer" / name)).std() > 5
    info = load_bundle(finished / "bundle").info
    origin = info.training["motion_tokenizer"]
    assert set(info.components) == {"motion_tokenizer"} and info.licence == ""
    assert str(finished.parent) not in json.dumps(origin)
    assert (origin["data"], origin["clips"] + origin["validation_clips"], origin["left_out"]) == (["mine"], 3, 1)
    assert set(origin["validation_subjects"]) < {"anna", "ben", "carla"}
    assert origin["validation"] == rows(finished)[-1]
    trained = load_file(finished / "motion-tokenizer.safetensors")
    for key, value in load_bundle(finished / "bundle").motion_tokenizer.state_dict().items():
        assert torch.allclose(value.float(), trained[key].float(), rtol=2e-3, atol=1e-4), key


def test_what_comes_before_the_first_step_is_told(data: Path, tmp_path: Path, capsys, caplog) -> None:
    with caplog.at_level("INFO", "unimo"):
        code, _ = train(capsys, data, tmp_path / "work", "--set", "optimization.steps=1")
    assert code == 0 and "drawing 4 windows to train on (data.windows)" in caplog.text


def test_the_part_turns_motions_to_ids_and_back(data: Path, finished: Path) -> None:
    tokenizer = load_motion_tokenizer(finished / "bundle")
    motion = MotionLibrary.from_files([data])[0].motion
    camera = np.tile(np.diag([1.0, -1.0, -1.0, 1.0]), (len(motion), 1, 1))
    camera[:, :3, 3] = [0, 1, 4]
    tokens = tokenizer.encode(world_to_camera(replace(motion, cam2world=camera)), focal=1.2)
    assert len(tokenizer.decode(tokens)) == tokens.spans[-1][1] == 45


def test_a_run_goes_on_only_when_told_and_other_parts_stay(data: Path, work: Path, capsys) -> None:
    debug = load_bundle("debug")
    others = {"visual_tokenizer/discrete": debug.visual_tokenizer}
    save_bundle(work / "bundle", "mine", debug.settings, others, {"visual_tokenizer": "by me"})
    code, text = train(capsys, data, work)
    assert code == 2 and "holds checkpoints of motion-tokenizer" in text and "--resume" in text
    code, text = train(capsys, data, work, "--resume", "--set", "optimization.steps=6")
    assert code == 0 and rows(work)[-1]["step"] == 6
    pictures = [work / "motion-tokenizer" / name for name in ("curve.png", "reconstructions.png")]
    for file in (work / "motion-tokenizer.safetensors", *pictures, work / "bundle" / "bundle.json"):
        assert f"wrote {file}" in text
    bundle = load_bundle(work / "bundle")
    bundle.verify()
    assert set(bundle.info.components) == {"motion_tokenizer", "visual_tokenizer/discrete"}
    assert bundle.info.training["visual_tokenizer"] == "by me"
    assert bundle.info.training["motion_tokenizer"]["validation"]["step"] == 6


def test_a_bundle_of_another_geometry_is_refused_before_training(data: Path, work: Path, capsys) -> None:
    settings = replace(load_bundle("debug").settings, frames=17)
    save_bundle(work / "bundle", "mine", settings, {})
    code, text = train(capsys, data, work, "--resume")
    assert code == 2 and "is for clips of another geometry" in text and len(rows(work)) == 1


def test_without_a_graphics_driver_the_result_is_there_and_a_warning(
    data: Path, work: Path, capsys, caplog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_driver(*_: object) -> None:
        raise MissingAssetError("off-screen rendering could not start")

    monkeypatch.setattr(chain_module, "draw_reconstructions", no_driver)
    code, text = train(capsys, data, work, "--resume")
    assert code == 0 and f"wrote {work / 'motion-tokenizer' / 'curve.png'}" in text
    assert "`unimo doctor`" in caplog.text and not (work / "motion-tokenizer" / "reconstructions.png").exists()
    assert load_bundle(work / "bundle").motion_tokenizer


def test_wrong_data_is_one_message_before_anything_is_made(data: Path, tmp_path: Path, capsys) -> None:
    for folder in ("empty", "still", "one"):
        (tmp_path / folder).mkdir()
    for name in ("a", "b"):
        save_amass(tmp_path / "still" / f"{name}_stageii.npz", 5)
    save_amass(tmp_path / "one" / "a_stageii.npz", 90)
    cases = {
        tmp_path / "none": "there is no such motion file or folder",
        tmp_path / "empty": "there is no .npz or .bvh file here: it is empty",
        data / "anna" / "shape.npz": "none of the files (1 .npz) can be used; the first reason: not a motion",
        tmp_path / "still": "no motion is as long as a window needs",
        tmp_path / "one": "one motion cannot be both trained on and validated with",
    }
    for folder, message in cases.items():
        code, text = train(capsys, folder, tmp_path / "work")
        assert code == 2 and message in text and "Traceback" not in text, folder
    code, text = train(capsys, data, tmp_path / "work", "--validation-data", data / "anna")
    assert code == 2 and "1 subject is in both training and validation motions: anna" in text
    assert not (tmp_path / "work" / "bundle").exists()


def test_a_sweep_tabulates_ablations_of_the_users_motions(data: Path, tmp_path: Path, capsys) -> None:
    folder, work = tmp_path / "mine", tmp_path / "work"
    folder.mkdir()
    (folder / "few.yaml").write_text('rows: {"Codes": "32 codes"}\nchange: {model: {codebook_size: 32}}\n')
    (folder / "many.yaml").write_text('rows: {"Codes": "64 codes"}\nchange: {model: {codebook_size: 64}}\n')
    arguments = ("--sweep", folder, "--seeds", "0,1", "--minutes", "5", "--set", "optimization.steps=2")
    code, text = train(capsys, data, work, *arguments)
    table = work / "mine" / "table.md"
    assert code == 0 and "table.md" in text.replace(" ", "")
    assert "| 32 codes | 2 | 2 (2–2) |" in table.read_text() and "not run" not in table.read_text()
    results = sorted(work.glob("mine/*/seed_*/result.json"))
    assert len(results) == 4
    stamps = [file.stat().st_mtime_ns for file in results]
    assert train(capsys, data, work, *arguments)[0] == 0 and [file.stat().st_mtime_ns for file in results] == stamps


def test_bad_sweeps_are_one_message(data: Path, tmp_path: Path, capsys) -> None:
    code, text = train(capsys, data, tmp_path / "work", "--sweep", tmp_path / "nowhere")
    assert code == 2 and "there are no ablations here" in text
    code, text = train(capsys, data, tmp_path / "work", "--sweep", tmp_path, "--resume")
    assert code == 2 and "goes on by itself" in text and "leave out --start-from and --resume" in text
    code, text = train(capsys, data, tmp_path / "work", "--seeds", "0,1")
    assert code == 2 and "--seeds belongs to --sweep" in text
    baseline = ("--set", "model.partwise=true", "--set", "model.strides=[1,1,2,2]")
    code, text = train(capsys, data, tmp_path / "other", *baseline)
    assert code == 2 and "run it by --sweep" in text
    assert not (tmp_path / "work").exists()
