"""Ablations: every configuration of a folder trained for the same minutes, in one table.

In: a `Study` (which model is trained, how it is measured) and a folder of YAML files (`Ablation`) that say what differs
from a base configuration. Out: a run a file and seed in
`work/<file>/seed_<n>/`, and `table.md` and `table.json` over all runs found there. A run that is done is not repeated,
one that was cut off goes on, one that diverges is noted and the next begins; rows without a finished run say "not run".
Processes with different seeds may share the folder. On a CPU the minutes are CPU time over all threads of the process,
so that other work on the machine takes little from a run.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unimo.config import load_config, read_yaml, to_dict
from unimo.errors import InputError, TrainingError
from unimo.files import atomic_write
from unimo.training.loop import Trainer
from unimo.training.task import Task

logger = logging.getLogger(__name__)

CONFIG, DATA, RESULT, TABLE = "config.json", "data.txt", "result.json", "table"
Columns = Sequence[tuple[str, str, int]]
Progress = Callable[[str, float, str], None]


@dataclass(frozen=True)
class Study:
    """One kind of model that is compared.

    Attributes:
        config: class of its training configuration, which has an `optimization`.
        columns: metrics of the table: key, heading, digits.
        task: makes the training task of a configuration, data included.
        measure: of a trained task, what stands in the result beside its validation; "parameters" among it.
        data: what the runs learn from, so that runs on other data are not mixed with them; "" where overrides say it.
    """

    config: type[Any]
    columns: Columns
    task: Callable[[Any], Task]
    measure: Callable[[Any], dict[str, float]]
    data: str = ""


@dataclass(frozen=True)
class Ablation:
    """One row.

    Attributes:
        rows: what the row says, by heading of the table that it stands in (one run may serve several).
        paper: the paper's MPJPE, PA-MPJPE, PVE and Accel of this row, for printing beside ours.
        change: what differs from the base configuration, as nested mappings.
    """

    rows: dict[str, str]
    paper: tuple[float, ...] = ()
    change: dict[str, Any] = field(default_factory=dict)


def load_ablations(folder: Path) -> dict[str, Ablation]:
    """The ablations of a folder by file name, in that order.

    Raises:
        InputError: the folder does not exist or holds no YAML file.
        ConfigError: a file is malformed.
    """
    files = sorted(folder.glob("*.yaml")) if folder.is_dir() else []
    if not files:
        fix = "a folder of YAML files, or the name of a shipped one: motion_tokenizer, ar_model"
        raise InputError("there are no ablations here", str(folder.absolute()), fix)
    return {file.stem: load_config(Ablation, file) for file in files}


def run_sweep(
    study: Study,
    ablations: Mapping[str, Ablation],
    base: Path,
    overrides: Sequence[str],
    seeds: Sequence[int],
    minutes: float,
    work: Path,
    device: str = "cpu",
    progress: Progress = lambda stage, fraction, text: None,
) -> Path:
    """Trains every ablation with every seed and writes the table.

    Args:
        study: what is trained and measured.
        ablations: by name, see `load_ablations`.
        base: the configuration that they change.
        overrides: `a.b=c`, applied to all.
        seeds: of weights, batches and noise; the clips are the same for all.
        minutes: budget of each run; the learning rate's decay follows it.
        work: folder of the runs.
        device: where models live, which decides the clock.
        progress: called with (run, fraction, text).

    Returns:
        The table's Markdown file.

    Raises:
        ConfigError: an ablation does not fit the base configuration.
        InputError: a run of another configuration lies in `work`.
    """
    # steps must not end a run before its minutes, unless the user says so
    common = [f"optimization.steps={10**9}", *overrides, f"optimization.minutes={minutes}"]
    configs = {
        (name, seed): change(study.config, base, ablation, [*common, f"optimization.seed={seed}"])
        for seed in seeds
        for name, ablation in ablations.items()
    }
    folders = {(name, seed): work / name / f"seed_{seed}" for name, seed in configs}
    for key, config in configs.items():
        _check_same(folders[key], config, study.data)
    for (name, seed), config in configs.items():
        folder = folders[name, seed]
        if (folder / RESULT).is_file():
            continue
        label = f"{name}, seed {seed}"
        _run(study, config, folder, device, lambda part, text, label=label: progress(label, part, text))
        write_table(study.columns, ablations, work, minutes)
    return write_table(study.columns, ablations, work, minutes)


def _check_same(folder: Path, config: Any, data: str) -> None:
    """Raises InputError when the folder holds a run of another configuration or budget, or on other data."""
    kept = folder / CONFIG
    if not kept.is_file():
        return
    if json.loads(kept.read_text(encoding="utf-8")) != to_dict(config):
        raise InputError("a run of another configuration or budget lies here", str(folder), "another --work")
    if (folder / DATA).read_text(encoding="utf-8") != data:
        raise InputError("a run on other clips or tokens lies here", str(folder), "another --work")


def change(config: type[Any], base: Path, ablation: Ablation, overrides: Sequence[str]) -> Any:
    """The configuration of an ablation, of class `config`.

    Raises:
        ConfigError: it does not fit the base configuration.
    """
    where = f"{base} with the changes of an ablation"
    return load_config(config, _merged(read_yaml(base), ablation.change), overrides, where)


def _merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings laid over each other; everything else is replaced."""
    merged = dict(base)
    for key, value in change.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def _run(study: Study, config: Any, folder: Path, device: str, progress: Callable[[float, str], None]) -> None:
    """Trains one run and leaves `result.json`, which says that it is done; "failed" in it gives a divergence."""
    with atomic_write(folder / DATA) as path:
        path.write_text(study.data, encoding="utf-8")
    with atomic_write(folder / CONFIG) as path:
        path.write_text(json.dumps(to_dict(config), indent=2) + "\n", encoding="utf-8")
    task = study.task(config)
    report = lambda fraction, numbers: progress(fraction, f"loss {numbers['loss']:.3f}")  # noqa: E731
    # nobody looks at a run on its way, and validation is time off the budget
    quiet = replace(config.optimization, validate_every=10**9)
    clock = time.process_time if device == "cpu" else time.monotonic
    trainer = Trainer(task, quiet, folder, resume=True, progress=report, clock=clock)
    try:
        result: dict[str, Any] = {**trainer.run(), **study.measure(task)}
    except TrainingError as error:
        logger.warning("%s diverged: %s", folder, error.what)
        result = {"failed": error.what}
    result |= {"steps": trainer.step, "minutes": trainer.elapsed / 60}
    with atomic_write(folder / RESULT) as path:
        path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def write_table(columns: Columns, ablations: Mapping[str, Ablation], work: Path, minutes: float) -> Path:
    """Writes `table.md` and `table.json` of all finished runs in `work`; returns the Markdown file."""
    runs = {name: _results(work / name) for name in ablations}
    work.mkdir(parents=True, exist_ok=True)
    with atomic_write(work / f"{TABLE}.json") as path:
        path.write_text(json.dumps({"minutes": minutes, "runs": runs}, indent=2) + "\n", encoding="utf-8")
    text = f"{minutes:g} minutes a run. Mean over seeds (lowest to highest).\n"
    for table in sorted({heading for ablation in ablations.values() for heading in ablation.rows}):
        rows = {name: ablation for name, ablation in ablations.items() if table in ablation.rows}
        text += f"\n### {table}\n\n" + "\n".join(_markdown(columns, table, rows, runs)) + "\n"
    target = work / f"{TABLE}.md"
    with atomic_write(target) as path:
        path.write_text(text, encoding="utf-8")
    return target


def _results(folder: Path) -> dict[str, dict[str, Any]]:
    """Finished runs of one ablation by seed."""
    files = sorted(folder.glob(f"seed_*/{RESULT}"))
    return {file.parent.name.removeprefix("seed_"): json.loads(file.read_text(encoding="utf-8")) for file in files}


def _markdown(
    columns: Columns,
    table: str,
    rows: Mapping[str, Ablation],
    runs: Mapping[str, Mapping[str, Mapping[str, float]]],
) -> Iterable[str]:
    paper = any(row.paper for row in rows.values())
    headings = ["", "seeds", "steps", "parameters, M", *(heading for _, heading, _ in columns)]
    headings += ["paper (other data)"] if paper else []
    yield _line(headings)
    yield _line(["---"] * len(headings))
    for name, row in rows.items():
        found = list(runs[name].values())
        cells = [row.rows[table], str(len(found)), *_cells(columns, found)]
        cells += [" / ".join(f"{value:g}" for value in row.paper)] if paper else []
        yield _line(cells)


def _cells(columns: Columns, found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Steps, parameters and columns of all seeds of one row."""
    if not found:
        return ["not run"] * (2 + len(columns))
    if any("failed" in run for run in found):
        return ["diverged"] * (2 + len(columns))
    keys = [("steps", 0), *((key, digits) for key, _, digits in columns)]
    steps, *others = [_spread([run[key] for run in found if key in run], digits) for key, digits in keys]
    return [steps, f"{found[0]['parameters'] / 1e6:.2f}", *others]


def _spread(values: Sequence[float], digits: int) -> str:
    """The mean and, of several values, lowest and highest; a dash when it is undefined in every run."""
    if not values:
        return "–"
    mean = f"{sum(values) / len(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
