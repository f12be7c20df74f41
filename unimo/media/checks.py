"""What every media file must be before it is opened: there, a file, readable, not empty, not too small.

In: a path a user typed. Out: the same path as a `Path`, or an `InputError` that says what is wrong, where, and what
    to do.
"""

from __future__ import annotations

from pathlib import Path

from unimo.errors import InputError

MIN_SIDE = 16
"""Smallest width and height in pixels that images and videos may have."""


def check_file(path: str | Path, kind: str) -> Path:
    """Returns `path` as an absolute path to a non-empty, readable file.

    Args:
        path: what the user gave.
        kind: the word for messages, "image" or "video".

    Raises:
        InputError: missing, a folder, not permitted, or empty.
    """
    path = Path(path).expanduser().absolute()
    if path.is_dir():
        raise InputError(f"this is a folder, not {_article(kind)} file", str(path), f"name one {kind} file inside it")
    if not path.exists():
        raise InputError(f"there is no such {kind} file", str(path), "check the spelling and the folder")
    try:
        with path.open("rb") as handle:
            empty = not handle.read(1)
    except OSError as error:
        what = f"the {kind} file cannot be opened ({error.strerror})"
        raise InputError(what, str(path), "check its permissions") from error
    if empty:
        raise InputError(f"the {kind} file is empty (0 bytes)", str(path), "copy or download it again")
    return path


def check_size(width: int, height: int, path: str | Path, kind: str) -> None:
    """Raises InputError when a side is below `MIN_SIDE` pixels."""
    if min(width, height) < MIN_SIDE:
        raise InputError(
            f"the {kind} is {width}×{height} pixels: too small, the minimum is {MIN_SIDE}×{MIN_SIDE}",
            str(path),
            f"give {_article(kind)} in which the person is at least about 100 pixels tall",
        )


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
