"""What every importer speaks: `Source` and `ImportOptions` in, `ImportedMotion` out, and what importers share.

Shared are finding files, cutting at gaps, and where the frame rate of a source comes from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from unimo.errors import InputError
from unimo.media.suffixes import VIDEO_SUFFIXES
from unimo.motion.motion import Motion


@dataclass(frozen=True, eq=False)
class ImportedMotion:
    """One stretch of one person's motion out of a foreign file, without gaps.

    Attributes:
        name: its name, unique within the subject.
        subject: who moves, as far as the source knows people; splits are by it.
        motion: T frames; camera axes with `cam2world` where the source knows the camera, else world axes, y up.
        frames: (T,) int64 frame numbers of the video, or None; they rise by a constant step.
        video: where the pictures are, in the source's own words, or None.
        valid: (T,) bool, False where the source says its camera or pose is wrong; None: all are right.
        gender: of the body model the source used.
        text: a description of what happens, or None.
        notes: what else is worth keeping, as JSON.
    """

    name: str
    subject: str
    motion: Motion
    frames: np.ndarray | None = None
    video: str | None = None
    valid: np.ndarray | None = None
    gender: str = "neutral"
    text: str | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, rows: slice) -> ImportedMotion:
        """The stretch of some rows (step 1)."""
        frames = None if self.frames is None else self.frames[rows]
        valid = None if self.valid is None else self.valid[rows]
        return replace(self, motion=self.motion[rows], frames=frames, valid=valid)


@dataclass(frozen=True)
class Source:
    """One unit of work: a file, or a folder of files that belong together.

    Attributes:
        path: the file or folder.
        key: its name within what the user gave; the same in every run.
        about: what a list says of it, such as the row of a CSV.
    """

    path: Path
    key: str
    about: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ImportOptions:
    """What a user says that the files do not.

    Attributes:
        fps: frame rate of the source, for formats that do not store it.
        video: the original video, or a folder of them, whose frame rate and size to take.
    """

    fps: float | None = None
    video: Path | None = None


class OptionError(InputError):
    """What the user says does not fit the sources: no fault of one of them, so it ends a run instead of skipping it."""


class Importer(Protocol):
    """Reads one format. Modules of this package are importers: they have these names at the top level."""

    def find(self, source: Path) -> list[Source]:
        """The units of work in a file or folder, sorted.

        Raises:
            InputError: there is none.
        """
        ...

    def read(self, source: Source, options: ImportOptions) -> Iterator[ImportedMotion]:
        """The motions of one unit.

        Raises:
            OptionError: the options do not fit it.
            InputError: it cannot be used; the reason.
            MissingAssetError: a package that the format needs is not installed.
        """
        ...


def find_files(source: Path, pattern: str, kind: str) -> list[Source]:
    """Files that match a pattern, at any depth of a folder, or the file itself whatever its name.

    Raises:
        InputError: `source` does not exist, or nothing matches.
    """
    if source.is_file():
        return [Source(source, source.name)]
    if not source.is_dir():
        raise InputError("there is no such file or folder", str(source.absolute()), "check the path")
    files = sorted(path for path in source.rglob(pattern) if path.is_file())
    if not files:
        raise InputError(f"there is no {kind} here", str(source), f"give such a file, or a folder with {pattern} in it")
    return [Source(path, path.relative_to(source).as_posix()) for path in files]


def stretches(frames: np.ndarray, step: int = 1, breaks: np.ndarray | None = None) -> list[slice]:
    """Runs of rows whose frame numbers rise by `step`; a row where `breaks` is True begins a new run."""
    cut = np.diff(frames) != step
    if breaks is not None:
        cut |= np.asarray(breaks, dtype=bool)[1:]
    edges = [0, *(np.flatnonzero(cut) + 1), len(frames)]
    return [slice(int(first), int(last)) for first, last in zip(edges[:-1], edges[1:], strict=True)]


def split_at_gaps(
    imported: ImportedMotion, step: int = 1, breaks: np.ndarray | None = None
) -> Iterator[ImportedMotion]:
    """The motion as stretches without gaps, named by their first frame where there are several."""
    if imported.frames is None:
        raise ValueError("only a motion with frame numbers can be split at gaps")
    rows = stretches(imported.frames, step, breaks)
    for part in rows:
        name = imported.name if len(rows) == 1 else f"{imported.name}_f{imported.frames[part.start]:06d}"
        yield replace(imported[part], name=name)


def rate_and_video(options: ImportOptions, stem: str, why: str) -> tuple[float, Path | None]:
    """The frame rate of a format that does not store it, and the video of a result, where the user gave it.

    Args:
        options: `fps` comes first; `video` is the file, or a folder in which it has the result's name.
        stem: the result's name.
        why: what to say when there is no rate.

    Returns:
        Frames per second, and the video or None.

    Raises:
        OptionError: `video` does not exist, or there is neither `fps` nor `video`.
        InputError: the folder has no video of that name, or it cannot be read.
    """
    video = _video(options, stem)
    if options.fps is not None:
        return options.fps, video
    fix = "give --fps RATE, or --video with the original video or a folder of them"
    if video is None:
        raise InputError(why, str(options.video), fix) if options.video else OptionError(why, fix=fix)
    from unimo.media.video import probe

    return probe(video).fps, video


def _video(options: ImportOptions, stem: str) -> Path | None:
    if options.video is None or options.video.is_file():
        return options.video
    if not options.video.is_dir():
        raise OptionError("there is no such video or folder", str(options.video), "check --video")
    there = sorted(path for path in options.video.glob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    return next((path for path in there if path.stem == stem), None)


def own_rate(options: ImportOptions, fps: float, file: str) -> float:
    """The rate the format has by itself, in frames per second.

    Raises:
        OptionError: the user says another one.
    """
    if options.fps is not None and abs(options.fps - fps) > 1e-3:
        what = f"{file} is at {fps:g} frames/s, not {options.fps:g}"
        raise OptionError(what, fix="leave --fps out: frame rates are resampled later, never relabelled")
    return fps
