"""The results page: runs the command line as a user would, and writes what it measured as JSON and as Markdown tables.

In: motion capture for `synthetic-val` and a bundle. Out: the runs (reports and predictions) in a folder of their own;
`results.json` (the reports without single clips, time and peak memory of each command, the regression gate's record)
and the part of `results.md` between two markers; what stands around the markers is kept.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from unimo.assets import example_path
from unimo.bundle import load_bundle
from unimo.data.clips import clip_folders, load_clips
from unimo.errors import InputError, UniMoError
from unimo.evaluation.regression import record
from unimo.evaluation.report import EVALUATIONS, machine
from unimo.evaluation.results_rows import BASELINES, ROWS, TITLES
from unimo.files import write_text

BEGIN, END = "<!-- made by tools/make_results.py: begin -->", "<!-- made by tools/make_results.py: end -->"


LIMITS = {"generate": (60.0, 4.0), "capture": (30.0, 4.0)}
"""Seconds and GB (10⁹ bytes) that one `unimo generate` and one `unimo capture` may take on two cores."""


@dataclass(frozen=True)
class Asked:
    """What is measured, and with what.

    Attributes:
        mocap: the motion capture of `synthetic-val`.
        bundle: name or path.
        folder: where `results.json` and `results.md` go.
        runs: where the reports and predictions of the runs go.
        counts: clips by evaluation.
        seeds: how many, for capture and generate.
        device: as the commands take it.
        gate: folder with the clips of the regression gate.
    """

    mocap: Path
    bundle: str
    folder: Path
    runs: Path
    counts: Mapping[str, int]
    seeds: int = 3
    device: str = "cpu"
    gate: Path | None = None


def make_results(asked: Asked) -> dict[str, Any]:
    """Runs the three evaluations, both commands and the regression gate, and writes the page.

    Raises:
        InputError: `results.md` exists without the markers.
        UniMoError: a command failed; the message is its own.
    """
    _page(asked.folder)  # a page that cannot be written is named before hours of work
    results: dict[str, Any] = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "commands": {},
    }
    common = ["--bundle", asked.bundle, "--device", asked.device, "--quiet"]
    asked.runs.mkdir(parents=True, exist_ok=True)
    for kind in EVALUATIONS:
        words = ["evaluate", kind, "--dataset", "synthetic-val", "--data", str(asked.mocap)]
        words += ["--count", str(asked.counts[kind]), *common]
        words += [] if kind == "tokenizer" else ["--seeds", str(asked.seeds)]
        file = asked.runs / f"{kind}.json"
        cost = _run(words, "--json", file, {str(asked.mocap): asked.mocap.name})
        results[kind] = published(json.loads(file.read_text(encoding="utf-8")), cost["command"])
    inputs = {"generate": ["--image", os.path.relpath(example_path("person.jpg"))]}
    if asked.gate is not None:
        inputs["capture"] = ["--video", os.path.relpath(clip_folders(asked.gate)[0] / "rgb.mp4")]
    with tempfile.TemporaryDirectory() as work:
        for command, source in inputs.items():
            results["commands"][command] = _run([command, *source, *common], "--output", Path(work) / command)
    results["probe"] = load_bundle(asked.bundle).info.training.get("probe")
    if asked.gate is not None:
        results["regression"] = gate_record(asked.gate, asked.bundle)
    _write(asked.folder, results)
    return results


def renew_gate(folder: Path, gate: Path, bundle: str) -> dict[str, Any]:
    """Measures the regression gate anew and puts it into the results that are there; returns them.

    Raises:
        InputError: there are no results, or the page has no markers.
    """
    path = folder / "results.json"
    if not path.is_file():
        raise InputError("there are no results to put the gate into", str(path), "python tools/make_results.py")
    results = json.loads(path.read_text(encoding="utf-8")) | {"regression": gate_record(gate, bundle)}
    _write(folder, results)
    return results


def gate_record(gate: Path, bundle: str) -> dict[str, Any]:
    """`regression.record` of the clips in a folder."""
    weights = load_bundle(bundle)
    settings = weights.settings
    clips = load_clips(gate, None, settings.frames, settings.fps, settings.side, settings.body)
    return record(clips, weights)


def published(report: Mapping[str, Any], command: str) -> dict[str, Any]:
    """A report as results.json keeps it: without single clips and without places on this machine."""
    kept = {key: value for key, value in report.items() if key != "per_clip"}
    header = {**report["header"], "command": command}
    header["clips"] = {key: value for key, value in header["clips"].items() if key != "folder"}
    return {**kept, "header": header}


def _page(folder: Path) -> str:
    """The page's text, or that of a new one.

    Raises:
        InputError: it has no markers.
    """
    page = folder / "results.md"
    text = page.read_text(encoding="utf-8") if page.is_file() else f"# Results\n\n{BEGIN}\n{END}\n"
    if BEGIN not in text or END not in text:
        raise InputError("the page has no markers for the tables", str(page), f"add the lines {BEGIN} and {END}")
    return text


def _write(folder: Path, results: Mapping[str, Any]) -> None:
    before, tables = _page(folder), results_tables(results)
    write_text(folder / "results.json", json.dumps(results, indent=2) + "\n")
    after = before[: before.index(BEGIN)] + BEGIN + "\n" + tables + before[before.index(END) :]
    write_text(folder / "results.md", after)


def results_tables(results: Mapping[str, Any]) -> str:
    """The Markdown of all tables."""
    place = results["machine"]
    lines = [
        f"Measured {results['date']} on {place['cores']} cores of {place['cpu']} (load {place['load_average']}).",
        "Square brackets: 95 % bootstrap interval over clips. Goals are the project's own; ✗ marks one that is missed.",
    ]
    for kind in EVALUATIONS:
        lines += ["", *_section(kind, results[kind])]
    if results.get("probe"):
        lines += _probe_section(results["probe"])
    lines += ["", "### Time and memory of one run", "", "| command | seconds (goal) | peak memory, GB (goal) |"]
    lines += ["|---|---|---|"]
    for command, cost in results["commands"].items():
        seconds, memory = LIMITS[command]
        lines.append(
            f"| `{cost['command']}` | {cost['seconds']:.1f} {_goal(cost['seconds'], None, seconds)} "
            f"| {cost['peak_memory_gb']:.2f} {_goal(cost['peak_memory_gb'], None, memory)} |"
        )
    if results.get("regression"):
        lines += _gate_section(results["regression"])
    return "\n".join(lines) + "\n"


def _probe_section(numbers: Mapping[str, Any]) -> list[str]:
    """The pose probe's numbers as they stand in the bundle, beside the constant pose of the training clips."""
    lines = ["", "### What a small regressor recovers of the pose from visual tokens", ""]
    lines += [
        "`python tools/train_mini.py … --stages probe`: last validation of "
        f"{numbers['step']} steps in {numbers['minutes']:.1f} minutes, on the validation clips of the training run; "
        "kept in `bundle.json`.",
        "", "| measure | value | constant pose | ratio |", "|---|---|---|---|",
    ]  # fmt: skip
    for key, value in numbers.items():
        constant = numbers.get(f"constant_pose.{key}")
        if constant is not None:
            lines.append(f"| {key} | {_number(value)} | {_number(constant)} | {value / constant:.2f} |")
    return lines


def _section(kind: str, report: Mapping[str, Any]) -> list[str]:
    header = report["header"]
    lines = [f"### {TITLES[kind]}", "", f"`{header['command']}`", ""]
    what = f"{report['clips']} clips at {report['fps']:g} frames/s"
    if header["seeds"]:
        what += f" × {len(header['seeds'])} seeds"
        what += f"; {report['decode_seconds'] / len(header['seeds']):.0f} s of decoding a seed"
    if "num_samples" in report:
        what += f"; each the mean of {report['num_samples']} samples"
    if "constant_pose.fitted_to" in report:
        what += f"; constant pose fitted to the {report['constant_pose.fitted_to']}"
    bundle = f"bundle {header['bundle']['name']} {header['bundle']['sha256'][:12]}"
    drivers = ", ".join(header["clips"]["graphics_drivers"]) or "unknown driver"
    columns = {name: title for name, title in BASELINES.items() if f"{name}.mpjpe_mm" in report}
    lines += [
        f"{what}; {header['wall_seconds']:.0f} s in all; peak memory {header.get('peak_memory_gb', '–')} GB; {bundle}; "
        f"clips {header['clips']['sha256'][:12]}, drawn by {drivers}.{_dataset(header.get('dataset') or {})}",
        "",
        f"| {' | '.join(['measure', 'value', 'beside', *columns.values(), 'goal'])} |",
        "|---" * (4 + len(columns)) + "|",
    ]
    for row in ROWS[kind]:
        if row.key not in report:
            continue
        interval = report.get(f"interval95.{row.key}")
        value = _number(report[row.key]) + (f" [{_number(interval[0])}, {_number(interval[1])}]" if interval else "")
        cells = [row.meaning, value, _number(report.get(row.beside)) if row.beside else ""]
        cells += [_number(report[key]) if (key := f"{name}.{row.key}") in report else "" for name in columns]
        lines.append(f"| {' | '.join([*cells, _goal(report[row.key], row.low, row.high)])} |")
    return lines


def _dataset(about: Mapping[str, Any]) -> str:
    """Whether the clips are the defined ones."""
    matches = about.get("matches_the_definition")
    if about.get("name") is None or matches is None:
        return ""
    return f" Motion and cameras are {'' if matches else 'NOT '}those of `{about['name']}`."


def _gate_section(gate: Mapping[str, Any]) -> list[str]:
    """The regression gate: what one seed on the committed clips must give."""
    lines = ["", "### Regression gate", ""]
    lines += [
        f"`{gate['renew']}`: {gate['clips']['count']} committed clips of procedural walks, {gate['seeds']} seeds; "
        "`tests/evaluation/test_regression.py` fails when one seed's value is outside.",
        "", "| number | mean | interval |", "|---|---|---|",
    ]  # fmt: skip
    for key, known in gate["numbers"].items():
        low, high = known["interval"]
        lines.append(f"| {key} | {_number(known['value'])} | {_number(low)} .. {_number(high)} |")
    return lines


def _number(value: Any) -> str:
    """Three digits that count, and no fewer than stand before the point."""
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def _goal(value: float | None, low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return ""
    met = value is not None and (low is None or value >= low) and (high is None or value <= high)
    if low is not None and high is not None:
        text = f"{low:g}-{high:g}"
    else:
        text = f"≥ {low:g}" if high is None else f"≤ {high:g}"
    return f"({text} {'✓' if met else '✗'})"


def _run(
    words: Sequence[str], option: str, target: Path, shown: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Runs `unimo` with these words and its result under `option`; its command line, wall seconds and peak memory.

    The command line names the target without its folder, and words of `shown` as that says.

    Raises:
        UniMoError: it failed.
    """
    program, started = [sys.executable, "-m", "unimo"], time.perf_counter()
    # the child imports from where this process does, installed or not
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    # a file, since a full pipe would stop a child that nobody reads from while it is waited for
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(
            [*program, *words, option, str(target)], stdout=messages, stderr=messages, env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - started
        messages.seek(0)
        text = messages.read().decode("utf-8", "replace").strip()
    command = shlex.join(["unimo", *((shown or {}).get(word, word) for word in words), option, target.name])
    if process.returncode:
        raise UniMoError(f"the command failed ({process.returncode}): {command}\n{text}")
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"command": command, "seconds": round(seconds, 2), "peak_memory_gb": round(peak / 1e9, 3)}
