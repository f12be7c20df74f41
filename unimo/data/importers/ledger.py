"""The two lists in the folder of an import: what is done (imported.jsonl) and what could not be used (skipped.jsonl).

A line of imported.jsonl is one import of one source: `format`, `source` (its key), `path`, `stamp` (files, bytes, last
change), what was asked, `motions` (file, seconds), `left_out` and, where it failed, `skipped`. The last line of a
source counts: it says which motions are its own, so that those which a changed source has no longer are taken away.
"""

from __future__ import annotations

import json
import logging
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

from unimo.files import write_text

logger = logging.getLogger(__name__)

DONE, SKIPPED = "imported.jsonl", "skipped.jsonl"
_ASKED = ("stamp", "about", "given_fps", "given_video")
Entry = dict[str, Any]


class Ledger:
    """What earlier runs have put into a folder, and what this run adds.

    Args:
        folder: of the import; a line that a kill has cut off is passed over.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._entries = folder, defaultdict(list)
        path = folder / DONE
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
        for line in lines:
            try:
                entry = json.loads(line)
                entry["motions"] = list(entry["motions"])
                self._entries[entry["format"], entry["source"]].append(entry)
            except (ValueError, KeyError, TypeError):
                logger.warning("%s has a line that was cut off: its source is imported anew", path)

    def last(self, asked: Entry) -> Entry | None:
        """The last import of a source; one of another path is the same source if its stamp is, for it was moved."""
        entries = self._entries[asked["format"], asked["source"]]
        own = [entry for entry in entries if entry.get("path") == asked["path"]]
        moved = [entry for entry in entries if entry.get("stamp") == asked["stamp"]]
        return (own or moved or [None])[-1]

    def holds(self, entry: Entry, asked: Entry) -> bool:
        """Whether an import was of the source as it is now, with the same options, and its motions are still there."""
        same = all(entry.get(key) == asked.get(key) for key in _ASKED) and "skipped" not in entry
        return same and all((self._folder / motion["file"]).is_file() for motion in entry["motions"])

    def finish(self, entry: Entry, before: Entry | None, whole: bool) -> None:
        """Takes away what the source has no longer, then adds the line: a run killed between does the source again.

        Args:
            entry: the import that has ended.
            before: the last import of the source, from `last`.
            whole: whether the source was read to its end, or has changed: what was not imported is gone.
        """
        own = {motion["file"] for motion in entry["motions"]}
        left = [motion for motion in (before["motions"] if before else []) if motion["file"] not in own]
        for motion in left if whole else []:
            self._remove(motion["file"], entry)
        entry["motions"] += [] if whole else left
        if not entry["motions"] and before is None:
            return
        path = self._folder / DONE
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            cut_off = False
            if file.tell():
                file.seek(-1, os.SEEK_END)
                cut_off = file.read(1) != b"\n"
            file.write(("\n" * cut_off + json.dumps(entry) + "\n").encode())

    def _remove(self, name: str, entry: Entry) -> None:
        """Removes a motion and its record, if that says that they are of the entry's source."""
        motion = self._folder / name
        record = motion.with_suffix(".json")
        if of_same_source(read_record(record), entry):
            logger.info("%s is removed: %s has changed and holds it no longer", name, entry["source"])
            motion.unlink(missing_ok=True)
            record.unlink()
            if not any(motion.parent.iterdir()):
                motion.parent.rmdir()


def read_record(path: Path) -> Entry | None:
    """The record of a motion; None where there is none or it is damaged, for then it belongs to nobody."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return None
    return record if isinstance(record, dict) else None


def of_same_source(record: Entry | None, asked: Entry) -> bool:
    """Whether a record is of a source; a data set may be moved, and a file may change in its place."""
    if record is None or any(record.get(key) != asked[key] for key in ("format", "source")):
        return False
    return any(record.get(key) == asked[key] for key in ("path", "stamp"))


def stamp_of(path: Path) -> list[int]:
    """Files, bytes and the time of the last change in nanoseconds: they differ when a source has changed."""
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    states = [file.stat() for file in files if file.is_file()]
    times = [state.st_mtime_ns for state in states]
    return [len(states), sum(state.st_size for state in states), max(times, default=0)]


def write_skipped(folder: Path, name: str, skipped: list[Entry]) -> None:
    """Replaces the lines of the format `name` in skipped.jsonl; those of others stay.

    Args:
        folder: of the import.
        name: of the format.
        skipped: `source`, `reason` and `fix` of each.
    """
    path = folder / SKIPPED
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    others = [line for line in lines if not line.startswith(f'{{"format": {json.dumps(name)},')]
    own = [json.dumps({"format": name, **each}) for each in skipped]
    if not own and len(others) == len(lines):
        return
    write_text(path, "".join(line + "\n" for line in others + own))
