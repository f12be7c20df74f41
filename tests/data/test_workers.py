"""Who is to blame when preparing a video fails: the video, which goes to the quarantine, or the machine."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.data.prepare_sources import DeadlySource
from unimo.data.samples import Job, Unusable, _guarded
from unimo.data.stages import Cutting
from unimo.data.workers import DIED, in_processes
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
