"""Generated videos captured again: what capture itself would read, scores of known motions, the choice of the best."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from unimo import consistency
from unimo.cli.main import run
from unimo.consistency import Disagreement, best_of, captured_again, disagreements
from unimo.errors import InputError
from unimo.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from unimo.media.images import write_image
from unimo.motion.motion import Motion
from unimo.pipeline import UniMoPipeline
from unimo.result import Result


@pytest.fixture(scope="module")
def pipeline() -> UniMoPipeline:
    return UniMoPipeline.from_pretrained("debug")


@pytest.fixture(scope="module")
def results(pipeline: UniMoPipeline) -> list[Result]:
    picture = np.random.default_rng(0).integers(0, 255, (48, 36, 3), dtype=np.uint8)
    return pipeline.generate(picture, num_samples=3, seed=5)


@pytest.mark.parametrize("frames", [9, 4])
def test_a_video_is_captured_as_the_command_would(pipeline: UniMoPipeline, frames: int) -> None:
    picture = np.random.default_rng(1).integers(0, 255, (60, 90, 3), dtype=np.uint8)
    made = pipeline.generate(picture, num_samples=2, frames=frames, focal=80.0)
    found = captured_again(pipeline, made, seed=3, num_samples=2)
    for one, result in zip(found, made, strict=True):
        focal = float(result.motion.intrinsics[0, 0])
        wanted = pipeline.capture(result.frames, 15.0, focal=focal, seed=3, num_samples=2).motion
        assert len(one) == frames
        for name in ("body_pose", "betas", "global_orient", "transl"):
            assert np.allclose(getattr(one, name), getattr(wanted, name), atol=2e-4), name


def turned(motion: Motion, angle: float) -> Motion:
    """The motion about the camera's axis, pelvis in place."""
    turn = axis_angle_to_matrix(torch.tensor([0.0, 0.0, angle]))
    orient = turn @ torch.from_numpy(motion.rotations()[:, 0])
    return replace(motion, global_orient=matrix_to_axis_angle(orient).numpy())


def test_scores_of_known_captures(pipeline: UniMoPipeline, results: list[Result], monkeypatch) -> None:
    motion = results[0].motion
    moved = replace(motion, transl=motion.transl + np.array([0.3, 0.0, 0.4], np.float32))
    known = [motion, moved, turned(motion, 0.5)]
    monkeypatch.setattr(consistency, "captured_again", lambda *_: known)
    same, shifted, rotated = disagreements(pipeline, [results[0]] * 3)
    assert max(same.mpjpe_mm, same.root_orientation_deg) < 0.1 and same.root_translation_m < 1e-5
    # a shift is forgotten by the joints' error, a turn is not
    assert shifted.mpjpe_mm < 0.1 and shifted.root_translation_m == pytest.approx(0.5, abs=1e-4)
    assert rotated.root_orientation_deg == pytest.approx(np.degrees(0.5), abs=0.05)
    assert rotated.mpjpe_mm > 50 and rotated.pa_mpjpe_mm < 0.5


def test_the_best_is_the_one_that_disagrees_least(pipeline: UniMoPipeline, results: list[Result], monkeypatch) -> None:
    scores = [Disagreement(*values) for values in ((90, 50, 9, 1), (60.12345, 70, 20, 2), (60.12345, 10, 1, 0))]
    asked = []
    monkeypatch.setattr(consistency, "disagreements", lambda *arguments: asked.append(arguments[2:4]) or scores)
    best = best_of(pipeline, results, seed=7, num_samples=2)
    assert asked == [(7, 2)]
    assert best.motion is results[1].motion and best.run["sample"] == 1
    record = best.run["rerank"]
    assert (record["by"], record["chosen"], record["capture_seed"], record["capture_samples"]) == ("mpjpe_mm", 1, 7, 2)
    assert [one["sample"] for one in record["scores"]] == [0, 1, 2]
    assert record["scores"][1]["mpjpe_mm"] == pytest.approx(60.1235, abs=1.1e-4)
    assert record["scores"][2] == {
        "sample": 2, "mpjpe_mm": record["scores"][1]["mpjpe_mm"], "pa_mpjpe_mm": 10, "root_orientation_deg": 1,
        "root_translation_m": 0,
    }  # fmt: skip
    assert best.run["timings_s"]["rerank"] >= 0 and "rerank" not in results[1].run


def test_a_score_is_a_results_own_whoever_stands_beside_it(pipeline: UniMoPipeline, results: list[Result]) -> None:
    together = disagreements(pipeline, results, num_samples=2)
    alone = [disagreements(pipeline, [result], num_samples=2)[0] for result in results]
    assert [one.mpjpe_mm for one in together] == pytest.approx([one.mpjpe_mm for one in alone], rel=1e-3)
    assert len({round(one.mpjpe_mm, 2) for one in together}) == 3


def test_what_cannot_be_compared_is_refused(pipeline: UniMoPipeline, results: list[Result]) -> None:
    with pytest.raises(InputError, match="no results"):
        best_of(pipeline, [])
    with pytest.raises(InputError, match="this one was captured"):
        disagreements(pipeline, [replace(results[0], task="capture")])
    with pytest.raises(InputError, match="9 frames at 30 per second does not fit"):
        disagreements(pipeline, [replace(results[0], source=replace(results[0].source, fps=30.0))])
    with pytest.raises(InputError, match="no intrinsics"):
        disagreements(pipeline, [replace(results[0], motion=replace(results[0].motion, intrinsics=None))])


def unimo(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        run([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


def test_generate_rerank_keeps_one_and_says_why(tmp_path: Path, capsys) -> None:
    write_image(tmp_path / "p.png", np.random.default_rng(2).integers(0, 255, (40, 40, 3), dtype=np.uint8))
    words = ("generate", "--image", tmp_path / "p.png", "--bundle", "debug", "--no-render", "--quiet", "--seed", 3)
    for name in ("a", "b"):
        assert unimo(*words, "--num-samples", 3, "--rerank", "-o", tmp_path / name) == 0
    assert unimo(*words, "--num-samples", 3, "-o", tmp_path / "all") == 0
    records = [json.loads((tmp_path / name / "run.json").read_text()) for name in ("a", "b")]
    assert records[0]["rerank"] == records[1]["rerank"]
    chosen, scores = records[0]["sample"], records[0]["rerank"]["scores"]
    assert chosen == min(range(3), key=lambda index: scores[index]["mpjpe_mm"])
    kept, same = (np.load(tmp_path / name / "motion.npz") for name in ("a", f"all/sample_{chosen:02d}"))
    assert np.array_equal(kept["poses"], same["poses"]) and records[0]["rerank"]["capture_seed"] == 3
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"motion.npz", "video.mp4", "run.json"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--rerank",), "--rerank keeps the best of several samples, and there is one"),
        (("--rerank", "--num-samples", 2, "--temperature", 0), "at temperature 0 all samples are the same"),
    ],
)
def test_rerank_without_a_choice_is_refused_before_weights_are_looked_for(
    tmp_path: Path, capsys, options: tuple, message: str
) -> None:
    write_image(tmp_path / "p.png", np.zeros((40, 40, 3), np.uint8))
    code = unimo("generate", "--image", tmp_path / "p.png", "--bundle", "nosuch", "-o", tmp_path / "o", *options)
    assert code == 2 and message in capsys.readouterr().err and not (tmp_path / "o").exists()
