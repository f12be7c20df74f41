"""The process pool that prepares sources on one machine.

In: a job and its sources. Out: each source, as soon as its record lies in the work folder. A source of which worker
processes die (out of memory, or a fault in a decoder), or which runs out of memory, is tried alone, and if it fails
again gets a record with that reason.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from unimo.data.samples import Job, file_stamps, prepare_source, write_record
from unimo.data.sources import Source

DIED = "worker processes died of it (out of memory, or a fault in reading the video)"
MEMORY = "there was not enough memory for it"


def in_processes(job: Job, sources: Sequence[Source], workers: int) -> Iterator[Source]:
    """Prepares sources in `workers` processes; one works in this process. Yields them in the order of finishing.

    Raises:
        MissingAssetError, ConfigError, CheckpointError, OSError: see `prepare_source`.
    """
    if workers == 1:
        for source in sources:
            try:
                prepare_source(job, source)
            except MemoryError:
                give_up(job, source, MEMORY)
            yield source
        return
    waiting, suspects = deque(sources), deque[Source]()
    while waiting or suspects:
        alone = bool(suspects)
        running: dict[Future[None], Source] = {}
        try:
            yield from _run(job, suspects if alone else waiting, 1 if alone else workers, running)
        except (BrokenProcessPool, MemoryError) as error:
            for source in running.values():
                if job.record_path(source).is_file():
                    yield source
                elif alone:
                    give_up(job, source, MEMORY if isinstance(error, MemoryError) else DIED)
                    yield source
                else:
                    suspects.append(source)


def give_up(job: Job, source: Source, reason: str) -> None:
    """Writes the record of a source that no worker can prepare."""
    write_record(job, source, {"source": source.name, "files": file_stamps(source), "reason": reason})


def _run(job: Job, queue: deque[Source], workers: int, running: dict[Future[None], Source]) -> Iterator[Source]:
    """Empties the queue; `running` always holds the sources that are being worked on."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(queue)), context, _start_worker) as pool:
        while queue or running:
            while queue and len(running) < workers:
                running[pool.submit(prepare_source, job, queue[0])] = queue[0]
                queue.popleft()
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
                yield running.pop(future)


def _start_worker() -> None:
    # a worker whose parent was killed would wait for work for ever
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
