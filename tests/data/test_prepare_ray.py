"""`unimo data prepare --ray` on a cluster of this machine: the same files, also when a worker is killed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.data.prepare_sources import SMALL, contents
from unimo.data.prepare import Summary, prepare
from unimo.errors import InputError

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
