"""What every importer speaks: `ImportedMotion`, the `Importer` protocol, and the checks of numbers in foreign files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from unimo.errors import InputError
from unimo.motion.motion import Motion

_VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".avi", ".webm")


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
            InputError: it cannot be used; the reason.
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
        raise InputError(f"there is no {kind} here", str(source), f"give a {kind}, or a folder with {pattern} in it")
    return [Source(path, path.relative_to(source).as_posix()) for path in files]


def record_of(value: Any, what: str, keys: tuple[str, ...]) -> dict[str, Any]:
    """A dictionary with these keys and maybe more; keys that are bytes (Python 2) are read as text.

    Raises:
        InputError: it is no dictionary, or keys are missing.
    """
    if not isinstance(value, Mapping):
        raise InputError(f"{what} is a {type(value).__name__}, not a dictionary", fix="give a file of this format")
    record = {key.decode("latin1") if isinstance(key, bytes) else key: item for key, item in value.items()}
    if missing := [key for key in keys if key not in record]:
        there = ", ".join(str(key) for key in list(record)[:12])
        raise InputError(f"{what} has no {', '.join(missing)}", fix=f"it has {there}: is it of this format?")
    return record


def _array(value: Any, name: str) -> np.ndarray:
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise ValueError("not numbers")
    except (ValueError, TypeError, MemoryError) as error:
        raise InputError(f"{name} is not an array of numbers") from error
    return array


def flat(value: Any, name: str, count: int) -> np.ndarray:
    """`value`, whatever its dimensions, as (count,) float64.

    Raises:
        InputError: it is not so many numbers.
    """
    return numbers(_array(value, name).reshape(-1), name, (count,))


def whole(value: Any, name: str) -> int:
    """`value` as a whole number.

    Raises:
        InputError: it is none.
    """
    number = float(flat(value, name, 1)[0])
    if not np.isfinite(number) or number != int(number):
        raise InputError(f"{name} is {number:g}, not a whole number")
    return int(number)


def numbers(value: Any, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """`value` as float64 of a shape (None is any size).

    Raises:
        InputError: it is not an array of numbers of that shape.
    """
    array = _array(value, name)
    fits = array.ndim == len(shape) and all(want in (None, size) for want, size in zip(shape, array.shape, strict=True))
    if not fits:
        wanted = ", ".join("n" if size is None else str(size) for size in shape)
        raise InputError(f"{name} has shape {array.shape}, expected ({wanted})", fix="is the file of this format?")
    return array.astype(np.float64)


def same_length(**arrays: np.ndarray) -> int:
    """The length that all arrays share.

    Raises:
        InputError: they differ, or are empty.
    """
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise InputError(f"the arrays have no common length: {listed}", fix="fetch the file anew")
    return next(iter(lengths.values()))


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


def find_video(options: ImportOptions, stem: str) -> Path | None:
    """The video the user gave for a result: the file, or the one in the folder that has the result's name."""
    if options.video is None or options.video.is_file():
        return options.video
    if not options.video.is_dir():
        raise InputError("there is no such video or folder", str(options.video), "check --video")
    there = sorted(path for path in options.video.glob("*") if path.suffix.lower() in _VIDEO_SUFFIXES)
    return next((path for path in there if path.stem == stem), None)


def rate_of(options: ImportOptions, video: Path | None, why: str) -> float:
    """The frame rate of a format that does not store it: the user's, or the video's.

    Raises:
        InputError: neither is there.
    """
    if options.fps is not None:
        return options.fps
    if video is None:
        raise InputError(why, fix="give --fps RATE, or --video with the original video or a folder of them")
    from unimo.media.video import probe

    return probe(video).fps


def own_rate(options: ImportOptions, fps: float, file: str) -> float:
    """The rate the format has by itself.

    Raises:
        InputError: the user says another one.
    """
    if options.fps is not None and abs(options.fps - fps) > 1e-3:
        what = f"{file} is at {fps:g} frames/s, not {options.fps:g}"
        raise InputError(what, fix="leave --fps out: frame rates are resampled later, never relabelled")
    return fps
