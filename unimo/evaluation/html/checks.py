"""What a run file holds, checked once for the report: JSON in, an error that names file and key out.

Numbers are finite or null, lists are as docs/evaluation.md describes them, header fields have the right type. Keys that
nobody knows may hold anything but a number that is not finite.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unimo.errors import InputError
from unimo.evaluation.html.measures import is_measure

MAKE = "unimo evaluate capture --clips DIR --json RUN.json"
_TEXTS = ("command", "date", "device", "dtype", "cpu", "platform")
_NUMBERS = ("cores", "load_average", "wall_seconds", "clips_seconds", "peak_memory_gb", "peak_device_memory_gb")
_DICTIONARIES = ("bundle", "clips", "dataset", "versions", "conventions")


def check_header(header: Mapping[str, Any], path: Path) -> None:
    """Raises InputError where a field of a run's header has the wrong type; a field may be missing or null."""
    for key in _TEXTS:
        _expect(header.get(key), _is_text, f"header.{key}", "text", path)
    for key in _NUMBERS:
        _expect(header.get(key), is_finite, f"header.{key}", "a finite number", path)
    for key in _DICTIONARIES:
        _expect(header.get(key), _is_dictionary, f"header.{key}", "a dictionary", path)
    _expect(header.get("seeds"), _is_list_of(_is_whole), "header.seeds", "a list of whole numbers", path)
    for name, keys in {"bundle": ("name", "sha256"), "clips": ("sha256", "folder"), "dataset": ("name",)}.items():
        for key in keys:
            _expect((header.get(name) or {}).get(key), _is_text, f"header.{name}.{key}", "text", path)
    clips = header.get("clips") or {}
    _expect(clips.get("count"), _is_whole, "header.clips.count", "a whole number", path)
    for key in ("subjects", "graphics_drivers"):
        _expect(clips.get(key), _is_list_of(_is_text), f"header.clips.{key}", "a list of texts", path)


def check_numbers(report: Mapping[str, Any], path: Path) -> None:
    """Raises InputError where a flat key of a run holds no finite number, no such interval or no such list of seeds."""
    for key, value in report.items():
        if key.startswith("interval95."):
            _expect(value, _is_interval, key, "two finite numbers", path)
        elif key.startswith("per_seed."):
            _expect(value, _is_list_of(is_finite, nulls=True), key, "a list of finite numbers", path)
        elif key not in ("by_joint_mm", "by_time_mm") and (is_measure(key) or isinstance(value, float)):
            _expect(value, is_finite, key, "a finite number", path)
    for key in ("per_clip", "by_joint_mm"):
        _expect(report.get(key), _is_dictionary, key, "a dictionary", path)


def texts_of(values: Any, key: str, path: Path) -> list[str]:
    """A list of texts as it is; anything else is an InputError."""
    if not isinstance(values, list):
        raise InputError(f"{key} is not a list", str(path), MAKE)
    _expect(values, _is_list_of(_is_text), key, "a list of texts", path)
    return values


def array_of(values: Any, key: str, path: Path) -> np.ndarray:
    """A list of finite numbers as (N,) float64, null as NaN; anything else is an InputError."""
    if not isinstance(values, list):
        raise InputError(f"{key} is not a list", str(path), MAKE)
    for value in values:
        _expect(value, is_finite, f"an entry of {key}", "a finite number", path)
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def is_finite(value: Any) -> bool:
    """Whether this is a number, and one that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number of more than 308 digits
        return False


def _expect(value: Any, good: Callable[[Any], bool], key: str, wanted: str, path: Path) -> None:
    if value is not None and not good(value):
        raise InputError(f"{key} is not {wanted} (or null)", str(path), MAKE)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and is_finite(value)


def _is_dictionary(value: Any) -> bool:
    return isinstance(value, dict)


def _is_interval(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(is_finite, value))


def _is_list_of(good: Callable[[Any], bool], nulls: bool = False) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(good(one) or (nulls and one is None) for one in value)
