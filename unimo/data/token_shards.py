"""The token shards of a prepared folder, as training reads them: clips by shard and row, checked before they are used.

In: what `unimo data prepare` wrote (`unimo.data.shards`). Out: ids and features of one clip, or of the first few.
"""

from __future__ import annotations

import hashlib
import json
import threading
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from unimo.data.shards import SPLITS, Shard, read_manifest
from unimo.data.tokens import TokenPack
from unimo.errors import InputError

GEOMETRY = ("fps", "frames", "side", "canonical_focal", "body")
"""Settings of a bundle that clips follow."""

_ARRAYS = {"visual_ids": 3, "motion_ids": 2, "features": 2}
_COPY = "copy it again, or prepare the data anew"


@dataclass(frozen=True)
class ClipTokens:
    """One clip: `name` is "<shard>/<key>", `visual_ids` (K,h,w), `motion_ids` (T,36), `features` (T,145)."""

    name: str
    visual_ids: np.ndarray
    motion_ids: np.ndarray
    features: np.ndarray


@dataclass(frozen=True)
class Preparation:
    """What prepare.json says of a folder: the `tokenizers`' hash, the name of their `bundle`, the clips' `geometry`,
    and whose clips are for validation."""

    tokenizers: str
    bundle: str
    geometry: dict[str, Any]
    validation_subjects: tuple[str, ...]

    @staticmethod
    def of(folder: str | Path) -> Preparation:
        """Reads it.

        Raises:
            InputError: there is none, or it does not say so.
        """
        path = Path(folder).expanduser() / "prepare.json"
        try:
            asked = json.loads(path.read_text(encoding="utf-8"))
            geometry = {name: asked[name] for name in GEOMETRY}
            validated = tuple(map(str, asked["validation_subjects"]))
            return Preparation(str(asked["tokenizers"]), str(asked["bundle"]["name"]), geometry, validated)
        except (OSError, ValueError, KeyError, TypeError) as error:
            what = "prepare.json does not say which tokenizers made these tokens"
            raise InputError(what, str(path), "unimo data prepare writes it") from error


class TokenShards:
    """Read access by shard and row; threads may share it. Holds the manifest's index, never the clips.

    The size of every shard is checked at once, its sha256 before the first clip is read from it, and the checksum of a
    clip whenever it is read.

    Attributes:
        shards: in the order of the manifest.
        preparation: how they were made.
        grid, frames: (K,h,w) and T of every clip.

    Raises:
        InputError: there are none of this split, or one is missing, cut short or not the manifest's.
    """

    def __init__(self, folder: str | Path, split: str = "train") -> None:
        self.folder, self.split = Path(folder).expanduser(), split
        self.shards: list[Shard] = [shard for shard in read_manifest(self.folder, "tokens", split) if len(shard)]
        if not self.shards:
            held = [other for other in SPLITS if other != split and read_manifest(self.folder, "tokens", other)]
            what = f"there are no token shards of the split {split} here" + (f", only of {held[0]}" if held else "")
            raise InputError(what, str(self.folder), "unimo data prepare makes them with --bundle")
        self.preparation = Preparation.of(self.folder)
        for shard in self.shards:
            _check_size(shard)
        self._checked = [False] * len(self.shards)
        self._locks = [threading.Lock() for _ in self.shards]
        first = self._decode(0, 0)
        self.grid = (first.visual_ids.shape[0], first.visual_ids.shape[1], first.visual_ids.shape[2])
        self.frames = len(first.motion_ids)

    def __len__(self) -> int:
        return sum(self.counts)

    @property
    def counts(self) -> list[int]:
        """Clips of each shard."""
        return [len(shard) for shard in self.shards]

    @property
    def fingerprint(self) -> str:
        """A hash of what the shards hold and in which order, the same in another folder."""
        return hashlib.sha256(json.dumps([shard.sha256 for shard in self.shards]).encode()).hexdigest()

    def verify(self, shard: int) -> None:
        """Compares a shard with its hash, once.

        Raises:
            InputError: they differ.
        """
        with self._locks[shard]:
            if not self._checked[shard]:
                self.shards[shard].verify()
                self._checked[shard] = True

    def read(self, shard: int, row: int) -> ClipTokens:
        """One clip.

        Raises:
            InputError: the shard is damaged, or the clip is of another shape than the first one.
        """
        clip = self._decode(shard, row)
        if clip.visual_ids.shape != self.grid or len(clip.motion_ids) != self.frames:
            what = f"clip {clip.name} has ids {clip.visual_ids.shape} and {len(clip.motion_ids)} frames, the first one "
            what += f"of these shards {self.grid} and {self.frames}"
            raise InputError(what, str(self.shards[shard].path), "prepare all clips with one bundle")
        return clip

    def first(self, count: int) -> TokenPack:
        """The first clips in the order of the manifest, as many as there are up to `count`."""
        places = [(shard, row) for shard, rows in enumerate(self._rows(count)) for row in range(rows)]
        return stack([self.read(*place) for place in places], self.preparation.tokenizers)

    def subjects(self) -> set[str]:
        """Whom the videos show that these clips are of; empty when the folder has no record of its videos."""
        records = self.folder / "sources.jsonl"
        lines = records.read_text(encoding="utf-8").splitlines() if records.is_file() else []
        validated = set(self.preparation.validation_subjects)
        named = {str(record["subject"]) for record in map(json.loads, lines) if record.get("clips")}
        return named & validated if self.split == "validation" else named - validated

    def _rows(self, count: int) -> list[int]:
        """How many rows of each shard the first `count` clips are; stops at the last of these shards."""
        taken = []
        for size in self.counts:
            if count > 0:
                taken.append(min(size, count))
                count -= size
        return taken

    def _decode(self, shard: int, row: int) -> ClipTokens:
        self.verify(shard)
        source = self.shards[shard]
        name = f"{source.path.name}/{source.samples[row].key}"
        try:
            with np.load(BytesIO(source.read(row)["tokens.npz"]), allow_pickle=False) as data:
                arrays = {key: data[key] for key in _ARRAYS}
        except (zipfile.BadZipFile, ValueError, KeyError, EOFError) as error:
            raise InputError(f"clip {name} cannot be read: {error}", str(source.path), _COPY) from error
        if any(arrays[key].ndim != dimensions for key, dimensions in _ARRAYS.items()):
            raise InputError(f"clip {name} does not hold ids (K,h,w) and (T,36)", str(source.path), _COPY)
        return ClipTokens(name, **arrays)


def stack(clips: list[ClipTokens], tokenizers: str = "") -> TokenPack:
    """Clips as one pack, in this order."""
    return TokenPack(*(np.stack([getattr(clip, key) for clip in clips]) for key in _ARRAYS), tokenizers=tokenizers)


def _check_size(shard: Shard) -> None:
    """Raises InputError when a shard is missing or not as long as the manifest says."""
    try:
        size = shard.path.stat().st_size
    except OSError as error:
        what = "the manifest names a shard that is not here"
        raise InputError(what, str(shard.path), "copy the whole folder") from error
    if size != shard.size:
        raise InputError(f"the shard has {size} bytes, its manifest says {shard.size}", str(shard.path), _COPY)
