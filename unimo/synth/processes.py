"""Worker processes that draw: a pool in, its processes ended without a word when the work is stopped.

Ctrl-C in a terminal reaches every process of a command; only the one that the user started may answer it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.pool import Pool
from typing import Any


@contextmanager
def drawing_pool(
    workers: int, initializer: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()
) -> Iterator[Pool]:
    """Yields a pool of new processes, one thread each; on leaving, however that comes, they are ended.

    Args:
        workers: processes.
        initializer: called once in each with `arguments`; it must be importable.
    """
    context = multiprocessing.get_context("spawn")  # an OpenGL context does not survive a fork
    with _deaf_to_interrupts():
        pool = context.Pool(workers, _start, (initializer, arguments))
    with pool:
        yield pool


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes that are started meanwhile never hear Ctrl-C, not even while they import; this one hears it after."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(initializer: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # one software rasteriser thread a process: the processes already fill the cores
    os.environ.setdefault("LP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    if initializer:
        initializer(*arguments)
