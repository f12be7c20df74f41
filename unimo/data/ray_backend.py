"""Ray Data as the machine that prepares sources: the same function a source as on one computer.

In: a job, its sources, and a cluster's address. Out: each source, as soon as its record lies in the work folder, which
all machines must see under the same path, as they must the videos. Ray is an extra: pip install "unimo[scale]".
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unimo import errors
from unimo.data.samples import Job, prepare_source
from unimo.data.sources import Source
from unimo.data.workers import DIED, MEMORY, give_up
from unimo.errors import InputError, MissingAssetError, UniMoError

# blocks are what Ray hands out: at most one source each, unless there are very many
_BLOCKS = 2000
_TRIES = 3
_START = "ray start --head, then --ray auto"
_STOPPED = "`ray status` and Ray's logs say more; then the same command again: finished videos are kept"
_SHARED = "put IN and OUT on a disk that all machines see under the same path, then the same command again"
Prepare = Callable[[Job, Sequence[Source]], Iterator[Source]]


@contextmanager
def cluster(address: str) -> Iterator[Prepare]:
    """Connects to a Ray cluster; yields what prepares sources on it, one a processor, in the order of finishing.

    A source whose worker was lost is done again elsewhere, up to three tries in all; one that runs out of memory is
    tried once more, with no other beside it.

    Args:
        address: such as "auto" or "10.0.0.1:6379"; "local" starts one here.

    Raises:
        MissingAssetError: Ray is not installed.
        InputError: there is no such cluster.
        UniMoError: Ray failed while it worked.
        UniMoError, OSError: see `prepare_source`.
    """
    try:
        import ray
        import ray.data
        import ray.exceptions
    except ImportError as error:
        raise MissingAssetError("Ray is not installed", None, 'pip install "unimo[scale]"') from error
    _check_address(address)
    begun_here = not ray.is_initialized()
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, ignore_reinit_error=True)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(f"there is no Ray cluster at this address ({error})", address, _START) from error
    try:
        yield lambda job, sources: _map(ray.data, job, sources)
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise UniMoError(f"Ray stopped with an error ({reason})", address, _STOPPED) from error
    finally:
        if begun_here:  # a caller's own connection stays
            ray.shutdown()


def _check_address(address: str) -> None:
    """Ray itself waits for minutes for a machine that does not answer."""
    host, _, port = address.rpartition(":")
    if not host:
        return  # "auto", "local"
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(f"there is no Ray cluster at this address ({error})", address, _START) from error


def _map(data: Any, job: Job, sources: Sequence[Source]) -> Iterator[Source]:
    data.DataContext.get_current().enable_progress_bars = False
    for left in job.work.glob("*.try*"):
        left.unlink(missing_ok=True)
    short_of_memory = []
    for source, enough in _rows_done(data, _Work(job), sources, None):
        if enough:
            yield source
        else:
            short_of_memory.append(source)
    for source, _ in _rows_done(data, _Work(job, alone=True), short_of_memory, 1):
        yield source


def _rows_done(
    data: Any, work: _Work, sources: Sequence[Source], at_once: int | None
) -> Iterator[tuple[Source, bool]]:
    """Maps sources; yields each, and whether memory sufficed.

    Raises:
        UniMoError, OSError: what a worker met that is no video's fault.
    """
    if not sources:
        return
    rows = [{"number": number, **_row(source)} for number, source in enumerate(sources)]
    items = data.from_items(rows, override_num_blocks=min(len(rows), _BLOCKS))
    for row in items.map(work, num_cpus=1, concurrency=at_once).iter_rows():
        source = sources[row["number"]]
        if row["fatal"]:
            kind, what, where, fix = row["fatal"]
            raise OSError(what) if kind == "OSError" else getattr(errors, kind)(what, where or None, fix or None)
        if row["enough_memory"] and not work.job.record_path(source).is_file():
            what = "a worker's results cannot be seen from this machine"
            raise InputError(what, str(work.job.record_path(source)), _SHARED)
        yield source, row["enough_memory"]


class _Work:
    """What a worker of Ray calls for each row; `alone` says that no other source takes memory."""

    def __init__(self, job: Job, alone: bool = False) -> None:
        self.job, self.alone = job, alone

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        source, fatal, enough_memory = _source(row), [], True
        try:
            if _may_try(self.job, source):
                prepare_source(self.job, source)
            else:
                give_up(self.job, source, DIED)
        except MemoryError:
            enough_memory = self.alone
            if self.alone:
                give_up(self.job, source, MEMORY)
        except UniMoError as error:
            fatal = [type(error).__name__, error.what, error.where or "", error.fix or ""]
        except OSError as error:
            fatal = ["OSError", str(error), "", ""]
        return {"number": row["number"], "fatal": fatal, "enough_memory": enough_memory}


def _may_try(job: Job, source: Source) -> bool:
    """Notes one more try; Ray itself would try a source of which workers die for ever."""
    job.work.mkdir(parents=True, exist_ok=True)
    for number in range(_TRIES):
        try:
            (job.work / f"{source.id}.try{number}").touch(exist_ok=False)
            return True
        except FileExistsError:
            continue
    return False


def _row(source: Source) -> dict[str, str]:
    return {name: "" if value is None else str(value) for name, value in asdict(source).items()}


def _source(row: dict[str, Any]) -> Source:
    motion, note = (Path(row[name]) if row[name] else None for name in ("motion", "note"))
    return Source(row["name"], Path(row["video"]), motion, note, row["default_subject"])
