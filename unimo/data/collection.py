"""Any training data as one list of samples: clip folders, prepared shards, and folders of motion files.

In: a folder of `unimo synth`, the OUT of `unimo data prepare`, or motion files. Out: a `Collection` of `Sample`s, each
read from the disk when it is asked for, its video later still. Metres, radians, pixels.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
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
from unimo.motion.files import MotionFile, find_files
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


class Samples(Sequence[Sample]):
    """Samples that are read each time they are asked for, so that a folder of any size fits into memory.

    Args:
        readers: one for each sample, which raises an InputError when it cannot be read.
    """

    def __init__(self, readers: Sequence[Callable[[], Sample]]) -> None:
        self._readers = readers

    def __len__(self) -> int:
        return len(self._readers)

    def __getitem__(self, index: int) -> Sample:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self._readers[index]()


@dataclass(frozen=True, eq=False)
class Collection:
    """Samples in the order of their names.

    Attributes:
        kind: "clips", "shards" or "motions".
        place: where they lie.
        samples: at least one; each is read when it is asked for.
        damaged: (name, reason) of samples that cannot be read; they are not among `samples`.
        left_out: (source, reason) of what `unimo data prepare` could not use.
    """

    kind: str
    place: Path
    samples: Sequence[Sample]
    damaged: list[tuple[str, str]]
    left_out: list[tuple[str, str]]


def load_collection(path: str | Path, progress: Progress | None = None) -> Collection:
    """Finds training data of any of the three kinds; every sample is read once to see that it can be, and let go.

    Args:
        path: a folder of clips, a prepared folder, a folder, zip or file of motions.
        progress: called with a stage, what is done and how many there are.

    Raises:
        InputError: nothing there, or nothing that can be read.
    """
    place = Path(path).expanduser()
    left_out = []
    if (place / "prepare.json").is_file():
        readers, left_out, kind = _shards(place), _quarantine(place), "shards"
    elif (place / "clips").is_dir():
        readers, kind = _clips(place), "clips"
    else:
        readers, kind = [(file.name, partial(_motion, file)) for file in find_files([place])], "motions"
    good, damaged = [], []
    for done, (name, read) in enumerate(readers):
        try:
            read()
            good.append(read)
        except InputError as error:
            damaged.append((name, error.what))
        if progress:
            progress(f"reading {kind}", done + 1, len(readers))
    if not good:
        what = "there is no finished sample to describe"
        what += f"; the first of {len(damaged)} that cannot be read: {damaged[0][1]}" if damaged else ""
        raise InputError(what, str(place.absolute()), "unimo data prepare IN OUT")
    return Collection(kind, place, Samples(good), damaged, left_out)


def _motion(file: MotionFile) -> Sample:
    return Sample(file.name, file.read(), {"subject": file.subject, "text": file.text})


def _clips(place: Path) -> list[tuple[str, Callable[[], Sample]]]:
    records = clip_records(place)
    return [(path.name, partial(_clip, path, records.get(path.name, {}))) for path in clip_folders(place)]


def _clip(path: Path, record: dict[str, Any]) -> Sample:
    return Sample(path.name, load_motion(path / "motion.npz"), record, "", partial(read_video, path / "rgb.mp4"))


def _shards(place: Path) -> list[tuple[str, Callable[[], Sample]]]:
    shards = [shard for split in SPLITS for shard in read_manifest(place, "clips", split)]
    places = [(shard, number) for shard in shards for number in range(len(shard))]
    return [(shard.samples[number].key, partial(_of_shard, shard, number)) for shard, number in places]


def _of_shard(shard: Shard, number: int) -> Sample:
    key, files = shard.samples[number].key, shard.read(number)
    try:
        record = json.loads(files.get("json", b"{}"))
        motion = load_motion(BytesIO(files["motion.npz"]))
    except (KeyError, ValueError) as error:
        raise InputError(f"its record or motion is missing or damaged ({error})", str(shard.path)) from error
    if not isinstance(record, dict):
        raise InputError("its record is no JSON object", str(shard.path))
    frames = partial(_frames_of, shard, number) if "rgb.mp4" in files else None
    return Sample(key, motion, record, shard.split, frames)


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
