"""Any training data as one list of samples: clip folders, prepared shards, and folders of motion files.

In: a folder of `unimo synth`, the OUT of `unimo data prepare`, or motion files. Out: a `Collection` of `Sample`s:
motion and labels in memory, video read only when asked for. Metres, radians, pixels.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from unimo.data.clips import clip_folders, clip_records
from unimo.data.shards import SPLITS, Shard, read_manifest
from unimo.errors import InputError
from unimo.media.video import read_video
from unimo.motion.library import MotionLibrary
from unimo.motion.motion import Motion
from unimo.motion.npz import load_motion

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Sample:
    """One clip or motion.

    Attributes:
        name: folder, key or file.
        motion: camera or world axes.
        record: what was written beside it (`clip.json` and the like); may be empty.
        split: "train", "validation" or "".
        read_frames: gives (T, H, W, 3) uint8 RGB; None where there is no video.
    """

    name: str
    motion: Motion
    record: dict[str, Any] = field(default_factory=dict)
    split: str = ""
    read_frames: Callable[[], np.ndarray] | None = None

    @property
    def subject(self) -> str:
        """Who moves, "" when nobody said."""
        return str(self.record.get("subject") or "")

    @property
    def source(self) -> str:
        """The motion or video that this is a part of; its own name when nobody said."""
        return str(self.record.get("source") or self.name)

    @property
    def text(self) -> str:
        """What happens, in words; "" when nobody said."""
        return str(self.record.get("text") or "")


@dataclass(frozen=True, eq=False)
class Collection:
    """Samples in the order of their names.

    Attributes:
        kind: "clips", "shards" or "motions".
        place: where they lie.
        samples: at least one.
        left_out: (source, reason) of what could not be used.
    """

    kind: str
    place: Path
    samples: list[Sample]
    left_out: list[tuple[str, str]]


def load_collection(path: str | Path, progress: Progress | None = None) -> Collection:
    """Reads training data of any of the three kinds.

    Args:
        path: a folder of clips, a prepared folder, a folder, zip or file of motions.
        progress: called with a stage, what is done and how many there are.

    Raises:
        InputError: nothing there, nothing that can be read, or a damaged clip or shard.
    """
    place = Path(path).expanduser()
    if (place / "prepare.json").is_file():
        samples, left_out, kind = list(_shards(place, progress)), _quarantine(place), "shards"
    elif (place / "clips").is_dir():
        samples, left_out, kind = list(_clips(place, progress)), [], "clips"
    else:
        library = MotionLibrary.from_files([place], progress=lambda *done: progress and progress("motions", *done))
        named = ((one.name, one.motion, {"subject": one.subject, "text": one.text}) for one in library)
        samples, left_out, kind = [Sample(*one) for one in named], list(library.skipped), "motions"
    if not samples:
        raise InputError("there is no finished sample to describe", str(place.absolute()), "unimo data prepare IN OUT")
    return Collection(kind, place, samples, left_out)


def _clips(place: Path, progress: Progress | None) -> Iterator[Sample]:
    records, paths = clip_records(place), clip_folders(place)
    for done, path in enumerate(paths):
        frames = partial(read_video, path / "rgb.mp4")
        yield Sample(path.name, load_motion(path / "motion.npz"), records.get(path.name, {}), "", frames)
        if progress:
            progress("reading clips", done + 1, len(paths))


def _shards(place: Path, progress: Progress | None) -> Iterator[Sample]:
    shards = [shard for split in SPLITS for shard in read_manifest(place, "clips", split)]
    for done, shard in enumerate(shards):
        for number, (key, files) in enumerate(shard):
            try:
                motion, record = load_motion(BytesIO(files["motion.npz"])), json.loads(files.get("json", b"{}"))
            except (KeyError, ValueError) as error:
                raise InputError(f"sample {key} of the shard cannot be read ({error})", str(shard.path)) from error
            frames = partial(_frames_of, shard, number) if "rgb.mp4" in files else None
            yield Sample(key, motion, record, shard.split, frames)
        if progress:
            progress("reading shards", done + 1, len(shards))


def _frames_of(shard: Shard, number: int) -> np.ndarray:
    """The video of a sample in a shard."""
    with tempfile.TemporaryDirectory() as folder:  # the reader of videos wants a file
        path = Path(folder) / "rgb.mp4"
        path.write_bytes(shard.read(number)["rgb.mp4"])
        return read_video(path)


def _quarantine(place: Path) -> list[tuple[str, str]]:
    path = place / "quarantine.jsonl"
    if not path.is_file():
        return []
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        return [(str(line["source"]), str(line["reason"])) for line in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError("a line of the quarantine list cannot be read", str(path)) from error
