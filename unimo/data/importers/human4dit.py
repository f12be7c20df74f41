"""Human4DiT-Video: a CSV of clips on the net, and PHALP's result of each.

In: rows video_url, part, clip, start_time, end_time, smpl_file, and the files named so (`demo_CLIP.pkl`, see
`unimo.data.importers.phalp`) anywhere in the CSV's folder. Nothing is fetched: the record of a motion keeps the row,
and the video is CLIP.mp4 as the project's own scripts cut it. Rows whose file is missing or empty, as published ones
are, are skipped with the reason. The subject is the video on the net: its clips never fall on both sides of a split.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from unimo.data.importers.base import ImportedMotion, ImportOptions, Source, rate_and_video
from unimo.data.importers.phalp import clip_name, tracks
from unimo.errors import InputError

COLUMNS = ("video_url", "part", "clip", "start_time", "end_time", "smpl_file")


def find(source: Path) -> list[Source]:
    """The rows of a CSV, or of all CSVs in a folder."""
    if not source.exists():
        raise InputError("there is no such CSV or folder", str(source.absolute()), "check the path")
    lists = [source] if source.is_file() else sorted(source.glob("*.csv"))
    if not lists:
        raise InputError("there is no .csv here", str(source), "give the list of Human4DiT-Video beside its .pkl files")
    folder = source.parent if source.is_file() else source
    there = {path.name: path for path in sorted(folder.rglob("*.pkl"))}
    rows = [row for path in lists for row in _rows(path)]
    # only the name counts: a list may not point outside its folder
    names = [Path(row["smpl_file"]).name for row in rows]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        what = f"the list names {twice[0]} more than once; motions are kept by file"
        raise InputError(what, str(source), "leave one row of each file")
    return [
        Source(there.get(name, folder / name), name, row)
        for name, row in sorted(zip(names, rows, strict=True), key=lambda pair: pair[0])
    ]


def read(source: Source, options: ImportOptions) -> Iterator[ImportedMotion]:
    """The stretches of a row's tracks."""
    if not source.path.is_file():
        raise InputError("the list names a file that is not here", str(source.path), "fetch it into the CSV's folder")
    if source.path.stat().st_size == 0:
        what = "the file is empty, as the published ones are (issue 8 of Human4DiT)"
        raise InputError(what, str(source.path), "extract the clip's motion anew, with GVHMR for instance")
    clip = clip_name(source.path)
    fps, video = rate_and_video(options, clip, "neither the list nor PHALP says the frame rate")
    identifier = source.about["video_url"].rstrip("/").split("/")[-1].split("?")[0] or clip
    for imported in tracks(source.path, clip, identifier, fps, str(video) if video else f"{clip}.mp4"):
        yield replace(imported, notes={**imported.notes, **source.about})


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [line for line in csv.reader(file) if any(cell.strip() for cell in line)]
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        raise InputError(f"it is no CSV ({error})", str(path)) from error
    if lines and lines[0][0].strip().lower() in (COLUMNS[0], "url"):
        lines = lines[1:]
    if not lines or any(len(line) < len(COLUMNS) for line in lines):
        raise InputError(f"its rows are not {', '.join(COLUMNS)}", str(path), "give the list of Human4DiT-Video")
    return [dict(zip(COLUMNS, (cell.strip() for cell in line), strict=False)) for line in lines]
