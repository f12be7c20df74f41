"""What `unimo data prepare` refuses, and that a refused or failed call leaves nothing in the way of the next one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.data.prepare_sources import SMALL, motion_of, shot, write_clip, write_walk
from unimo.data import prepare as prepare_module
from unimo.data.prepare import PrepareSettings, prepare
from unimo.data.samples import Job, prepare_source
from unimo.data.sources import Source
from unimo.errors import InputError, MissingAssetError, UniMoError
from unimo.media.video_writer import write_video
from unimo.motion.npz import save_motion


class TestRefusals:
    def test_places(self, videos: Path, tmp_path: Path) -> None:
        for output in (videos, videos / "out", videos.parent):
            with pytest.raises(InputError, match="side by side"):
                prepare(videos, output, SMALL)
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "thesis.tex").touch()
        with pytest.raises(InputError, match="not empty"):
            prepare(videos, tmp_path / "full", SMALL)
        (tmp_path / "file").touch()
        with pytest.raises(InputError, match="cannot be written"):
            prepare(videos, tmp_path / "file" / "out", SMALL)

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            (PrepareSettings("debug", frames=16), "1 \\+ 8n frames"),
            (PrepareSettings("debug", stride=0, frames=9, shard_size=0), "at least 1"),
            (PrepareSettings("debug", min_confidence=1.5), "between 0 and 1"),
            (PrepareSettings("debug", validation_subjects=("s0", "s9")), "validation subject 's9'"),
        ],
    )
    def test_settings(self, videos: Path, tmp_path: Path, settings: PrepareSettings, words: str) -> None:
        with pytest.raises(InputError, match=words):
            prepare(videos, tmp_path / "out", settings)
        assert not (tmp_path / "out").exists()

    def test_videos_that_nothing_labels(self, tmp_path: Path) -> None:
        write_video(tmp_path / "in" / "walk.mp4", shot(0, 12), 15)
        with pytest.raises(InputError, match="no extractor was chosen"):
            prepare(tmp_path / "in", tmp_path / "out", SMALL)

    def test_every_unusable_source_has_its_reason_and_no_clip_is_an_error(self, tmp_path: Path) -> None:
        folder = tmp_path / "in"
        write_walk(folder / "short.mp4", frames=3)
        write_walk(folder / "one.mp4", frames=1)
        save_motion(write_walk(folder / "other.mp4").with_suffix(".npz"), motion_of(7, 15))
        nan = write_walk(folder / "nan.mp4").with_suffix(".npz")
        with np.load(nan) as data:
            arrays = dict(data)
        arrays["trans"][3] = np.nan
        np.savez(nan, **arrays)
        cut = write_walk(folder / "cut.mp4", frames=60)
        cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
        write_walk(folder / "empty.mp4").write_bytes(b"")
        write_clip(folder / "clip") / "clip.json"
        (folder / "clip" / "clip.json").write_text("{")
        with pytest.raises(InputError, match="not one clip came out of 7 videos"):
            prepare(folder, tmp_path / "out", SMALL, workers=1)
        lines = (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()
        reasons = {line["source"]: line["reason"] for line in map(json.loads, lines)}
        assert sorted(reasons) == ["clip", "cut.mp4", "empty.mp4", "nan.mp4", "other.mp4"]
        assert "damaged" in reasons["clip"] and "0 bytes" in reasons["empty.mp4"]
        assert "NaN" in reasons["nan.mp4"] and "12 frames, the motion beside it 7" in reasons["other.mp4"]
        assert "moov" in reasons["cut.mp4"] or "cut short" in reasons["cut.mp4"]
        assert not any(str(tmp_path) in reason for reason in reasons.values())


class TestFailedCalls:
    """A call that ends before a video is finished leaves no request that a corrected one would be compared with."""

    @pytest.mark.parametrize(("address", "words"), [("auto", "no Ray cluster"), ("127.0.0.1:1", "no Ray cluster")])
    def test_without_a_cluster_nothing_is_written(
        self, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, words: str
    ) -> None:
        pytest.importorskip("ray", reason="Ray is not installed")
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        with pytest.raises(InputError, match=words):
            prepare(videos, tmp_path / "out", SMALL, ray=address)
        assert not (tmp_path / "out").exists()

    def test_without_ray_nothing_is_written(
        self, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "ray", None)
        with pytest.raises(MissingAssetError, match="Ray is not installed"):
            prepare(videos, tmp_path / "out", SMALL, ray="auto")
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("stop", [MissingAssetError("no environment"), KeyboardInterrupt()])
    def test_a_call_that_finished_no_video_may_be_corrected(
        self, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: BaseException
    ) -> None:
        def fail(job: Job, source: Source) -> None:
            raise stop

        with monkeypatch.context() as patch:
            patch.setattr("unimo.data.workers.prepare_source", fail)
            with pytest.raises(type(stop)):
                prepare(videos, tmp_path / "out", PrepareSettings("debug", shard_size=3), workers=1)
        assert not list((tmp_path / "out").iterdir())
        assert prepare(videos, tmp_path / "out", SMALL, workers=1).clips == 7

    def test_a_call_that_finished_a_video_may_not(
        self, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail_later(job: Job, source: Source) -> None:
            if source.name == "cut.mp4":
                raise MissingAssetError("no environment")
            prepare_source(job, source)

        with monkeypatch.context() as patch:
            patch.setattr("unimo.data.workers.prepare_source", fail_later)
            with pytest.raises(MissingAssetError):
                prepare(videos, tmp_path / "out", SMALL, workers=1)
        with pytest.raises(InputError, match="with shard_size 2, now 3 is asked for"):
            prepare(videos, tmp_path / "out", PrepareSettings("debug", shard_size=3), workers=1)
        assert prepare(videos, tmp_path / "out", SMALL, workers=1).clips == 7

    def test_a_failing_second_call_keeps_what_the_first_asked(
        self, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def killed(job: Job, source: Source) -> None:
            raise SystemExit

        monkeypatch.setattr("unimo.data.workers.prepare_source", killed)
        with pytest.raises(SystemExit):
            prepare(videos, tmp_path / "out", SMALL, workers=1)
        monkeypatch.setattr(prepare_module, "in_processes", _raise(UniMoError("no")))
        with pytest.raises(UniMoError):
            prepare(videos, tmp_path / "out", SMALL, workers=1)
        assert (tmp_path / "out" / "prepare.json").is_file()


def _raise(error: Exception):
    def fail(*_):
        raise error

    return fail
