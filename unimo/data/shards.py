"""Tar shards in WebDataset's layout, and the manifest that says where every sample lies: writing, reading, checking.

In: samples, each a key and its files as bytes by suffix. Out: uncompressed tars whose bytes follow from the samples
alone, and `manifest.jsonl`, one line a shard with hash and byte offsets, so that a sample is read without a scan. A
prepared folder (OUT) has its manifest only when it is complete. Nothing here knows what the bytes mean.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from unimo.errors import InputError
from unimo.files import atomic_write
from unimo.weights import file_record

KINDS = ("clips", "tokens")
SPLITS = ("train", "validation")
MANIFEST = "manifest.jsonl"
Files = Mapping[str, bytes]
"""A sample's files by suffix, such as {"tokens.npz": ..., "json": ...}."""


@dataclass(frozen=True)
class SampleIndex:
    """Where a sample lies in its shard: per suffix (offset, size) in bytes of the file's content."""

    key: str
    files: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Shard:
    """One tar and what the manifest says of it.

    Attributes:
        path: the tar.
        kind: "clips" or "tokens".
        split: "train" or "validation".
        size: bytes of the tar.
        sha256: of the tar.
        samples: where each sample lies, in the order of the tar.
    """

    path: Path
    kind: str
    split: str
    size: int
    sha256: str
    samples: tuple[SampleIndex, ...]

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, number: int) -> dict[str, bytes]:
        """The files of sample `number` by suffix, in one read of the disk.

        Raises:
            InputError: the shard is gone or shorter than the manifest says.
        """
        return read_sample(self.path, self.samples[number])

    def __iter__(self) -> Iterator[tuple[str, dict[str, bytes]]]:
        return ((sample.key, self.read(number)) for number, sample in enumerate(self.samples))

    def verify(self) -> None:
        """Compares the tar's bytes with the manifest.

        Raises:
            InputError: the file is missing, or its size or hash differs.
        """
        if not self.path.is_file():
            raise InputError("the manifest names a shard that is not here", str(self.path), "copy the whole folder")
        record = file_record(self.path)
        if (record.size, record.sha256) != (self.size, self.sha256):
            what = "the shard is not the one that the manifest describes: its size or sha256 differs"
            raise InputError(what, str(self.path), "copy it again, or prepare the data anew")

    def line(self) -> dict[str, Any]:
        """The shard's line of the manifest."""
        index = [{"key": sample.key, "files": sample.files} for sample in self.samples]
        counts = {"samples": len(self), "bytes": self.size, "sha256": self.sha256}
        return {"kind": self.kind, "split": self.split, "name": self.path.name, **counts, "index": index}


def shard_path(folder: Path, kind: str, split: str, number: int) -> Path:
    """Such as OUT/tokens/tokens-000000.tar, or tokens-validation-000000.tar."""
    stem = kind if split == "train" else f"{kind}-{split}"
    return folder / kind / f"{stem}-{number:06d}.tar"


def write_shard(folder: Path, kind: str, split: str, number: int, samples: Iterable[tuple[str, Files]]) -> Shard:
    """Writes one shard of a prepared folder, whole or not at all; the same samples give the same bytes.

    Args:
        folder: OUT.
        samples: keys without dots, and files by suffix; written in this order, the files of a sample by suffix.
    """
    path = shard_path(folder, kind, split, number)
    with atomic_write(path) as temporary:
        index = write_tar(temporary, samples)
        record = file_record(temporary)
    return Shard(path, kind, split, record.size, record.sha256, index)


def write_tar(path: Path, samples: Iterable[tuple[str, Files]]) -> tuple[SampleIndex, ...]:
    """Writes a plain tar without times, owners or compression; see `write_shard`.

    Raises:
        ValueError: a key with a dot, at which readers of WebDataset would cut it.
    """
    index = []
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for key, files in samples:
            if "." in key:
                raise ValueError(f"a key of a sample has no dots, this one does: {key}")
            places = {}
            for suffix, content in sorted(files.items()):
                info = tarfile.TarInfo(f"{key}.{suffix}")  # mtime, uid and gid are 0, names of owners empty
                info.size, info.mode = len(content), 0o644
                places[suffix] = (tar.offset + tarfile.BLOCKSIZE, len(content))
                tar.addfile(info, BytesIO(content))
            index.append(SampleIndex(key, places))
    return tuple(index)


def read_sample(path: Path, sample: SampleIndex) -> dict[str, bytes]:
    """The files of one sample of a tar by suffix, in one read of the disk.

    Raises:
        InputError: the tar is gone or shorter than the index says.
    """
    start = min(offset for offset, _ in sample.files.values())
    stop = max(offset + size for offset, size in sample.files.values())
    try:
        with path.open("rb") as handle:
            handle.seek(start)
            block = handle.read(stop - start)
    except OSError as error:
        raise InputError(f"the shard cannot be read ({error.strerror})", str(path)) from error
    if len(block) != stop - start:
        raise InputError("the shard is shorter than its manifest says", str(path), "copy it again")
    return {suffix: block[offset - start : offset - start + size] for suffix, (offset, size) in sample.files.items()}


def read_manifest(folder: str | Path, kind: str, split: str = "train") -> list[Shard]:
    """The shards of one kind and split of a prepared folder, in order; none is opened.

    Args:
        folder: what `unimo data prepare IN OUT` was given as OUT.
        kind: "clips" or "tokens".
        split: "train" or "validation".

    Raises:
        InputError: no manifest (the folder is not a finished one), or a line that cannot be understood.
    """
    folder = Path(folder).expanduser()
    path = folder / MANIFEST
    if not path.is_file():
        unfinished = (folder / "prepare.json").is_file()
        what = "this data was not prepared to its end" if unfinished else "this folder holds no prepared data"
        fix = "run the same unimo data prepare again, it goes on" if unfinished else "unimo data prepare IN OUT"
        raise InputError(what, str(path), fix)
    shards = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            shard = shard_of(folder, json.loads(text))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"line {number} of the manifest describes no shard", str(path)) from error
        if (shard.kind, shard.split) == (kind, split):
            shards.append(shard)
    return shards


def shard_of(folder: Path, line: Mapping[str, Any]) -> Shard:
    """The shard of one line of the manifest, the inverse of `Shard.line`.

    Raises:
        ValueError, KeyError, TypeError: the line describes none.
    """
    name, kind, split = str(line["name"]), str(line["kind"]), str(line["split"])
    if Path(name).name != name or kind not in KINDS or split not in SPLITS:
        raise ValueError("no name of a shard")  # a name with folders could lead out of this one
    index = []
    for entry in line["index"]:
        places = {str(suffix): (int(offset), int(size)) for suffix, (offset, size) in entry["files"].items()}
        index.append(SampleIndex(str(entry["key"]), places))
    return Shard(folder / kind / name, kind, split, int(line["bytes"]), str(line["sha256"]), tuple(index))
