"""Imports a file or folder of one format into DIR/SUBJECT/NAME.npz, each with its record NAME.json.

The folder of a motion is its subject, so that `MotionLibrary`, and with it `unimo train motion-tokenizer --data DIR`,
splits by people. A stopped run goes on: DIR/imported.jsonl has a line for every source that is done. DIR/skipped.jsonl
lists what could not be used, with the reason, as of the last run.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unimo.data.importers import importer
from unimo.data.importers.base import ImportedMotion, ImportOptions, Source
from unimo.data.importers.bodies import pelvis
from unimo.errors import InputError
from unimo.files import atomic_write, writing_into
from unimo.motion.npz import save_motion

logger = logging.getLogger(__name__)

DONE, SKIPPED = "imported.jsonl", "skipped.jsonl"
# metres/s: the fastest people fall at 12; AMASS's files disagree about frame rates
_FASTEST = 12.0


@dataclass(frozen=True)
class ImportReport:
    """What a run did.

    Attributes:
        sources: units of work that were looked at.
        kept: of them, those that an earlier run had done.
        motions: motions in the folder that are of these sources.
        seconds: their length together.
        subjects: their subjects.
        skipped: (source, reason) of what could not be used.
        fix: what to do about the first of them.
    """

    sources: int
    kept: int
    motions: int
    seconds: float
    subjects: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    fix: str | None = None


def import_motions(
    name: str,
    source: Path,
    output: Path,
    options: ImportOptions | None = None,
    limit: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ImportReport:
    """Imports what `source` has of the format `name`.

    Args:
        name: a key of `unimo.data.importers.FORMATS`.
        source: a file or folder.
        output: folder, made when missing.
        options: what the files do not say.
        limit: take the first so many sources.
        progress: called with (sources done, sources in all).

    Raises:
        InputError: the format is unknown, there is no source, `source` lies in `output`, or that cannot be written.
        MissingAssetError: the format needs a package that is not installed.
    """
    if output.resolve() in (source.resolve(), *source.resolve().parents):
        raise InputError("the output folder holds the source", str(output), "give --output another folder")
    reader, options = importer(name), options or ImportOptions()
    sources = reader.find(source)[:limit]
    done, kept, skipped, entries = _done(output), 0, [], []
    with writing_into(output):
        for count, unit in enumerate(sources, 1):
            asked = {"format": name, "source": unit.key, "stamp": _stamp(unit.path), **_asked(options)}
            entry = done.get(_identity(asked))
            if entry is not None and all((output / motion["file"]).is_file() for motion in entry["motions"]):
                kept += 1
            else:
                entry = {**asked, "motions": []}
                try:
                    for imported in reader.read(unit, options):
                        entry["motions"].append(_write(imported, asked, unit, output, entry["motions"]))
                    if not entry["motions"]:
                        raise InputError("it holds no motion")
                    _append(output / DONE, entry)
                except InputError as error:
                    logger.warning("%s is skipped: %s", unit.key, error.what)
                    skipped.append({"source": unit.key, "reason": error.what, "fix": error.fix})
            entries += entry["motions"]
            progress(count, len(sources))
        _write_skipped(output, name, skipped)
    return ImportReport(
        len(sources),
        kept,
        len(entries),
        sum(motion["seconds"] for motion in entries),
        tuple(sorted({motion["file"].split("/")[0] for motion in entries})),
        tuple((each["source"], each["reason"]) for each in skipped),
        skipped[0]["fix"] if skipped else None,
    )


def _write(
    imported: ImportedMotion, asked: dict[str, Any], unit: Source, output: Path, before: list[dict[str, Any]]
) -> dict[str, Any]:
    """Writes the record, then the motion: a motion that is there has its record; `before` are those of the source."""
    place = f"{_safe(imported.subject)}/{_safe(imported.name)}"
    # some file systems do not tell capitals from small letters
    if f"{place}.npz".lower() in {motion["file"].lower() for motion in before}:
        raise InputError(f"it has two motions that would be {place}.npz")
    target, record = output / f"{place}.npz", output / f"{place}.json"
    asked = {**asked, "path": str(unit.path.resolve())}
    _refuse_others(record, asked, place)
    content = {**asked, **_record(imported)}
    try:
        text = json.dumps(content, allow_nan=False, ensure_ascii=False) + "\n"
    except ValueError as error:
        raise InputError(f"its notes hold a value that is no number ({error})", place) from error
    with atomic_write(record) as temporary:
        temporary.write_text(text, encoding="utf-8")
    save_motion(target, imported.motion)
    return {"file": f"{place}.npz", "seconds": len(imported.motion) / imported.motion.fps}


def _record(imported: ImportedMotion) -> dict[str, Any]:
    motion, frames = imported.motion, imported.frames
    record: dict[str, Any] = {
        "name": imported.name,
        "subject": imported.subject,
        "gender": imported.gender,
        "video": imported.video,
        "text": imported.text,
        "rows": len(motion),
        "fps": motion.fps,
        "axes": motion.axes,
        "body": motion.body,
        "notes": dict(imported.notes),
    }
    if frames is not None:
        step = int(frames[1] - frames[0]) if len(frames) > 1 else 1
        record["frames"] = {"first": int(frames[0]), "last": int(frames[-1]), "step": step}
    if imported.valid is not None:
        record["valid"] = _ranges(imported.valid)
    if (speed := _speed(imported)) > _FASTEST:
        logger.warning("%s: the pelvis moves at %.0f m/s; is the frame rate right?", imported.name, speed)
        record["notes"]["fastest_pelvis"] = round(speed, 1)
    return record


def _ranges(valid: np.ndarray) -> list[list[int]]:
    """Runs of rows that are valid, as [first, last + 1]."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], valid, [False]]).astype(np.int8)))
    return edges.reshape(-1, 2).tolist()


def _speed(imported: ImportedMotion) -> float:
    """The 99th percentile of the pelvis's speed in metres/s; 0 where depth is not metric."""
    motion = imported.motion
    if len(motion) < 2 or (motion.extras or {}).get("depth_is_not_metric"):
        return 0.0
    steps = np.linalg.norm(np.diff(pelvis(motion), axis=0), axis=1)
    return float(np.percentile(steps, 99)) * motion.fps


def _refuse_others(record: Path, asked: dict[str, Any], place: str) -> None:
    """Refuses to write over the motion of another source."""
    if not record.is_file():
        return
    try:
        there = json.loads(record.read_text(encoding="utf-8"))
        same = (there["format"], there["source"]) == (asked["format"], asked["source"])
        # a data set may be moved, and a file may change in its place
        same = same and (there["path"] == asked["path"] or there["stamp"] == asked["stamp"])
    except (ValueError, KeyError, TypeError, OSError):
        return  # a damaged record belongs to nobody
    if not same:
        what = f"{place}.npz is there already, of {there['format']} {there['source']}"
        raise InputError(what, fix="import the two into different folders")


def _safe(name: str) -> str:
    """A name of one path part, of letters, digits, dot, dash and underscore."""
    return re.sub(r"[^\w.-]+", "_", name).strip("._")[:200] or "unnamed"


def _stamp(path: Path) -> list[int]:
    """Files, bytes and the time of the last change: they differ when a source has changed."""
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    states = [file.stat() for file in files if file.is_file()]
    times = [state.st_mtime_ns for state in states]
    return [len(states), sum(state.st_size for state in states), max(times, default=0)]


def _asked(options: ImportOptions) -> dict[str, Any]:
    return {"given_fps": options.fps, "given_video": str(options.video) if options.video else None}


def _identity(entry: dict[str, Any]) -> str:
    keys = ("format", "source", "stamp", "given_fps", "given_video")
    return json.dumps([entry.get(key) for key in keys])


def _done(output: Path) -> dict[str, dict[str, Any]]:
    """The lines of `imported.jsonl`; one that a kill has cut off is passed over."""
    path, done = output / DONE, {}
    if not path.is_file():
        return done
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
            done[_identity(entry)] = {**entry, "motions": list(entry["motions"])}
        except (ValueError, KeyError, TypeError, AttributeError):
            logger.warning("%s has a line that was cut off: its source is imported anew", path)
    return done


def _append(path: Path, entry: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        cut_off = False
        if file.tell():
            file.seek(-1, os.SEEK_END)
            cut_off = file.read(1) != b"\n"
        file.write(("\n" * cut_off + json.dumps(entry) + "\n").encode())


def _write_skipped(output: Path, name: str, skipped: list[dict[str, Any]]) -> None:
    """This format's lines are replaced, those of others stay."""
    path = output / SKIPPED
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    others = [line for line in lines if not line.startswith(f'{{"format": {json.dumps(name)},')]
    own = [json.dumps({"format": name, **each}) for each in skipped]
    with atomic_write(path) as temporary:
        temporary.write_text("".join(line + "\n" for line in others + own), encoding="utf-8")
