"""`unimo data prepare` whole: shards, tokens, resuming after a stop anywhere, refusals, workers, Ray."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import unimo.files
from tests.data.prepare_sources import SMALL, DeadlySource, contents, motion_of, shot, write_clip
from unimo.bundle import load_bundle
from unimo.cli import main
from unimo.data import prepare as prepare_module
from unimo.data import samples as samples_module
from unimo.data.clips import PARAMETERS
from unimo.data.extractors.protocol import PersonTrack
from unimo.data.prepare import PrepareSettings, Summary, prepare
from unimo.data.samples import Job, load_tools, prepare_source
from unimo.data.shards import read_manifest
from unimo.data.sources import Source, find_sources
from unimo.data.stages import Cutting
from unimo.data.tokens import tokenize_pack
from unimo.data.workers import in_processes
from unimo.errors import InputError, MissingAssetError
from unimo.media.video import read_video
from unimo.media.video_writer import write_video
from unimo.motion.npz import load_motion

ROOT = Path(__file__).resolve().parents[2]


def tokens_by_source(output: Path, split: str = "train") -> list[tuple[dict, dict[str, np.ndarray]]]:
    found = []
    for shard in read_manifest(output, "tokens", split):
        for _, files in shard:
            with np.load(BytesIO(files["tokens.npz"]), allow_pickle=False) as data:
                found.append((json.loads(files["json"]), dict(data)))
    return found


class TestWhole:
    def test_every_clip_is_there_once_in_the_order_of_the_sources(self, undisturbed: tuple[Path, Summary]) -> None:
        output, summary = undisturbed
        notes = [note for note, _ in tokens_by_source(output)]
        assert [note["source"] for note in notes] == [
            "clips/000000", "clips/000001", "clips/000002", "cut.mp4", "cut.mp4", "cut.mp4", "fast walk.mp4"
        ]  # fmt: skip
        assert [note["start_s"] for note in notes[3:]] == pytest.approx([0, 0.8, 1.4, 0], abs=1e-3)
        assert notes[1] == {
            "source": "clips/000001", "subject": "s1", "text": "walk 1", "label": "file", "start_s": 0.0,
            "confidence": 1.0, "focal": 41.6, "frames": 9, "fps": 15.0,
        }  # fmt: skip
        assert summary.sources == 6 and summary.clips == summary.fresh_clips == 7 and summary.shards == 8
        assert summary.seconds == pytest.approx(3 * 9 / 15 + 32 / 15 + 24 / 30, abs=0.01)
        assert summary.left_out_s == pytest.approx({"shorter than a clip": (3 + 2 + 3) / 15}, abs=0.01)

    def test_clips_and_tokens_of_one_number_hold_the_same_samples(self, undisturbed: tuple[Path, Summary]) -> None:
        clips, tokens = (read_manifest(undisturbed[0], kind) for kind in ("clips", "tokens"))
        assert [len(shard) for shard in clips] == [2, 2, 2, 1]
        for one, other in zip(clips, tokens, strict=True):
            one.verify()
            other.verify()
            assert [sample.key for sample in one.samples] == [sample.key for sample in other.samples]
            assert set(one.samples[0].files) == {"rgb.mp4", "motion.npz", "json"}
            assert set(other.samples[0].files) == {"tokens.npz", "json"}
            assert one.path.name.replace("clips", "tokens") == other.path.name

    def test_broken_videos_are_listed_with_the_reason(self, undisturbed: tuple[Path, Summary]) -> None:
        (line,) = (undisturbed[0] / "quarantine.jsonl").read_text().splitlines()
        assert json.loads(line) == {"source": "broken.mp4", "reason": "this file is not a video that can be read"}
        assert undisturbed[1].quarantined == {"this file is not a video that can be read": 1}
        names = [json.loads(line)["source"] for line in (undisturbed[0] / "sources.jsonl").read_text().splitlines()]
        assert len(names) == 6 and names == sorted(names)

    def test_tokens_are_those_of_tokenize_pack(self, videos: Path, undisturbed: tuple[Path, Summary]) -> None:
        folders = sorted((videos / "clips").iterdir())
        motions = [load_motion(folder / "motion.npz") for folder in folders]
        pack = _Pack(
            frames=np.stack([read_video(folder / "rgb.mp4") for folder in folders]),
            motions={name: np.stack([getattr(motion, name) for motion in motions]) for name in PARAMETERS},
            intrinsics=np.stack([motion.intrinsics for motion in motions]),  # type: ignore[misc]
        )
        debug = load_bundle("debug")
        wanted = tokenize_pack(pack, debug.visual_tokenizer, debug.motion_tokenizer, debug.settings.canonical_focal)  # type: ignore[arg-type]
        for row, (_, arrays) in enumerate(tokens_by_source(undisturbed[0])[:3]):
            for name in ("visual_ids", "motion_ids", "features"):
                expected = getattr(wanted, name)[row]
                assert arrays[name].dtype == expected.dtype and np.array_equal(arrays[name], expected), name

    def test_a_clips_files_are_its_video_and_motion(
        self, videos: Path, undisturbed: tuple[Path, Summary], tmp_path: Path
    ) -> None:
        files = read_manifest(undisturbed[0], "clips")[0].read(0)
        for name in ("rgb.mp4", "motion.npz"):
            (tmp_path / name).write_bytes(files[name])
        folder = videos / "clips" / "000000"
        again = read_video(tmp_path / "rgb.mp4").astype(int)
        assert np.abs(again - read_video(folder / "rgb.mp4")).mean() < 2
        motion, before = load_motion(tmp_path / "motion.npz"), load_motion(folder / "motion.npz")
        assert np.array_equal(motion.transl, before.transl) and np.array_equal(motion.body_pose, before.body_pose)
        assert motion.intrinsics == pytest.approx(before.intrinsics) and motion.fps == before.fps == 15

    def test_validation_subjects_have_shards_of_their_own(self, videos: Path, tmp_path: Path) -> None:
        settings = PrepareSettings("debug", shard_size=2, validation_subjects=("s0", "cut"))
        prepare(videos, tmp_path / "out", settings, workers=1)
        held_out = [note["subject"] for note, _ in tokens_by_source(tmp_path / "out", "validation")]
        assert held_out == ["s0", "s0", "cut", "cut", "cut"]
        assert {note["subject"] for note, _ in tokens_by_source(tmp_path / "out")} == {"s1", "fast walk"}

    def test_a_complete_folder_is_left_as_it_is(self, videos: Path, undisturbed: tuple[Path, Summary]) -> None:
        before = contents(undisturbed[0])
        again = prepare(videos, undisturbed[0], SMALL, workers=1)
        assert contents(undisturbed[0]) == before
        assert again.clips == 7 and again.fresh_clips == 0 and again.shards == 8


class _Pack(SimpleNamespace):
    def __len__(self) -> int:
        return len(self.frames)


class Stop(BaseException):
    """What a kill is in these tests."""


def stop_at(step: int, after: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program dies before or after its `step`-th rename, and leaves what it was writing."""
    real, count = os.replace, iter(range(10_000))

    def replace(source: Any, target: Any) -> None:
        if next(count) == step:
            if after:
                real(source, target)
            else:
                shutil.copy(source, f"{source}.left")
            raise Stop
        real(source, target)

    monkeypatch.setattr(unimo.files.os, "replace", replace)


class TestStops:
    def test_a_stop_at_any_write_loses_and_doubles_nothing(self, tmp_path: Path) -> None:
        folder, settings, stops = tmp_path / "in", PrepareSettings("debug", shard_size=1), 0
        for seed in range(2):
            write_clip(folder / f"{seed}", seed)
        prepare(folder, tmp_path / "expected", settings, workers=1)
        expected = contents(tmp_path / "expected")
        for step in range(40):
            output = tmp_path / f"out{step}"
            with pytest.MonkeyPatch.context() as patch:
                stop_at(step, bool(step % 2), patch)
                try:
                    prepare(folder, output, settings, workers=1)
                except Stop:
                    stops += 1
            if stops == step:  # it came to its end
                break
            prepare(folder, output, settings, workers=1)
            assert contents(output) == expected, step
        # renames: the request; of a source video, motion, samples and record; shards and their lines; the three lists
        assert stops == 1 + 2 * 4 + 2 * 4 + 3

    def test_finished_sources_are_not_done_again(
        self, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        done: list[str] = []

        def counted(job: Job, source: Source) -> None:
            done.append(source.name)
            if done.count("cut.mp4") == 1 and source.name == "cut.mp4":
                raise Stop
            prepare_source(job, source)

        monkeypatch.setattr("unimo.data.workers.prepare_source", counted)
        with pytest.raises(Stop):
            prepare(videos, tmp_path / "out", SMALL, workers=1)
        summary = prepare(videos, tmp_path / "out", SMALL, workers=1)
        assert sorted(done) == sorted([source.name for source in find_sources(videos)] + ["cut.mp4"])
        assert summary.clips == 7 and summary.fresh_clips == 4

    def test_a_changed_source_or_setting_is_refused(self, videos: Path, tmp_path: Path) -> None:
        folder, output = tmp_path / "in", tmp_path / "out"
        shutil.copytree(videos, folder)
        with pytest.MonkeyPatch.context() as patch:
            stop_at(8, True, patch)
            with pytest.raises(Stop):
                prepare(folder, output, SMALL, workers=1)
        with pytest.raises(InputError, match="with shard_size 2, now 3 is asked for"):
            prepare(folder, output, PrepareSettings("debug", shard_size=3), workers=1)
        os.utime(folder / "broken.mp4")
        rgb = folder / "clips" / "000000" / "rgb.mp4"
        os.utime(rgb)
        content = rgb.read_bytes()
        rgb.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(InputError, match="clips/000000 has changed since it was prepared"):
            prepare(folder, output, SMALL, workers=1)
        rgb.write_bytes(content)
        (folder / "new.mp4").write_bytes(b"x")
        with pytest.raises(InputError, match=r"new\.mp4 is new"):
            prepare(folder, output, SMALL, workers=1)
        (folder / "new.mp4").unlink()
        assert prepare(folder, output, SMALL, workers=1).clips == 7  # what was only touched is no change


class TestCommand:
    def run(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str]:
        with pytest.raises(SystemExit) as stopped:
            main.run(["data", "prepare", *arguments])
        captured = capsys.readouterr()
        return stopped.value.code, captured.out + captured.err

    def test_the_summary(self, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        output = str(tmp_path / "out")
        code, text = self.run(capsys, str(videos), output, "--bundle", "debug", "--workers", "1", "--shard-size", "3")
        assert code == 0
        assert "6 videos, 4.7 s of them readable" in text and "7 clips in 6 shards (7 made now" in text
        assert "left out: 1 video: this file is not a video that can be read" in text
        assert "left out: 0.5 s: shorter than a clip" in text

    @pytest.mark.parametrize(
        ("more", "words"),
        [
            (["--extractor", "openpose"], "no extractor called 'openpose'"),
            (["--ray", "auto", "--workers", "2"], "--workers is for one machine"),
        ],
    )
    def test_wrong_options(
        self, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], words: str
    ) -> None:
        code, text = self.run(capsys, str(videos), str(tmp_path / "out"), *more)
        assert code == 2 and words in text and not (tmp_path / "out").exists()


class FakeExtractor:
    """Finds one person, whom it loses for a while, and a second one now and then."""

    name = "fake"

    def extract(self, video: Path) -> list[PersonTrack]:
        if "nobody" in video.name:
            return []
        if "bug" in video.name:
            raise RuntimeError("index out of range")
        frames = np.r_[0:14, 20:60]
        confidence = np.full(len(frames), 0.75, np.float32)
        one = PersonTrack(frames, motion_of(len(frames), 15), confidence, np.zeros((len(frames), 4), np.float32))
        return [one, PersonTrack(np.arange(32, 40), motion_of(8, 15), confidence[:8], np.zeros((8, 4), np.float32))]


class TestExtractors:
    @pytest.fixture(autouse=True)
    def fake(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        load_tools.cache_clear()
        monkeypatch.setattr(samples_module, "extractor_called", lambda name: name and FakeExtractor())
        yield
        load_tools.cache_clear()

    def test_single_person_stretches_of_a_labelled_video(self, tmp_path: Path) -> None:
        folder = tmp_path / "in"
        for name in ("walk", "nobody", "bug"):
            write_video(folder / f"{name}.mp4", shot(0, 60), 15)
        settings = PrepareSettings("debug", "mediapipe")
        summary = prepare(folder, tmp_path / "out", settings, workers=1)
        notes = [note for note, _ in tokens_by_source(tmp_path / "out")]
        assert [note["start_s"] for note in notes] == pytest.approx([0, 20 / 15, 40 / 15, 49 / 15], abs=1e-3)
        assert {(note["label"], note["confidence"]) for note in notes} == {("mediapipe", 0.75)}
        assert summary.quarantined == {"RuntimeError: index out of range": 1}
        assert summary.left_out_s == pytest.approx(
            {"nobody seen surely": 4 + 6 / 15, "more than one person": 8 / 15, "shorter than a clip": (5 + 3 + 2) / 15},
            abs=0.01,
        )

    def test_an_extractor_that_is_not_installed_ends_the_run(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def missing(self: FakeExtractor, video: Path) -> list:
            raise MissingAssetError("no environment", None, "make mediapipe")

        monkeypatch.setattr(FakeExtractor, "extract", missing)
        write_video(tmp_path / "in" / "walk.mp4", shot(0, 60), 15)
        with pytest.raises(MissingAssetError, match="no environment"):
            prepare(tmp_path / "in", tmp_path / "out", PrepareSettings("debug", "mediapipe"), workers=1)
        assert not (tmp_path / "out" / "quarantine.jsonl").exists()


class TestWorkers:
    def test_two_processes_write_what_one_does_and_survive_a_deadly_source(
        self, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = [source for source in find_sources(videos) if source.name != "cut.mp4"]
        monkeypatch.setattr(prepare_module, "find_sources", lambda folder: found)
        prepare(videos, tmp_path / "one", SMALL, workers=1)
        deadly = DeadlySource("aaa.mp4", videos / "broken.mp4", None, None, "aaa")
        found.insert(0, deadly)
        summary = prepare(videos, tmp_path / "two", SMALL, workers=2)
        assert summary.clips == 4 and summary.quarantined.total() == 2
        assert [reason for reason in summary.quarantined if "worker processes died" in reason]
        expected = {name: value for name, value in contents(tmp_path / "one").items() if ".tar" in name}
        assert {name: value for name, value in contents(tmp_path / "two").items() if ".tar" in name} == expected
        assert len(expected) == 4

    @pytest.mark.parametrize("side", [64, 128])
    def test_a_video_is_encoded_to_the_same_bytes_in_another_process(self, side: int, tmp_path: Path) -> None:
        code = (
            "import sys; from tests.data.prepare_sources import shot; from unimo.media.video_writer import write_video;"
            f"write_video(sys.argv[1], shot(3, 17, {side}, {side}), 15, crf=4, full_chroma=True, reproducible=True)"
        )
        # fresh memory full of other bytes: an encoder that reads before it writes is found out
        env = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tokenizers'}", "MALLOC_PERTURB_": "85"}
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.mp4")], check=True, env=env)
        write_video(tmp_path / "b.mp4", shot(3, 17, side, side), 15, crf=4, full_chroma=True, reproducible=True)
        assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()

    def test_an_error_of_the_machine_ends_the_run(self, videos: Path, tmp_path: Path) -> None:
        job = Job(tmp_path / "work", "debug", None, Cutting(15, 9, 9, 32, "open", 0.5))
        (tmp_path / "work").touch()  # no folder can be made here
        with pytest.raises(OSError):
            list(in_processes(job, find_sources(videos), 1))
