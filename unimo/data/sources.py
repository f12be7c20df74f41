"""What a folder holds that can be prepared: videos, with or without a motion file beside them, and synthetic clips.

In: a folder of any depth. Out: `Source`s in the order of their names. A motion lies beside `walk.mp4` as `walk.npz` or
`walk/motion.npz`, in a clip folder of `unimo synth` beside `rgb.mp4` as `motion.npz`; words lie in `walk.txt` or
`clip.json`. Hidden files, and folders of results (with a run.json), are passed over.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from unimo.errors import InputError
from unimo.media.suffixes import VIDEO_SUFFIXES


@dataclass(frozen=True)
class Source:
    """One video to prepare.

    Attributes:
        name: its path below the folder, with "/"; of a clip folder the folder's.
        video: the file.
        motion: the motion file beside it, if there is one.
        note: clip.json of a clip folder, or a .txt beside the video, if there is one.
        default_subject: who is seen, unless clip.json says it: the name of the video's folder, or of the video itself
            where that lies at the top.
    """

    name: str
    video: Path
    motion: Path | None
    note: Path | None
    default_subject: str

    @property
    def is_clip(self) -> bool:
        """Whether this is a clip of `unimo synth`, which has no cuts."""
        return self.note is not None and self.note.suffix == ".json"

    @property
    def id(self) -> str:
        """16 digits and letters that stand for the name, in keys of samples and names of files."""
        return hashlib.sha256(self.name.encode("utf-8", "surrogateescape")).hexdigest()[:16]

    def files(self) -> list[Path]:
        """All files that decide what becomes of it."""
        return [path for path in (self.video, self.motion, self.note) if path is not None]

    def size(self) -> int:
        """Bytes of all files together; a file that is gone counts as 0."""
        return sum(path.stat().st_size for path in self.files() if path.is_file())

    def sha256(self) -> str:
        """Of the content of all files.

        Raises:
            InputError: a file cannot be read.
        """
        digest = hashlib.sha256()
        for path in self.files():
            try:
                digest.update(path.stat().st_size.to_bytes(8, "little"))
                with path.open("rb") as handle:
                    while block := handle.read(1 << 20):
                        digest.update(block)
            except OSError as error:
                raise InputError(f"{path.name} cannot be read ({error.strerror})", str(path)) from error
        return digest.hexdigest()

    def facts(self) -> tuple[str, str]:
        """The subject, and the text ("" when there is none).

        Raises:
            InputError: the note is damaged.
        """
        if self.note is None:
            return self.default_subject, ""
        try:
            words = self.note.read_text(encoding="utf-8")
            if not self.is_clip:
                return self.default_subject, " ".join(words.split())
            record = json.loads(words)
            return str(record.get("subject") or self.default_subject), str(record.get("text") or "")
        except (OSError, ValueError, AttributeError) as error:
            raise InputError(f"{self.note.name} is damaged", str(self.note), "make it again, or remove it") from error


def find_sources(folder: str | Path) -> list[Source]:
    """Lists what can be prepared, sorted by name; no file is opened.

    Raises:
        InputError: no such folder, or no video in it.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        what = "this is a file; a folder of videos is wanted" if folder.exists() else "there is no such folder"
        raise InputError(what, str(folder.absolute()), "give the folder that the videos are in")
    sources = sorted(_walk(folder), key=lambda source: source.name)
    if not sources:
        what = "there is no video in this folder or below it"
        raise InputError(what, str(folder.absolute()), f"give videos ({', '.join(VIDEO_SUFFIXES)}) or synthetic clips")
    return sources


def _walk(folder: Path) -> Iterator[Source]:
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        # a linked folder is read like any other, but none twice: links may lead in a circle
        if "run.json" in names or (real := os.path.realpath(place)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if not name.startswith(".") and Path(name).suffix.lower() in VIDEO_SUFFIXES:
                yield _source(folder, Path(place) / name)


def _source(folder: Path, video: Path) -> Source:
    parent = video.parent
    below = parent.relative_to(folder)
    clip = parent / "motion.npz"
    if video.name == "rgb.mp4" and clip.is_file():
        note = _first(parent / "clip.json")
        return Source(below.as_posix() if below.parts else video.name, video, clip, note, _subject(below, video))
    motion = _first(video.with_suffix(".npz"), video.with_suffix("") / "motion.npz")
    name = video.relative_to(folder).as_posix()
    return Source(name, video, motion, _first(video.with_suffix(".txt")), _subject(below, video))


def _first(*paths: Path) -> Path | None:
    return next((path for path in paths if path.is_file()), None)


def _subject(below: Path, video: Path) -> str:
    return below.name or video.stem
