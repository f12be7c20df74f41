"""Who is to blame when preparing a video fails: the video, which goes to the quarantine, or the machine."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.data.prepare_sources import DeadlySource, HugeSource, write_walk
from unimo.data.ray_backend import _row, _Work
from unimo.data.samples import Job, Unusable, _guarded
from unimo.data.sources import Source
from unimo.data.stages import Cutting
from unimo.data.workers import DIED, MEMORY, in_processes
from unimo.errors import InputError


def failing(error: Exception, cause: Exception | None = None) -> Iterator[tuple[str, dict[str, bytes]]]:
    yield "first", {}
    raise error from cause


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE])
def test_a_full_disk_is_not_the_fault_of_a_video(number: int) -> None:
    full = OSError(number, "no room")
    for samples in (failing(full), failing(InputError("it cannot be written"), full)):
        with pytest.raises(OSError) as caught:
            list(_guarded(samples))
        assert caught.value.errno == number


@pytest.mark.parametrize(
    "error",
    [MemoryError(), OSError(errno.ENOMEM, "no room"), RuntimeError("DefaultCPUAllocator: can't allocate memory")],
)
def test_too_little_memory_is_told_apart(error: Exception) -> None:
    for samples in (failing(error), failing(InputError("it cannot be read"), error)):
        with pytest.raises(MemoryError):
            list(_guarded(samples))


def test_other_errors_are() -> None:
    for error in (OSError(errno.EIO, "unreadable"), InputError("unreadable"), IndexError("unreadable")):
        with pytest.raises(Unusable, match="unreadable"):
            list(_guarded(failing(error)))


def test_the_last_video_that_is_left_may_be_deadly_too(tmp_path: Path) -> None:
    (tmp_path / "walk.mp4").write_bytes(b"no video at all")
    job = Job(tmp_path / "work", "debug", None, Cutting(15, 9, 9, 32, "open", 0.5))
    source = DeadlySource("walk.mp4", tmp_path / "walk.mp4", None, None, "walk")
    assert list(in_processes(job, [source], 2)) == [source]
    assert json.loads(job.record_path(source).read_text())["reason"] == DIED


@pytest.mark.parametrize("workers", [1, 2])
def test_a_video_that_takes_too_much_memory_is_left_out_and_the_others_go_on(tmp_path: Path, workers: int) -> None:
    good = [Source(n, write_walk(tmp_path / f"{n}.mp4", int(n)), tmp_path / f"{n}.npz", None, "anna") for n in "124"]
    huge = HugeSource("3", good[0].video, None, None, "anna")
    job = Job(tmp_path / "work", "debug", None, Cutting(15, 9, 9, 32, "open", 0.5))
    done = list(in_processes(job, [*good[:2], huge, good[2]], workers))
    assert sorted(source.name for source in done) == ["1", "2", "3", "4"]
    records = {source.name: json.loads(job.record_path(source).read_text()) for source in done}
    assert records["3"]["reason"] == MEMORY and not job.samples_path(huge).exists()
    assert [records[name]["clips"] for name in "124"] == [1, 1, 1] and "reason" not in records["1"]


def test_under_ray_it_is_tried_once_more_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(job: Job, source: Source) -> None:
        raise MemoryError

    monkeypatch.setattr("unimo.data.ray_backend.prepare_source", short)
    job = Job(tmp_path / "work", "debug", None, Cutting(15, 9, 9, 32, "open", 0.5))
    source = Source("walk.mp4", tmp_path / "walk.mp4", None, None, "walk")
    row = {"number": 5, **_row(source)}
    assert _Work(job)(row) == {"number": 5, "fatal": [], "enough_memory": False}
    assert not job.record_path(source).exists()
    assert _Work(job, alone=True)(row) == {"number": 5, "fatal": [], "enough_memory": True}
    assert json.loads(job.record_path(source).read_text())["reason"] == MEMORY
