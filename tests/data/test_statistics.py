"""Statistics and their page: known motions give known numbers, and one HTML file holds all of it."""

from __future__ import annotations

import json
import re
import shutil
import weakref
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from unimo.data import collection as collections
from unimo.data.collection import Sample, load_collection
from unimo.data.report_charts import bars, histogram
from unimo.data.report_page import write_data_report
from unimo.data.shards import MANIFEST, write_shard
from unimo.data.statistics import ANGLE_EDGES, describe, pose_space
from unimo.errors import InputError
from unimo.motion.motion import Motion
from unimo.motion.npz import save_motion
from unimo.synth.engine import generate_clips
from unimo.synth.gait import gait_library
from unimo.synth.puppet import load_puppet
from unimo.synth.scene import SceneConfig

LEVEL = np.diag([1.0, -1.0, -1.0, 1.0])


def standing(frames: int = 11, speed: float = 0.0, angle: float = 0.0, fps: float = 10.0) -> Motion:
    """A body that stands upright or glides along x, its left knee bent by an angle in degrees."""
    pose, transl = np.zeros((frames, 21, 3)), np.zeros((frames, 3))
    pose[:, 3, 0] = np.radians(angle)
    transl[:, 0] = speed * np.arange(frames) / fps
    return Motion(pose, np.zeros(10), np.zeros((frames, 3)), transl, fps, axes="world")


def seen_by(motion: Motion, height: float, pitch: float, moving: float = 0.0) -> Motion:
    """The same body before a camera `height` metres up, 4 m away, that looks down by `pitch` degrees."""
    frames, turn = len(motion), np.radians(pitch)
    cam2world = np.tile(LEVEL, (frames, 1, 1))
    cam2world[:, :3, :3] = LEVEL[:3, :3] @ [
        [1, 0, 0], [0, np.cos(turn), np.sin(turn)], [0, -np.sin(turn), np.cos(turn)]
    ]  # fmt: skip
    cam2world[:, :3, 3] = [0, height, 4]
    cam2world[:, 0, 3] += moving * np.arange(frames) / motion.fps
    intrinsics = np.array([[96.0, 0, 32], [0, 96.0, 32], [0, 0, 1]])
    transl = np.einsum("tji,tj->ti", cam2world[:, :3, :3], motion.transl - cam2world[:, :3, 3])
    return replace(motion, transl=transl, axes="camera", cam2world=cam2world, intrinsics=intrinsics)


def test_speeds_activity_and_posture() -> None:
    crouch = standing()
    crouch.body_pose[:, [0, 1], 0], crouch.body_pose[:, [3, 4], 0] = -1.9, 2.4  # hips and knees
    samples = [Sample("still", standing()), Sample("walk", standing(speed=1.5)), Sample("run", standing(speed=4.0)),
               Sample("low", crouch)]  # fmt: skip
    found = describe(samples)
    np.testing.assert_allclose(found.numbers["travel"], [0, 1.5, 4.0, 0], atol=1e-4)
    np.testing.assert_allclose(found.numbers["stir"], [0, 1.5, 4.0, 0], atol=1e-4)
    assert found.activity == {"still": 0.5, "moving in place": 0, "walking": 0.25, "running": 0.25}
    assert found.posture["upright"] == 0.75 and found.posture["bent or seated"] + found.posture["on the ground"] == 0.25
    np.testing.assert_allclose(found.numbers["seconds"], 1.1)
    assert found.frames == 44 and found.counts["frame rate"] == {"10 fps": 4}
    assert found.unusual[0].reason == "pose" and samples[found.unusual[0].index].name == "low"


def test_a_moving_camera_moves_nobody() -> None:
    found = describe([Sample("a", seen_by(standing(), 1.5, 0.0, moving=2.0))])
    assert found.numbers["travel"][0] < 1e-3 and found.camera_moves == 1.0
    assert found.activity["still"] == 1.0


def test_camera_numbers() -> None:
    found = describe([Sample("a", seen_by(standing(), 1.2, 20.0)), Sample("b", standing())])
    assert found.numbers["focal"][0] == pytest.approx(1.5) and found.camera_moves == 0.0
    assert found.numbers["pitch"][0] == pytest.approx(20.0, abs=1e-3)
    assert found.numbers["eye"][0] == pytest.approx(1.2)
    assert np.isnan([found.numbers[key][1] for key in ("focal", "pitch", "eye", "distance", "fill")]).all()
    assert found.numbers["stature"][1] == pytest.approx(load_puppet("open").stature)


def test_joint_angles_are_shares_of_all_frames() -> None:
    found = describe([Sample("a", standing(angle=95.0, frames=30)), Sample("b", standing(frames=10))])
    knee = found.angles[3]
    assert knee[9] == pytest.approx(0.75) and knee[0] == pytest.approx(0.25) and len(knee) == len(ANGLE_EDGES) - 1
    np.testing.assert_allclose(found.angles.sum(axis=1), 1)
    assert found.ranges[3, 1] == pytest.approx(95.0, abs=1e-3) and found.ranges[4, 1] == 0


def test_pose_space_finds_the_one_that_is_different() -> None:
    rng = np.random.default_rng(0)
    direction = np.zeros(12)
    direction[:2] = [3.0, 4.0]
    sampled = [rng.normal(size=(20, 1)) * direction + 0.01 * rng.normal(size=(20, 12)) for _ in range(5)]
    sampled[3] = sampled[3] + 4 * direction
    share, poses, strangeness = pose_space(sampled)
    assert share[0] > 0.99 and share.sum() == pytest.approx(1) and poses.shape == (100, 2)
    assert strangeness.argmax() == 3
    same, _, none = pose_space([np.ones((4, 12))])
    assert len(same) == 0 and none.tolist() == [0]


class Page(HTMLParser):
    """Tags that are open, pictures and whatever would be fetched from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[str] = []
        self.fetched: list[str] = []
        self.titles: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)
        for name, value in attrs:
            if name == "src":
                self.images.append(value or "")
            if tag in ("script", "link", "iframe") or (name == "href" and not (value or "").startswith("#")):
                self.fetched.append(f"{tag} {name}={value}")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("h2", "h3"):
            self.titles.append(data)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    generate_clips(gait_library(2, seconds=3.0), 3, 1, folder, SceneConfig(side=64, frames=5, fps=7.5), workers=1)
    return folder


def test_the_page_of_clips(clips: Path, tmp_path: Path) -> None:
    text = write_data_report(clips, tmp_path / "a.html").read_text()
    page = Page(text)
    assert page.open == [] and page.fetched == []
    assert len(page.images) == 3 + 2 and all(uri.startswith("data:image/jpeg;base64,") for uri in page.images)
    assert {"Motion", "Poses", "Shape", "Camera", "Contact sheet", "Most unusual"} <= set(page.titles)
    assert "<b>3</b>clips" in text and "<b>15</b>frames" in text and "<b>7.5 fps</b>" in text
    assert "currentColor" in text and "prefers-color-scheme: dark" in text and not re.search("#012345|#543210", text)


def test_charts_follow_from_the_numbers_alone() -> None:
    values = np.random.default_rng(0).normal(size=100)
    values[3] = np.nan
    assert histogram(values, "m") == histogram(values, "m") != histogram(values + 1, "m")
    assert "m (median" in histogram(np.ones(3), "m")
    assert "a &lt; b" in bars({"a < b": 0.5}, "x", percent=True)


def test_motion_files_and_words_that_look_like_html(tmp_path: Path) -> None:
    for name in ("<b>one", "two"):
        save_motion(tmp_path / "motions" / name / "walk.npz", standing(speed=1.0))
    text = write_data_report(tmp_path / "motions", tmp_path / "a.html").read_text()
    page = Page(text)
    assert page.open == [] and len(page.images) == 4 and "Camera" not in page.titles
    assert "<b>2</b>motions" in text and "&lt;b&gt;one" in text


def test_prepared_shards(clips: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in (clips / "clips").iterdir())
    samples = []
    for number, name in enumerate(names):
        files = {file: (clips / "clips" / name / file).read_bytes() for file in ("rgb.mp4", "motion.npz")}
        record = {"subject": "s1", "source": "v.mp4", "text": "a walk", "confidence": 0.5 + 0.1 * number}
        samples.append((f"{name}-x", files | {"json": json.dumps(record).encode()}))
    shards = [write_shard(tmp_path, "clips", "train", 0, samples[:2]),
              write_shard(tmp_path, "clips", "validation", 0, samples[2:])]  # fmt: skip
    (tmp_path / MANIFEST).write_text("".join(json.dumps(shard.line()) + "\n" for shard in shards))
    (tmp_path / "prepare.json").write_text("{}")
    (tmp_path / "quarantine.jsonl").write_text('{"source": "bad.mp4", "reason": "no person was found"}\n')
    collection = load_collection(tmp_path)
    assert collection.kind == "shards" and [one.split for one in collection.samples] == ["train", "train", "validation"]
    read = collection.samples[0].read_frames
    assert read is not None and read().shape == (5, 64, 64, 3)
    found = describe(collection.samples)
    np.testing.assert_allclose(found.numbers["confidence"], [0.5, 0.6, 0.7])
    assert found.counts["text"] == {"a walk": 3} and found.counts["split"] == {"train": 2, "validation": 1}
    text = write_data_report(tmp_path, tmp_path / "a.html").read_text()
    assert Page(text).open == [] and "no person was found" in text and "bad.mp4" in text and "a walk" in text
    assert {"Confidence of the labels", "Text labels", "Left out"} <= set(Page(text).titles)


def test_the_most_unusual_say_on_which_side_they_are(tmp_path: Path) -> None:
    speeds = [1.0, 1.1, 0.9, 1.05, 0.95, 0.0]
    samples = [Sample(f"m{i}", standing(speed=speed)) for i, speed in enumerate(speeds)]
    found = describe(samples)
    assert (found.unusual[0].index, found.unusual[0].source, found.unusual[0].reason) == (5, "m5", "speed")
    assert found.unusual[0].score == pytest.approx(-0.975 / 0.075, abs=0.05)
    assert np.all(np.diff([abs(one.score) for one in found.unusual]) <= 1e-9)
    for sample in samples:
        save_motion(tmp_path / "motions" / sample.name / "walk.npz", sample.motion)
    text = write_data_report(tmp_path / "motions", tmp_path / "a.html").read_text()
    assert "13.0 usual deviations below the middle in speed: m5/walk" in text
    assert not re.search(r"-[\d.]+ usual deviations", text) and "above the middle" in text


def test_damaged_clips_are_named_and_do_not_end_the_report(
    clips: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(clips, folder)
    first, second, third = sorted((folder / "clips").iterdir())
    (first / "motion.npz").write_bytes(b"PK\x03\x04")
    (second / "rgb.mp4").write_bytes(b"no video")
    text = write_data_report(folder, tmp_path / "a.html").read_text()
    page = Page(text)
    assert page.open == [] and "<b>2</b>clips" in text and "<b>1</b>left out" in text and "<b>10</b>frames" in text
    assert {"Damaged: cannot be read", "Damaged: cannot be drawn, such as by its video; counted nevertheless"} <= set(
        page.titles
    )
    cut_off, bad_video = (text.split("<h2>Damaged")[i].split("</table>")[0] for i in (1, 2))
    assert "this .npz file is cut off" in cut_off and first.name in cut_off and third.name not in cut_off
    assert second.name in bad_video and first.name not in bad_video
    assert f"1 of 3 cannot be read and are left out; the first is {first.name}" in caplog.text
    assert f"{second.name} cannot be drawn" in caplog.text


def test_motions_are_not_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        save_motion(tmp_path / f"{number}/walk.npz", standing(speed=number))
    alive, most = weakref.WeakSet(), []

    def watched(*arguments) -> Sample:
        sample = Sample(*arguments)
        alive.add(sample.motion)
        most.append(len(alive))
        return sample

    monkeypatch.setattr(collections, "Sample", watched)
    found = describe(load_collection(tmp_path).samples)
    assert found.frames == 6 * 11 and len(most) == 12 and max(most) <= 2


def test_what_cannot_be_described_is_refused(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such motion file or folder"):
        load_collection(tmp_path / "nowhere")
    (tmp_path / "prepare.json").write_text("{}")
    with pytest.raises(InputError, match="not prepared to its end"):
        load_collection(tmp_path)
    broken = write_shard(tmp_path, "clips", "train", 0, [("a", {"motion.npz": BytesIO(b"x").getvalue()})])
    (tmp_path / MANIFEST).write_text(json.dumps(broken.line()))
    with pytest.raises(InputError):
        load_collection(tmp_path)
