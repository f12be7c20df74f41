"""`unimo data prepare --ray` on a cluster of this machine: the same files, also when a worker is killed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.data.prepare_sources import SMALL, contents
from unimo.data.prepare import Summary, prepare
from unimo.data.samples import Job
from unimo.data.sources import Source
from unimo.data.workers import in_processes
from unimo.errors import InputError, UniMoError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def cluster() -> Iterator[Callable[[], list[int]]]:
    """Two workers on this machine; gives the ids of the processes that work on videos."""
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    os.environ["RAY_worker_niceness"] = "0"
    # its processes are no children of pytest, which alone knows where the packages are
    roots = {"env_vars": {"PYTHONPATH": f"{ROOT}:{ROOT / 'tokenizers'}"}}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR", runtime_env=roots)

    def workers() -> list[int]:
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if b"ray::Map" in path.read_bytes() and _is_ours(int(path.parent.name)):
                    found.append(int(path.parent.name))
            except OSError:
                continue  # it has ended
        return found

    yield workers
    ray.shutdown()
    del os.environ["RAY_worker_niceness"]


def test_a_lost_worker_loses_nothing(
    videos: Path, undisturbed: tuple[Path, Summary], tmp_path: Path, cluster: Callable[[], list[int]]
) -> None:
    killed: list[int] = []

    def kill_one() -> None:
        for _ in range(600):
            if pids := cluster():
                os.kill(pids[0], signal.SIGKILL)
                killed.append(pids[0])
                return
            time.sleep(0.05)

    thread = threading.Thread(target=kill_one)
    thread.start()
    summary = prepare(videos, tmp_path / "out", SMALL, ray="auto")
    thread.join()
    assert len(killed) == 1 and summary.clips == 7
    assert contents(tmp_path / "out") == contents(undisturbed[0])


def test_an_error_of_ray_ends_with_words_and_the_run_goes_on_later(
    videos: Path, undisturbed: tuple[Path, Summary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    exceptions = pytest.importorskip("ray.exceptions")

    def fail_later(data: object, job: Job, sources: Sequence[Source]) -> Iterator[Source]:
        yield from in_processes(job, sources[:3], 1)
        raise exceptions.RaySystemError("traceback\n  of\nModuleNotFoundError: No module named 'unimo'")

    # what a worker without UniMo raises, without the half minute that a cluster takes to start and fail
    monkeypatch.setattr(ray, "init", lambda *_, **__: None)
    monkeypatch.setattr("unimo.data.ray_backend._map", fail_later)
    with pytest.raises(UniMoError, match=r"Ray stopped with an error \(.*No module named 'unimo'") as caught:
        prepare(videos, tmp_path / "out", SMALL, ray="auto")
    assert "same command again" in str(caught.value) and "looked: auto" in str(caught.value)
    assert prepare(videos, tmp_path / "out", SMALL, workers=1).fresh_clips < 7
    assert contents(tmp_path / "out") == contents(undisturbed[0])


def test_no_cluster(videos: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    with pytest.raises(InputError, match="no Ray cluster"):
        prepare(videos, tmp_path / "out", SMALL, ray="127.0.0.1:1")


def _is_ours(pid: int) -> bool:
    """Whether a process comes from this one."""
    while pid > 1:
        if pid == os.getpid():
            return True
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return False
