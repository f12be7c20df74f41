"""What a user asks of `unimo evaluate`, checked before anything heavy is loaded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from unimo.errors import InputError
from unimo.files import check_folder

DATASETS = ("synthetic-val", "3dpw", "rich", "human4dit")
PREDICTIONS = "predictions.npz"


@dataclass(frozen=True)
class ClipSource:
    """Where the clips of an evaluation come from: a folder, or a data set.

    Attributes:
        clips: folder of clips, or None.
        dataset: one of `DATASETS`, or None.
        data: where the user's copy of the data set lies (for "synthetic-val" the motion capture).
        workers: processes that render or read.
    """

    clips: Path | None = None
    dataset: str | None = None
    data: Path | None = None
    workers: int = 2


def check_source(source: ClipSource) -> None:
    """Raises InputError unless it is exactly one of folder and data set, known, with data where these are needed."""
    if (source.clips is None) == (source.dataset is None):
        neither = source.clips is None
        what = "give either --clips or --dataset" if neither else "--clips and --dataset exclude each other"
        raise InputError(what, None, f"--clips DIR, or --dataset {' | '.join(DATASETS)}")
    if source.clips is not None:
        if source.data is not None:
            raise InputError("--data belongs to --dataset", str(source.data), "leave it out")
        return
    if source.dataset not in DATASETS:
        raise InputError(f"unknown data set {source.dataset!r}", None, f"one of {', '.join(DATASETS)}")
    if source.data is not None and not source.data.exists():
        raise InputError("there is no such file or folder", str(source.data.absolute()), "check --data")
    if source.dataset != "synthetic-val" and source.data is None:
        from unimo.evaluation.datasets_real import REAL

        where = REAL[source.dataset].where
        raise InputError(f"{source.dataset} is licensed: your own copy is needed", None, f"--data DIR, with {where}")


def _ours(path: Path) -> bool:
    """Whether an evaluation may have written a file: it is replaced with the run."""
    return path.name == PREDICTIONS or (path.suffix == ".mp4" and "-seed" in path.stem)


def _is_report(path: Path) -> bool:
    """Whether a file is the report of an evaluation."""
    try:
        return "evaluation" in json.loads(path.read_text(encoding="utf-8"))["header"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def check_target(path: str | Path) -> Path:
    """The path of a report, once it is sure that its folder may be written.

    Raises:
        InputError: it does not end in .json, is a folder or another file than a report, the folder of its name holds
            what no evaluation wrote, or nothing can be written there.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise InputError("--json names a folder; a file is wanted", str(path), f"--json {path / 'report.json'}")
    if path.suffix != ".json":
        raise InputError("the report's name must end in .json", str(path), f"--json {path}.json")
    folder = path.with_suffix("")
    if folder.exists() and not (folder.is_dir() and all(map(_ours, folder.iterdir()))):
        what = "predictions go into the folder of the report's name, which holds something else"
        raise InputError(what, str(folder), "another --json")
    if path.exists() and not _is_report(path):
        raise InputError("there is a file of this name that is no evaluation's report", str(path), "another --json")
    check_folder(path.parent)
    return path
