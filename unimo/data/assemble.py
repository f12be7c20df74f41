"""Puts the samples of finished sources into shards, in the order of the sources, as soon as a shard is full.

In: the results in the work folder (see `samples.py`). Out: `clips/` and `tokens/`, whose shards of one number hold the
same samples in the same order. Sample n of a split goes into shard n // shard_size, whatever was stopped and resumed:
a shard with a line in the work folder is finished, and results are removed once their samples are in finished shards.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unimo.data.shards import KINDS, SPLITS, Files, SampleIndex, Shard, read_sample, shard_of, write_shard
from unimo.files import atomic_write

_SUFFIXES = {"clips": ("rgb.mp4", "motion.npz", "json"), "tokens": ("tokens.npz", "json")}


@dataclass
class Assembler:
    """Takes sources in order, writes shards.

    Attributes:
        folder: OUT.
        work: where results lie.
        shard_size: samples a shard.
        validation: subjects whose samples go into the validation shards.
        shards: what was written so far.
    """

    folder: Path
    work: Path
    shard_size: int
    validation: frozenset[str]
    shards: list[Shard] = field(default_factory=list)
    _waiting: dict[str, list[tuple[Path, SampleIndex]]] = field(default_factory=lambda: {split: [] for split in SPLITS})
    _written: Counter[str] = field(default_factory=Counter)
    _unused: Counter[Path] = field(default_factory=Counter)

    def add(self, samples: Path, record: dict[str, Any]) -> None:
        """Takes the next source: its tar of samples, which is gone if a run before this one used it up; its record."""
        split = "validation" if record.get("subject") in self.validation else "train"
        index = [SampleIndex(entry["key"], entry["files"]) for entry in record.get("samples", [])]
        self._unused[samples] = len(index)
        self._waiting[split] += [(samples, sample) for sample in index]
        while len(self._waiting[split]) >= self.shard_size:
            self._write(split)

    def finish(self) -> list[Shard]:
        """Writes what is left; returns all shards, by kind and split."""
        for split in SPLITS:
            if self._waiting[split]:
                self._write(split)
        return sorted(self.shards, key=lambda shard: (KINDS.index(shard.kind), SPLITS.index(shard.split), shard.path))

    def _write(self, split: str) -> None:
        """Writes the next shard of a split, of both kinds, unless a run before this one did."""
        waiting = self._waiting[split]
        chosen, self._waiting[split] = waiting[: self.shard_size], waiting[self.shard_size :]
        for kind in KINDS:
            line = self.work / f"{kind}-{split}-{self._written[split]}.line"
            if line.is_file():
                shard = shard_of(self.folder, json.loads(line.read_text(encoding="utf-8")))
            else:
                shard = write_shard(self.folder, kind, split, self._written[split], _contents(chosen, kind))
                with atomic_write(line) as path:
                    path.write_text(json.dumps(shard.line()), encoding="utf-8")
            self.shards.append(shard)
        self._written[split] += 1
        for samples, _ in chosen:
            self._unused[samples] -= 1
            if not self._unused[samples]:
                samples.unlink(missing_ok=True)


def _contents(chosen: list[tuple[Path, SampleIndex]], kind: str) -> Iterator[tuple[str, Files]]:
    for samples, sample in chosen:
        files = read_sample(samples, sample)
        yield sample.key, {suffix: files[suffix] for suffix in _SUFFIXES[kind]}
