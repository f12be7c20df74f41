"""Files that appear whole or not at all: write beside the target, flush to disk, then rename."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unimo.errors import InputError


@contextmanager
def writing_into(folder: str | Path) -> Iterator[None]:
    """Tells in plain words what the disk or its permissions refuse while results are written into a folder.

    Raises:
        InputError: in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        what = f"the results cannot be written ({error.strerror or error})"
        fix = "see to the disk and its permissions, then run the same again"
        raise InputError(what, str(error.filename or folder), fix) from error


def check_folder(folder: str | Path) -> None:
    """Looks whether results can be written into a folder, there or not, before long work begins; makes nothing.

    Raises:
        InputError: a file stands in its place or above it, or writing there is not permitted.
    """
    path = Path(folder).expanduser().absolute()
    there = next(place for place in (path, *path.parents) if place.exists() or place.is_symlink())
    if not there.is_dir():
        raise InputError("a folder for results is wanted, this is a file", str(there), "another folder")
    if not os.access(there, os.W_OK | os.X_OK):
        fix = "see to its permissions, or another folder"
        raise InputError("the results cannot be written (Permission denied)", str(there), fix)


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside `path` (same suffix); renames it onto `path` on success, removes it on error.

    The parent folder is made when it is missing.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        # some writers make files that only their owner may read
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Writes a text in UTF-8, whole or not at all; errors as `atomic_write`."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
