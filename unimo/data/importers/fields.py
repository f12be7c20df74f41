"""The checks of values in foreign files: what is no dictionary, no number or of another shape is an `InputError`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from unimo.errors import InputError


def record_of(value: Any, what: str, keys: tuple[str, ...]) -> dict[str, Any]:
    """A dictionary with these keys and maybe more; keys that are bytes (Python 2) are read as text.

    Raises:
        InputError: it is no dictionary, or keys are missing.
    """
    if not isinstance(value, Mapping):
        kind = type(value).__name__
        raise InputError(f"{what} is of type {kind}, not a dictionary", fix="give a file of this format")
    record = {key.decode("latin1") if isinstance(key, bytes) else key: item for key, item in value.items()}
    if missing := [key for key in keys if key not in record]:
        there = ", ".join(str(key) for key in list(record)[:12])
        raise InputError(f"{what} has no {', '.join(missing)}", fix=f"it has {there}: is it of this format?")
    return record


def _array(value: Any, name: str) -> np.ndarray:
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise ValueError("not numbers")
    except (ValueError, TypeError, MemoryError) as error:
        raise InputError(f"{name} is not an array of numbers") from error
    return array


def flat(value: Any, name: str, count: int) -> np.ndarray:
    """`value`, whatever its dimensions, as (count,) float64.

    Raises:
        InputError: it is not so many numbers.
    """
    return numbers(_array(value, name).reshape(-1), name, (count,))


def whole(value: Any, name: str) -> int:
    """`value` as a whole number.

    Raises:
        InputError: it is none.
    """
    number = float(flat(value, name, 1)[0])
    if not np.isfinite(number) or number != int(number):
        raise InputError(f"{name} is {number:g}, not a whole number")
    return int(number)


def numbers(value: Any, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """`value` as float64 of a shape (None is any size).

    Raises:
        InputError: it is not an array of numbers of that shape.
    """
    array = _array(value, name)
    fits = array.ndim == len(shape) and all(want in (None, size) for want, size in zip(shape, array.shape, strict=True))
    if not fits:
        wanted = ", ".join("n" if size is None else str(size) for size in shape)
        raise InputError(f"{name} has shape {array.shape}, expected ({wanted})", fix="is the file of this format?")
    return array.astype(np.float64)


def same_length(**arrays: np.ndarray) -> int:
    """The length that all arrays share.

    Raises:
        InputError: they differ, or are empty.
    """
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise InputError(f"the arrays have no common length: {listed}", fix="fetch the file anew")
    return next(iter(lengths.values()))
