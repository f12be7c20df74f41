"""One prepared folder as training sees it: its token shards of a split, how they were made, and of which videos.

In: what `unimo data prepare` wrote (`unimo.data.shards`). Out: a `TokenFolder`; no clip is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unimo.data.shards import SPLITS, Shard, read_manifest
from unimo.errors import InputError

GEOMETRY = ("fps", "frames", "side", "canonical_focal", "body")
"""Settings of a bundle that clips follow."""


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

    def differences(self, other: Preparation) -> list[str]:
        """In what two preparations differ that training cannot mix, in words; empty when they go together."""
        found = [] if self.tokenizers == other.tokenizers else [f"tokenizers of {self.bundle!r}, not {other.bundle!r}"]
        mine, theirs = self.geometry, other.geometry
        return found + [f"{name} {mine[name]}, not {theirs[name]}" for name in GEOMETRY if mine[name] != theirs[name]]


@dataclass(frozen=True)
class TokenFolder:
    """The token shards of one split of a folder.

    Attributes:
        path: what `unimo data prepare` was given as OUT.
        split: "train" or "validation".
        shards: in the order of the manifest, none of them empty.
        preparation: how they were made.
    """

    path: Path
    split: str
    shards: tuple[Shard, ...]
    preparation: Preparation

    @staticmethod
    def open(folder: str | Path, split: str = "train") -> TokenFolder:
        """Reads manifest and prepare.json, and compares the sizes of the shards.

        Raises:
            InputError: there are no tokens of this split, or a shard is missing or cut short.
        """
        path = Path(folder).expanduser()
        shards = tuple(shard for shard in read_manifest(path, "tokens", split) if len(shard))
        if not shards:
            held = [other for other in SPLITS if other != split and read_manifest(path, "tokens", other)]
            what = f"there are no token shards of the split {split} here" + (f", only of {held[0]}" if held else "")
            raise InputError(what, str(path), "unimo data prepare makes them with --bundle")
        preparation = Preparation.of(path)
        for shard in shards:
            _check_size(shard)
        return TokenFolder(path, split, shards, preparation)

    @property
    def fingerprint(self) -> str:
        """A hash of what the shards hold and in which order, the same wherever the folder lies."""
        return fingerprint(self.shards)

    def subjects(self) -> set[str]:
        """Whom the videos show that these clips are of; empty when the folder has no record of its videos."""
        return {str(record["subject"]) for record in self._records()}

    def videos(self) -> dict[str, str]:
        """Names of the videos that these clips are of, by the sha256 of their files."""
        return {record["sha256"]: str(record["source"]) for record in self._records() if "sha256" in record}

    def _records(self) -> list[dict[str, Any]]:
        """Of the videos that gave clips of this split."""
        path = self.path / "sources.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        validated, of_validation = self.preparation.validation_subjects, self.split == "validation"
        records = [record for record in map(json.loads, lines) if record.get("clips")]
        return [record for record in records if (str(record["subject"]) in validated) == of_validation]


def fingerprint(shards: Iterable[Shard]) -> str:
    """A hash of what shards hold and in which order."""
    return hashlib.sha256(json.dumps([shard.sha256 for shard in shards]).encode()).hexdigest()


def _check_size(shard: Shard) -> None:
    """Raises InputError when a shard is missing or not as long as the manifest says."""
    try:
        size = shard.path.stat().st_size
    except OSError as error:
        what = "the manifest names a shard that is not here"
        raise InputError(what, str(shard.path), "copy the whole folder") from error
    if size != shard.size:
        what = f"the shard has {size} bytes, its manifest says {shard.size}"
        raise InputError(what, str(shard.path), "copy it again, or prepare the data anew")
