"""Reports: from a folder of the synthetic engine to files that say how their numbers came about."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from unimo.errors import InputError
from unimo.evaluation import outcome
from unimo.evaluation.outcome import Evaluation, load_predictions, save_evaluation
from unimo.evaluation.report import EVALUATIONS, run_evaluation
from unimo.evaluation.request import ClipSource, check_source, check_target
from unimo.media.video import read_video
from unimo.synth.engine import generate_clips
from unimo.synth.gait import gait_library
from unimo.synth.scene import SceneConfig


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("clips") / "out"
    generate_clips(gait_library(count=3), 3, 0, output, SceneConfig(side=32, frames=9), workers=1)
    return output


@pytest.mark.parametrize("kind", EVALUATIONS)
def test_a_folder_becomes_a_report_and_predictions(kind: str, folder: Path, tmp_path: Path) -> None:
    stages = set()
    evaluation = run_evaluation(
        kind, ClipSource(folder), "debug", count=2, seeds=2, progress=lambda stage, done, total: stages.add(stage)
    )
    written = save_evaluation(tmp_path / "run.json", evaluation)
    report = json.loads((tmp_path / "run.json").read_text())
    assert report == evaluation.numbers and written == [tmp_path / "run.json", tmp_path / "run"]
    header = report["header"]
    assert header["evaluation"] == kind and header["bundle"]["name"] == "debug"
    assert header["clips"]["count"] == report["clips"] == 2 and len(header["clips"]["sha256"]) == 64
    assert header["clips"]["graphics_drivers"] and header["clips"]["subjects"]
    assert header["clips"]["folder"] == str(folder.resolve()) and header["dataset"] == {"name": None}
    assert header["seeds"] == ([] if kind == "tokenizer" else [0, 1])
    assert header["wall_seconds"] > 0 and 0.1 < header["peak_memory_gb"] < 100 and header["cores"] >= 1
    assert "first_frame_pose" in header["conventions"]
    assert "reading clips" in stages and len(stages) >= 2
    samples = 1 if kind == "tokenizer" else 2
    shapes = {key: tuple(value.shape) for key, value in load_predictions(tmp_path / "run").items()}
    assert shapes == {
        "body_pose": (2, samples, 9, 21, 3), "global_orient": (2, samples, 9, 3),
        "betas": (2, samples, 10), "transl": (2, samples, 9, 3),
    }  # fmt: skip
    assert report["per_clip"]["clip"] == ["000000", "000001"] and len(report["by_time_mm"]) == 9
    assert {len(values) for values in report["per_clip"].values()} == {2} and len(report["by_joint_mm"]) == 22
    videos = sorted(path.name for path in (tmp_path / "run").glob("*.mp4"))
    named = [f"{clip}-seed{seed}.mp4" for clip in ("000000", "000001") for seed in (0, 1)]
    assert videos == (named if kind == "generate" else [])
    if videos:
        assert read_video(tmp_path / "run" / videos[0]).shape == (9, 32, 32, 3)


HEADER = {"evaluation": "capture"}


def small_evaluation(**numbers: float) -> Evaluation:
    arrays = {"body_pose": (2, 1, 9, 21, 3), "global_orient": (2, 1, 9, 3), "betas": (2, 1, 10), "transl": (2, 1, 9, 3)}
    predictions = {key: np.zeros(shape, np.float32) for key, shape in arrays.items()}
    return Evaluation({"header": HEADER, **numbers}, predictions)


def test_a_second_run_replaces_the_first_and_leaves_nothing_of_it(tmp_path: Path) -> None:
    video = {"000000-seed0.mp4": np.zeros((3, 32, 32, 3), np.uint8)}
    save_evaluation(tmp_path / "run.json", replace(small_evaluation(a=1), videos=video, fps=15))
    assert (tmp_path / "run" / "000000-seed0.mp4").is_file()
    save_evaluation(tmp_path / "run.json", small_evaluation(a=2))
    assert json.loads((tmp_path / "run.json").read_text()) == {"header": HEADER, "a": 2}
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["predictions.npz", "run", "run.json"]


def test_numbers_that_are_no_numbers_never_reach_a_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        save_evaluation(tmp_path / "run.json", small_evaluation(mpjpe_mm=float("nan")))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_is_told_and_nothing_half_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *_: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(outcome, "write_video", full)
    video = {"000000-seed0.mp4": np.zeros((3, 32, 32, 3), np.uint8)}
    save_evaluation(tmp_path / "run.json", small_evaluation(a=1))
    with pytest.raises(InputError, match="No space left on device"):
        save_evaluation(tmp_path / "run.json", replace(small_evaluation(a=2), videos=video, fps=15))
    assert json.loads((tmp_path / "run.json").read_text()) == {"header": HEADER, "a": 1}
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["predictions.npz", "run", "run.json"]
    with pytest.raises(InputError, match="a folder for results is wanted, this is a file"):
        check_target(tmp_path / "run.json" / "other.json")


def test_a_folder_with_something_else_in_it_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "page.md").write_text("mine")
    with pytest.raises(InputError, match="holds something else"):
        check_target(tmp_path / "docs.json")
    (tmp_path / "docs" / "predictions.npz").write_bytes(b"")
    with pytest.raises(InputError, match="holds something else"):
        check_target(tmp_path / "docs.json")
    (tmp_path / "docs" / "page.md").unlink()
    (tmp_path / "docs" / "000000-seed0.mp4").write_bytes(b"")
    check_target(tmp_path / "docs.json")
    for text in ('{"name": "package"}', "[]", "no JSON"):
        (tmp_path / "docs.json").write_text(text)
        with pytest.raises(InputError, match="no evaluation's report"):
            check_target(tmp_path / "docs.json")
    (tmp_path / "docs.json").write_text('{"header": {"evaluation": "capture"}}')
    check_target(tmp_path / "docs.json")
    with pytest.raises(InputError, match=r"must end in \.json"):
        check_target(tmp_path / "report")
    with pytest.raises(InputError, match="names a folder"):
        check_target(tmp_path / "docs")
    for content in (None, b"", b"PK\x03\x04 cut off"):
        if content is not None:
            (tmp_path / "predictions.npz").write_bytes(content)
        with pytest.raises(InputError, match="predictions cannot be read"):
            load_predictions(tmp_path)


def test_bad_wishes_are_refused_before_any_work(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown evaluation 'pose'"):
        run_evaluation("pose", ClipSource(folder), "debug")
    with pytest.raises(InputError, match="number of seeds must be at least 1"):
        run_evaluation("capture", ClipSource(folder), "debug", seeds=0)
    with pytest.raises(InputError, match="batch size"):
        run_evaluation("capture", ClipSource(folder), "debug", batch_size=0)
    with pytest.raises(InputError, match="no such folder of clips"):
        run_evaluation("capture", ClipSource(folder / "nowhere"), "debug")
    for source, message in [
        (ClipSource(), "give either --clips or --dataset"),
        (ClipSource(folder, "3dpw"), "exclude each other"),
        (ClipSource(folder, data=tmp_path), "--data belongs to --dataset"),
        (ClipSource(dataset="mpii"), "unknown data set 'mpii'"),
        (ClipSource(dataset="rich"), "rich is licensed: your own copy is needed"),
        (ClipSource(dataset="3dpw", data=tmp_path / "none"), "no such file or folder"),
    ]:
        with pytest.raises(InputError, match=message):
            check_source(source)


def test_predictions_are_in_the_cameras_of_the_clips(folder: Path) -> None:
    from unimo.data.clips import load_clips
    from unimo.evaluation.clip_motions import true_parts
    from unimo.evaluation.outcome import predictions_of

    clips = load_clips(folder)
    made = predictions_of(true_parts(clips), (3, 1))
    for key in ("transl", "betas"):
        np.testing.assert_allclose(made[key][:, 0], clips.motions[key] if key == "transl" else clips.motions[key][:, 0])
    turned = torch.from_numpy(made["global_orient"][:, 0] - clips.motions["global_orient"]).norm(dim=-1)
    full = torch.tensor(2 * torch.pi)
    assert bool(((turned < 1e-3) | ((turned - full).abs() < 1e-2)).all())
