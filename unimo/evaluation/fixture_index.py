"""Reads a directory of metric fixtures: index.json, and the arrays of its cases.

index.json is {"fixtures": [...]}; an entry has name, file, metric, and may have params, tolerance {rtol, atol,
NAME_rtol, NAME_atol}, inputs and outputs {name: {key, shape}}. Arrays are numbers in an npz, in_* and out_*.
"""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unimo.errors import InputError, counted

INDEX = "index.json"
_FIX = "copy the directory again: index.json and every file that it names"
_GROUPS = (("inputs", "in_"), ("outputs", "out_"))


@dataclass(frozen=True)
class Entry:
    """One case of the index; `raw` is all that stands there, with empty mappings for what does not."""

    name: str
    file: str
    metric: str
    raw: dict[str, Any]

    @property
    def params(self) -> dict[str, Any]:
        """Parameters of the metric."""
        return self.raw["params"]

    def tolerance(self, output: str) -> tuple[float, float]:
        """rtol and atol of an output: those of its name, or of its name's last words, before the case's."""
        given = self.raw["tolerance"]
        words = output.split("_")
        names = ["_".join(words[start:]) for start in range(len(words))]

        def find(kind: str) -> float:
            own = [given[f"{name}_{kind}"] for name in names if f"{name}_{kind}" in given]
            return float([*own, given.get(kind, 0.0)][0])

        return find("rtol"), find("atol")


def is_mistake(output: str) -> bool:
    """Whether an output documents a known mistake, which must not be matched."""
    return output.endswith("_WRONG") or "reference_bug" in output


def read_index(directory: Path) -> list[Entry]:
    """The cases of a directory.

    Raises:
        InputError: the directory or its index is missing, damaged, or names no case.
    """
    path = directory / INDEX
    if not directory.is_dir():
        what = "this is no directory of fixtures" if directory.exists() else "the directory of fixtures does not exist"
        raise InputError(what, str(directory), f"a directory with {INDEX}")
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"the index of the fixtures cannot be read ({error})", str(path), _FIX) from error
    fixtures = index.get("fixtures") if isinstance(index, dict) else None
    if not isinstance(fixtures, list) or not fixtures:
        raise InputError('the index has no list "fixtures", or an empty one', str(path), _FIX)
    entries = [_entry(raw, number, path) for number, raw in enumerate(fixtures)]
    names = [entry.name for entry in entries]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"the index names cases twice: {', '.join(twice)}", str(path), _FIX)
    return entries


def read_arrays(directory: Path, entry: Entry) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Inputs and expected outputs of a case, by their names in the index, else their keys without in_ and out_.

    Raises:
        InputError: the file is missing or damaged, holds something else than numbers, or is not what the index says.
    """
    path = directory / entry.file
    try:
        stored = np.load(path, allow_pickle=False)
        if isinstance(stored, np.ndarray):
            raise InputError("the file of the case is no npz archive", str(path), _FIX)
        with stored:
            arrays = {key: stored[key] for key in stored.files}
    except FileNotFoundError as error:
        raise InputError("the file of the case is missing", str(path), _FIX) from error
    # zipfile raises NotImplementedError for a compression that it does not know
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        what = f"the file of the case cannot be read as arrays of numbers ({error})"
        raise InputError(what, str(path), _FIX) from error
    _check_arrays(arrays, entry, path)
    inputs, outputs = (_named(arrays, entry, group, prefix, path) for group, prefix in _GROUPS)
    if not outputs:
        raise InputError("the case has no expected output (out_*)", str(path), _FIX)
    return inputs, outputs


def _named(arrays: dict[str, np.ndarray], entry: Entry, group: str, prefix: str, path: Path) -> dict[str, np.ndarray]:
    names = [(name, _key(prefix, name, value)) for name, value in entry.raw[group].items()]
    described = {key for _, key in names}
    names += [(key.removeprefix(prefix), key) for key in arrays if key.startswith(prefix) and key not in described]
    twice = sorted({name for pair in zip(*names, strict=True) for name in pair if pair.count(name) > 1})
    if twice:  # one of the two would not be looked at
        raise InputError(f"several of the case's {group} have one name or one key: {', '.join(twice)}", str(path), _FIX)
    return {name: arrays[key] for name, key in names}


def _key(prefix: str, name: str, described: Any) -> str:
    return described.get("key", f"{prefix}{name}") if isinstance(described, dict) else f"{prefix}{name}"


def _entry(raw: Any, number: int, path: Path) -> Entry:
    where = f"{path}, fixture {number + 1}"
    if not isinstance(raw, dict):
        raise InputError("an entry of the index is no mapping", where, _FIX)
    for key in ("name", "file", "metric"):
        if not isinstance(raw.get(key), str) or not raw[key]:
            raise InputError(f"an entry of the index has no {key!r}", where, _FIX)
    if Path(raw["file"]).is_absolute() or ".." in Path(raw["file"]).parts:
        raise InputError(f"a case lies outside the directory: {raw['file']}", where, _FIX)
    optional = {key: raw.get(key) or {} for key in ("params", "tolerance", "inputs", "outputs")}
    for key, value in optional.items():
        if not isinstance(value, dict):
            raise InputError(f"{key!r} of {raw['name']} is no mapping", where, _FIX)
    for key, value in optional["tolerance"].items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value >= 0):
            raise InputError(f"the tolerance {key!r} of {raw['name']} is {value!r}, no number from 0 on", where, _FIX)
    return Entry(raw["name"], raw["file"], raw["metric"], {**raw, **optional})


def _check_arrays(arrays: dict[str, np.ndarray], entry: Entry, path: Path) -> None:
    """The file holds numbers, and all that the index describes, in its shapes."""
    for key, value in arrays.items():
        if value.dtype.kind not in "biuf":
            raise InputError(f"{key} holds {value.dtype}, not numbers", str(path), _FIX)
    for group, prefix in _GROUPS:
        for name, described in entry.raw[group].items():
            key = _key(prefix, name, described)
            if key not in arrays:
                there = counted(len(arrays), "array")
                raise InputError(f"{key} is missing; there are {there}: {', '.join(arrays)}", str(path), _FIX)
            shape = described.get("shape") if isinstance(described, dict) else None
            if shape is not None and list(arrays[key].shape) != shape:
                raise InputError(f"{key} has shape {list(arrays[key].shape)}, the index says {shape}", str(path), _FIX)
