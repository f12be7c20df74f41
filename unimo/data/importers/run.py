"""Imports a file or folder of one format into DIR/SUBJECT/NAME.npz, each with its record NAME.json.

The folder of a motion is its subject, so that `MotionLibrary`, and with it `unimo train motion-tokenizer --data DIR`,
splits by people. A stopped run goes on (see `ledger`). A source that has changed is imported anew, and what it holds no
longer is taken away. DIR/skipped.jsonl lists what could not be used, with the reason, as of the last run.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unimo.data.importers import importer
from unimo.data.importers.base import ImportedMotion, Importer, ImportOptions, OptionError, Source
from unimo.data.importers.bodies import pelvis
from unimo.data.importers.ledger import Entry, Ledger, of_same_source, read_record, stamp_of, write_skipped
from unimo.errors import InputError
from unimo.files import atomic_write, writing_into
from unimo.motion.npz import save_motion

logger = logging.getLogger(__name__)

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
        skipped: (source, reason) of sources that could not be used.
        left_out: stretches of one frame in the others.
        fix: what to do about the first source that could not be used.
    """

    sources: int
    kept: int
    motions: int
    seconds: float
    subjects: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    left_out: int
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
        OptionError: the options do not fit the sources, such as another frame rate than theirs.
        MissingAssetError: the format needs a package that is not installed.
    """
    if output.resolve() in (source.resolve(), *source.resolve().parents):
        raise InputError("the output folder holds the source", str(output), "give --output another folder")
    reader, options = importer(name), options or ImportOptions()
    sources = reader.find(source)[:limit]
    ledger, kept, entries = Ledger(output), 0, []
    with writing_into(output):
        for count, unit in enumerate(sources, 1):
            asked = _asked(name, unit, options)
            entry = ledger.last(asked)
            if entry is not None and ledger.holds(entry, asked):
                kept += 1
            else:
                entry = _import(reader, unit, options, output, asked, ledger, entry)
            entries.append(entry)
            progress(count, len(sources))
        skipped = [{"source": entry["source"], **each} for entry in entries for each in _unusable(entry)]
        write_skipped(output, name, skipped)
    failed = [(entry["source"], entry["skipped"]) for entry in entries if "skipped" in entry]
    motions = [motion for entry in entries for motion in entry["motions"]]
    return ImportReport(
        len(sources),
        kept,
        len(motions),
        sum(motion["seconds"] for motion in motions),
        tuple(sorted({motion["file"].split("/")[0] for motion in motions})),
        tuple((source, each["reason"]) for source, each in failed),
        sum(len(entry.get("left_out", ())) for entry in entries),
        failed[0][1]["fix"] if failed else None,
    )


def _import(
    reader: Importer,
    unit: Source,
    options: ImportOptions,
    output: Path,
    asked: Entry,
    ledger: Ledger,
    before: Entry | None,
) -> Entry:
    """Imports one source anew and returns its line of the ledger; one that cannot be used says why in `skipped`."""
    entry: Entry = {**asked, "motions": [], "left_out": []}
    changed = before is not None and before.get("stamp") != asked["stamp"]
    try:
        for imported in reader.read(unit, options):
            if len(imported.motion) < 2:
                entry["left_out"].append({"reason": f"{imported.name} has one frame, which is no motion", "fix": None})
            else:
                entry["motions"].append(_write(imported, asked, output, entry["motions"]))
        if not entry["motions"]:
            reasons = [each["reason"] for each in entry.pop("left_out")]
            raise InputError(reasons[0] if reasons else "it holds no motion", fix="leave it out")
    except OptionError:
        raise
    except InputError as error:
        logger.warning("%s is skipped: %s", unit.key, error.what)
        entry["skipped"] = {"reason": error.what, "fix": error.fix}
    ledger.finish(entry, before, changed or "skipped" not in entry)
    return entry


def _unusable(entry: Entry) -> list[dict[str, Any]]:
    """What of a source could not be used: all of it, or stretches of one frame."""
    return [*([entry["skipped"]] if "skipped" in entry else []), *entry.get("left_out", [])]


def _write(
    imported: ImportedMotion, asked: Entry, output: Path, before: list[dict[str, Any]]
) -> dict[str, Any]:
    """Writes the record, then the motion: a motion that is there has its record; `before` are those of the source."""
    place = f"{_safe(imported.subject)}/{_safe(imported.name)}"
    # some file systems do not tell capitals from small letters
    if f"{place}.npz".lower() in {motion["file"].lower() for motion in before}:
        raise InputError(f"it has two motions that would be {place}.npz")
    target, record = output / f"{place}.npz", output / f"{place}.json"
    there = read_record(record)
    if there is not None and {"format", "source"} <= set(there) and not of_same_source(there, asked):
        what = f"{place}.npz is there already, of {there['format']} {there['source']}"
        raise InputError(what, fix="import the two into different folders")
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


def _safe(name: str) -> str:
    """A name of one path part, of letters, digits, dot, dash and underscore."""
    return re.sub(r"[^\w.-]+", "_", name).strip("._")[:200] or "unnamed"


def _asked(name: str, unit: Source, options: ImportOptions) -> Entry:
    """What is imported and how, for the ledger and the records."""
    return {
        "format": name,
        "source": unit.key,
        "path": str(unit.path.resolve()),
        "stamp": stamp_of(unit.path),
        "about": dict(unit.about),
        "given_fps": options.fps,
        "given_video": str(options.video) if options.video else None,
    }
