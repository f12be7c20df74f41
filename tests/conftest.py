"""Fixtures of several folders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace

import pytest
import torch

from unimo.cli.main import run
from unimo.data import pack

RunCommand = Callable[..., tuple[int, str, str]]
"""Words of a command line in; exit code, standard output and standard error out."""


class _InlinePool:
    """What `build_pack` uses of a process pool, in this process: a new process takes seconds to import torch."""

    def __init__(self, workers: int, initializer: Callable, arguments: tuple) -> None:
        initializer(*arguments)

    def __enter__(self) -> _InlinePool:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def imap_unordered(self, function: Callable, items: Iterable) -> Iterator:
        return map(function, items)


@pytest.fixture
def inline_pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`build_pack` renders in this process."""
    threads = torch.get_num_threads()
    stand_in = SimpleNamespace(get_context=lambda kind: SimpleNamespace(Pool=_InlinePool))
    monkeypatch.setattr(pack, "multiprocessing", stand_in)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def unimo(capsys: pytest.CaptureFixture[str]) -> RunCommand:
    """Runs `unimo WORDS` in this process; see `RunCommand`."""

    def command(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            run([str(word) for word in words])
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return command
