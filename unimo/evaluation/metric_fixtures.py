"""Every case of a directory of metric fixtures against this project's metrics.

In:  a directory with index.json and one npz a case: in_* are inputs, out_* what a reference gives (`fixture_index`).
Out: a `Row` for every expected output, the text of a table, and the same as JSON.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from unimo.errors import InputError, UniMoError, counted
from unimo.evaluation import fixture_cases_body, fixture_cases_features, fixture_cases_pictures
from unimo.evaluation.fixture_cases_body import Arrays, Case
from unimo.evaluation.fixture_index import Entry, is_mistake, read_arrays, read_index
from unimo.files import atomic_write, writing_into

PASS, FAIL, MUST_DIFFER, UNSPECIFIED = "pass", "FAIL", "must differ", "unspecified"
CASES: dict[str, Case] = {**fixture_cases_body.CASES, **fixture_cases_features.CASES, **fixture_cases_pictures.CASES}
"""Metric of the index → case: (inputs, params, entry of the index) → outputs by name."""


@dataclass(frozen=True)
class Row:
    """One expected output.

    Attributes:
        case, key: names; key is "(run)" where a whole case failed.
        ours, expected: the number, or shape and mean of an array.
        difference: largest absolute difference where something is specified, if shapes agree.
        verdict: `PASS`, `FAIL`, `MUST_DIFFER` (documents a mistake, and we do differ), `UNSPECIFIED` (all NaN).
        note: why it failed.
    """

    case: str
    key: str
    ours: str = "-"
    expected: str = "-"
    difference: float | None = None
    verdict: str = FAIL
    note: str = ""


def run_directory(directory: Path) -> list[Row]:
    """Runs every case of a directory, in the order of its index.

    Raises:
        InputError: the directory or its index is missing, damaged or empty.
    """
    entries = read_index(directory)
    rows = [row for entry in entries for row in run_case(directory, entry)]
    known = {entry.file for entry in entries}
    strays = sorted(path.name for path in directory.glob("*.npz") if path.name not in known)
    return rows + [Row(name, "(run)", note="the index does not describe this file") for name in strays]


def run_case(directory: Path, entry: Entry) -> list[Row]:
    """Runs one case; whatever goes wrong stands in its rows."""
    try:
        inputs, outputs = read_arrays(directory, entry)
        if entry.metric not in CASES:
            raise InputError(f"no metric of this project is called {entry.metric!r}", None, "add it to the cases")
        found = CASES[entry.metric](inputs, entry.params, entry.raw)
    except UniMoError as error:
        return [Row(entry.name, "(run)", note=" ".join(filter(None, (error.what, error.where and f"({error.where})"))))]
    except Exception as error:  # a malformed case must not keep the others from running
        return [Row(entry.name, "(run)", note=f"cannot be run ({type(error).__name__}: {error})")]
    return [_compared(entry, key, _ours(found, key), value) for key, value in outputs.items()]


def passed(rows: list[Row]) -> bool:
    """Whether no row failed."""
    return all(row.verdict != FAIL for row in rows)


def table(rows: list[Row]) -> str:
    """The table, and one line with the numbers of cases and outputs."""
    lines = [("case", "key", "ours", "expected", "max difference", "verdict", "")]
    for row in rows:
        difference = "-" if row.difference is None else f"{row.difference:.2e}"
        lines.append((row.case, row.key, row.ours, row.expected, difference, row.verdict, row.note))
    widths = [max(len(line[column]) for line in lines) for column in range(6)]
    text = ["  ".join([*map(str.ljust, line, widths), line[6]]).rstrip() for line in lines]
    cases = {row.case for row in rows}
    failed = {row.case for row in rows if row.verdict == FAIL}
    verdicts = [row.verdict for row in rows]
    return "\n".join(text) + (
        f"\n\n{counted(len(cases), 'case')}: {len(cases) - len(failed)} passed, {len(failed)} failed; "
        f"{counted(len(rows), 'output')}: {verdicts.count(PASS)} within tolerance, "
        f"{verdicts.count(MUST_DIFFER)} differ as they must, {verdicts.count(UNSPECIFIED)} unspecified, "
        f"{verdicts.count(FAIL)} failed"
    )


def write_report(rows: list[Row], path: Path) -> None:
    """Writes {"passed": bool, "outputs": [a row as mapping, ...]}; a difference that is no number is null.

    Raises:
        InputError: the file cannot be written.
    """
    outputs = [asdict(row) for row in rows]
    for row in outputs:
        if row["difference"] is not None and not math.isfinite(row["difference"]):
            row["difference"] = None
    text = json.dumps({"passed": passed(rows), "outputs": outputs}, indent=1, allow_nan=False)
    with writing_into(path.parent), atomic_write(path) as temporary:
        temporary.write_text(f"{text}\n", encoding="utf-8")


def _ours(found: Arrays, key: str) -> np.ndarray | None:
    """Our value for an output; for a mistake we have no name for, that of the output whose name it begins with."""
    words = key.split("_")
    names = ["_".join(words[:end]) for end in range(len(words), 0, -1)] if is_mistake(key) else [key]
    return next((found[name] for name in names if name in found), None)


def _compared(entry: Entry, key: str, ours: np.ndarray | None, expected: np.ndarray) -> Row:
    if ours is None:
        return Row(entry.name, key, expected=_summary(expected), note=f"{entry.metric!r} does not compute this output")
    ours = np.asarray(ours)
    sides = (entry.name, key, _summary(ours, expected), _summary(expected))
    if ours.shape != expected.shape or ours.dtype.kind not in "biuf" or not expected.size:
        note = f"{ours.dtype} {ours.shape}, expected {expected.dtype} {expected.shape}"
        return Row(*sides, note=note)
    # integers and truth values are exact, whatever is allowed for numbers
    rtol, atol = entry.tolerance(key) if expected.dtype.kind == "f" else (0.0, 0.0)
    difference, close = _difference(ours.astype(np.float64), expected.astype(np.float64), rtol, atol)
    if difference is None:
        return Row(*sides, verdict=UNSPECIFIED)
    if is_mistake(key):
        note = "equals a value that documents a mistake" if close else ""
        return Row(*sides, difference, FAIL if close else MUST_DIFFER, note)
    note = "" if close else f"allowed: {atol:g} + {rtol:g} |expected|"
    return Row(*sides, difference, PASS if close else FAIL, note)


def _difference(ours: np.ndarray, expected: np.ndarray, rtol: float, atol: float) -> tuple[float | None, bool]:
    """Largest difference of the specified entries (None without any), and whether all are within tolerance."""
    specified = ~np.isnan(expected)
    ours, expected = ours[specified], expected[specified]
    if not expected.size:
        return None, True
    with np.errstate(invalid="ignore"):
        differences = np.where(ours == expected, 0.0, np.abs(ours - expected))
        # a tolerance relative to infinity would allow everything
        allowed = np.where(np.isinf(expected), 0.0, atol + rtol * np.abs(expected))
    return float(differences.max()), bool((differences <= allowed).all())


def _summary(values: np.ndarray, expected: np.ndarray | None = None) -> str:
    """A number, or an array's shape and the mean of what is a number in it, and in `expected` if that has its shape."""
    if values.dtype.kind not in "biuf":
        return str(values.dtype)
    if values.ndim == 0:
        return f"{values.item():.6g}" if values.dtype.kind != "b" else str(values.item())
    specified = ~np.isnan(values.astype(np.float64))
    if expected is not None and expected.shape == values.shape:
        specified &= ~np.isnan(expected.astype(np.float64))
    known = values[specified]
    mean = f"{known.mean(dtype=np.float64):.6g}" if known.size else "-"
    return f"({', '.join(map(str, values.shape))}) mean {mean}"
