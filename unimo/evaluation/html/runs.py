"""Run files of `unimo evaluate` for the report: JSON files in, checked `Run`s out, all of one evaluation.

What an older file lacks (`per_clip`, `by_joint_mm`, `by_time_mm`, predictions) is empty here; what is there and is not
what it should be is an error that names the file and the key.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from unimo.errors import InputError
from unimo.evaluation.html.checks import MAKE, array_of, check_header, check_numbers, texts_of

KINDS = ("tokenizer", "capture", "generate")


@dataclass(frozen=True, eq=False)
class Run:
    """One run file.

    Attributes:
        path: the file; predictions lie in the folder of its name without `.json`.
        label: what the page calls it, different for every run.
        report: what the file holds, flat keys beside `header`.
        names: of the N clips, in the order of `per_clip`; empty when the file tells nothing of single clips.
        classes: N motion classes, or empty.
        per_clip: metric with unit → (N,) float64, mean over seeds, NaN where a clip has no value.
        by_joint: joint → mm.
        by_time: (T,) mm, or empty.
    """

    path: Path
    label: str
    report: dict[str, Any]
    names: list[str]
    classes: list[str]
    per_clip: dict[str, np.ndarray]
    by_joint: dict[str, float]
    by_time: np.ndarray

    @property
    def kind(self) -> str:
        """Which evaluation: "tokenizer", "capture" or "generate"."""
        return self.header["evaluation"]

    @property
    def header(self) -> dict[str, Any]:
        """What was measured, with what and where, see docs/evaluation.md."""
        return self.report["header"]

    @property
    def folder(self) -> Path:
        """Where its predictions and videos lie, if they were kept."""
        return self.path.with_suffix("")

    @property
    def clips_sha256(self) -> str | None:
        """Of all files of the measured clips, where it says so."""
        return part(self.header, "clips").get("sha256")

    @property
    def clips_count(self) -> int | None:
        """How many clips were measured, where it says so."""
        count = self.report.get("clips", part(self.header, "clips").get("count"))
        return int(count) if count is not None else len(self.names) or None

    @property
    def bundle_name(self) -> str:
        """As the header has it."""
        return str(part(self.header, "bundle").get("name") or "unknown bundle")

    @property
    def seeds(self) -> list[int]:
        """The seeds of sampling; the tokenizers do not sample and have one, 0."""
        seeds = self.header.get("seeds")
        return list(seeds) if isinstance(seeds, list) and seeds else [0]

    @property
    def fps(self) -> float | None:
        """Frames per second of its clips, where it says so."""
        rate = self.report.get("fps")
        return float(rate) if isinstance(rate, int | float) and rate > 0 else None

    def clips_folder(self) -> Path | None:
        """The folder of clips that the header names, or that its command names; None when neither does."""
        named = part(self.header, "clips").get("folder") or _option(str(self.header.get("command", "")), "--clips")
        if not named:
            return None
        place = Path(str(named)).expanduser()
        beside = self.path.parent / place
        return beside if not place.is_dir() and beside.is_dir() else place


def load_runs(paths: Sequence[str | Path]) -> list[Run]:
    """Reads run files.

    Raises:
        InputError: no file, one that is missing, given twice, not JSON, not a run or damaged; runs of two evaluations.
    """
    if not paths:
        raise InputError("no run is given", None, MAKE)
    places = [Path(path).expanduser() for path in paths]
    if len({place.resolve() for place in places}) < len(places):
        raise InputError("a run is given twice", ", ".join(map(str, places)), "give each file once")
    runs = [_load(place) for place in places]
    for run in runs:
        if run.kind != runs[0].kind:
            what = f"the runs are of different evaluations, {runs[0].kind} and {run.kind}"
            raise InputError(what, f"{runs[0].path}, {run.path}", "one report for each evaluation")
    return [replace(run, label=label) for run, label in zip(runs, _labels(runs), strict=True)]


def part(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The dictionary under a key, {} when there is none."""
    found = values.get(key)
    return found if isinstance(found, dict) else {}


def _load(path: Path) -> Run:
    report = _read(path)
    header = report.get("header") if isinstance(report, dict) else None
    if not isinstance(header, dict) or header.get("evaluation") not in KINDS:
        if isinstance(report, dict) and any(key in report for key in KINDS):
            what = "the file collects several evaluations; the report takes the file of one"
        else:
            what = "the file is JSON, but no run of unimo evaluate"
        raise InputError(what, str(path), MAKE)
    check_header(header, path)
    check_numbers(report, path)
    table = part(report, "per_clip")
    names = texts_of(table.get("clip", []), "per_clip.clip", path)
    classes = texts_of(table.get("motion_class", []), "per_clip.motion_class", path)
    numbers = {
        key: array_of(values, f"per_clip.{key}", path)
        for key, values in table.items()
        if key not in ("clip", "motion_class")
    }
    for key, values in {"motion_class": classes, **numbers}.items():
        if len(values) != len(names) and (len(values) or key != "motion_class"):
            raise InputError(f"per_clip.{key} has {len(values)} values for {len(names)} clips", str(path), MAKE)
    joints = part(report, "by_joint_mm")
    errors = array_of(list(joints.values()), "by_joint_mm", path)
    by_time = array_of([] if (given := report.get("by_time_mm")) is None else given, "by_time_mm", path)
    return Run(path, path.stem, report, names, classes, numbers, dict(zip(joints, errors, strict=True)), by_time)


def _read(path: Path) -> Any:
    if path.is_dir():
        raise InputError("this is a folder; the JSON file of a run is wanted", str(path), MAKE)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError("there is no such run", str(path.absolute()), MAKE) from error
    except OSError as error:
        raise InputError(f"the run cannot be read ({error.strerror or error})", str(path)) from error
    except (ValueError, RecursionError) as error:
        raise InputError("the file is not JSON; the file that --json wrote is wanted", str(path), MAKE) from error


def _labels(runs: Sequence[Run]) -> list[str]:
    """The bundles' names where they tell the runs apart, else the files', else the paths."""
    ways = ([run.bundle_name for run in runs], [run.path.stem for run in runs])
    return next((names for names in ways if len(set(names)) == len(runs)), [str(run.path) for run in runs])


def _option(command: str, name: str) -> str | None:
    """The word behind an option of a command line."""
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    if name in words[:-1]:
        return words[words.index(name) + 1]
    return next((word.split("=", 1)[1] for word in words if word.startswith(f"{name}=")), None)
