"""`synthetic-val`: the definition's motions in order, a hash of motion and cameras alone, clear words without it."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from unimo.bundle import load_bundle
from unimo.errors import InputError
from unimo.evaluation import datasets_synthetic as module
from unimo.evaluation import datasets_synthetic_val as definition
from unimo.evaluation.datasets import clips_of, made_by_one
from unimo.evaluation.request import ClipSource
from unimo.motion.npz import load_motion, save_motion
from unimo.synth.gait import gait_library

FIXTURE = Path(__file__).parents[1] / "fixtures" / "evaluation" / "clips"
SETTINGS = load_bundle("debug").settings


@pytest.fixture(autouse=True)
def small(empty_cache: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two clips of three trials, in an empty cache."""
    monkeypatch.setattr(definition, "CLIPS", 2)
    monkeypatch.setattr(definition, "SUBJECTS", ("02", "03"))
    monkeypatch.setattr(definition, "TRIALS", ("03/b", "02/a", "02/c"))


@pytest.fixture
def mocap(tmp_path: Path) -> Path:
    """Walks of three people, one of whom is not in the set."""
    for (subject, name), named in zip([("02", "a"), ("03", "b"), ("04", "d")], gait_library(count=3), strict=True):
        (tmp_path / "mocap" / subject).mkdir(parents=True, exist_ok=True)
        save_motion(tmp_path / "mocap" / subject / f"{name}.npz", named.motion)
    return tmp_path / "mocap"


def test_the_set_is_made_once_and_checked_against_the_definition(
    mocap: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = ClipSource(dataset="synthetic-val", data=mocap, workers=1)
    with caplog.at_level(logging.WARNING):
        folder, about = clips_of(source, SETTINGS)
    assert "1 of 3 motions are missing" in caplog.text and "no hash of synthetic-val is known" in caplog.text
    records = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    assert len(records) == 2 and {record["source"] for record in records} <= {"02/a", "03/b"}
    digest = about["motion_and_cameras_sha256"]
    assert about["matches_the_definition"] is None and digest == module.clips_digest(folder, 2)
    key = (SETTINGS.frames, float(SETTINGS.fps), SETTINGS.side, SETTINGS.body)
    monkeypatch.setitem(definition.SHA256, key, digest)
    # without mocap the cache is enough, and the second time nothing is drawn, so no renderer is needed
    monkeypatch.setattr(module, "generate_clips", lambda *_: pytest.fail("drawn again"))
    for again in (source, replace(source, data=None)):
        found, about = clips_of(again, SETTINGS)
        assert found == folder and about["matches_the_definition"] is True
    with monkeypatch.context() as later, pytest.raises(pytest.fail.Exception, match="drawn again"):
        later.setattr(module, "__version__", "another")
        clips_of(source, SETTINGS)
    # another archive has left a set of other motions, later
    other = folder.with_name("0")
    shutil.copytree(folder, other)
    moved = load_motion(other / "clips/000000/motion.npz")
    save_motion(other / "clips/000000/motion.npz", replace(moved, transl=moved.transl + 1))
    (other / "manifest.jsonl").touch()
    assert clips_of(replace(source, data=None), SETTINGS)[0] == folder
    monkeypatch.setitem(definition.SHA256, key, module.clips_digest(other, 2))
    assert clips_of(replace(source, data=None), SETTINGS)[0] == other
    shutil.rmtree(other)
    caplog.clear()
    monkeypatch.setitem(definition.SHA256, key, "0" * 64)
    assert clips_of(replace(source, data=None), SETTINGS)[1]["matches_the_definition"] is False
    assert "are not those of synthetic-val" in caplog.text


def test_a_second_run_waits_until_the_first_has_made_the_set(tmp_path: Path) -> None:
    order = []

    def second() -> None:
        with made_by_one(tmp_path / "set"):
            order.append("second")

    thread = Thread(target=second)
    with made_by_one(tmp_path / "set"):
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_the_order_of_the_motions_is_the_definitions(mocap: Path) -> None:
    assert [named.name for named in module._library(mocap, 1, None)] == ["03/b", "02/a"]


def test_without_motion_capture_the_error_says_where_it_comes_from(tmp_path: Path, mocap: Path) -> None:
    with pytest.raises(InputError) as caught:
        clips_of(ClipSource(dataset="synthetic-val"), SETTINGS)
    assert "mocap.cs.cmu.edu" in str(caught.value) and "--data cmu_val.zip" in str(caught.value)
    shutil.rmtree(mocap / "03")
    with pytest.raises(InputError, match="the motions have no subject 03") as caught:
        clips_of(ClipSource(dataset="synthetic-val", data=mocap), SETTINGS)
    assert "mocap.cs.cmu.edu" in str(caught.value)


def test_the_hash_is_of_motion_and_cameras_not_of_pixels(tmp_path: Path) -> None:
    shutil.copytree(FIXTURE, tmp_path / "clips")
    before = module.clips_digest(tmp_path / "clips", 8)
    clip = tmp_path / "clips" / "clips" / "000003"
    (clip / "rgb.mp4").write_bytes(b"other pixels")
    (clip / "annotations.npz").unlink()
    assert module.clips_digest(tmp_path / "clips", 8) == before
    assert module.clips_digest(tmp_path / "clips", 7) != before
    motion = load_motion(clip / "motion.npz")
    moved = np.nextafter(motion.transl, np.float32(9))
    save_motion(clip / "motion.npz", replace(motion, transl=moved))
    assert module.clips_digest(tmp_path / "clips", 8) != before


def test_the_committed_definition_is_the_one_that_results_are_of() -> None:
    from importlib import reload

    fresh = reload(definition)
    assert (fresh.FIRST_SEED, fresh.CLIPS, len(fresh.TRIALS)) == (1_000_000_000, 64, 72)
    assert fresh.TRIALS[0] == "cmu_02_01" and {name.split("_")[1] for name in fresh.TRIALS} == set(fresh.SUBJECTS)
    mini = load_bundle("mini").settings
    assert (mini.frames, float(mini.fps), mini.side, mini.body) in fresh.SHA256
