"""Ray Data as the machine that prepares sources: the same function a source as on one computer.

In: a job, its sources, and a cluster's address. Out: each source, as soon as its record lies in the work folder, which
all machines must see under the same path, as they must the videos. Ray is an extra: pip install "unimo[scale]".
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unimo import errors
from unimo.data.samples import Job, prepare_source
from unimo.data.sources import Source
from unimo.data.workers import give_up
from unimo.errors import InputError, MissingAssetError, UniMoError

# blocks are what Ray hands out: at most one source each, unless there are very many
_BLOCKS = 2000
_TRIES = 3
_START = "ray start --head, then --ray auto"


def in_ray(job: Job, sources: Sequence[Source], address: str) -> Iterator[Source]:
    """Prepares sources on a Ray cluster, one a processor, in the order of finishing.

    A source whose worker was lost is done again elsewhere, up to three tries in all.

    Args:
        job: what to do.
        sources: videos.
        address: of the cluster, such as "auto" or "10.0.0.1:6379"; "local" starts one here.

    Raises:
        MissingAssetError: Ray is not installed.
        InputError: there is no such cluster.
        UniMoError, OSError: see `prepare_source`.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingAssetError("Ray is not installed", None, 'pip install "unimo[scale]"') from error
    _check_address(address)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, ignore_reinit_error=True)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(f"there is no Ray cluster at this address ({error})", address, _START) from error
    try:
        yield from _map(ray.data, job, sources)
    finally:
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
    rows = [{"number": number, **_row(source)} for number, source in enumerate(sources)]
    items = data.from_items(rows, override_num_blocks=min(len(rows), _BLOCKS))
    for row in items.map(_Work(job), num_cpus=1).iter_rows():
        if row["fatal"]:
            kind, what, where, fix = row["fatal"]
            raise OSError(what) if kind == "OSError" else getattr(errors, kind)(what, where or None, fix or None)
        yield sources[row["number"]]


class _Work:
    """What a worker of Ray calls for each row."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        source = _source(row)
        try:
            if _may_try(self.job, source):
                prepare_source(self.job, source)
            else:
                give_up(self.job, source)
        except UniMoError as error:
            fatal = [type(error).__name__, error.what, error.where or "", error.fix or ""]
        except OSError as error:
            fatal = ["OSError", str(error), "", ""]
        else:
            fatal = []
        return {"number": row["number"], "fatal": fatal}


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
