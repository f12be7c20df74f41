"""A prepared folder of random tokens, as `unimo data prepare` leaves it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from unimo.data.shards import MANIFEST, Shard, write_shard


def tokens_of(number: int, grid: tuple[int, int, int] = (2, 2, 2), frames: int = 9) -> dict[str, np.ndarray]:
    """Random ids of a clip; its number stands in the last feature, and the features are a person at rest."""
    rng = np.random.default_rng(number)
    features = np.zeros((frames, 145), np.float32)
    features[:, :126] = np.tile([1, 0, 0, 0, 1, 0], 21)
    features[:, 136:142] = [1, 0, 0, 0, -1, 0]
    features[0, 144] = 3.0 + number / 1000
    visual, motion = rng.integers(64, size=grid), rng.integers(512, size=(frames, 36))
    return {"visual_ids": visual.astype(np.uint16), "motion_ids": motion.astype(np.uint16), "features": features}


def write_folder(
    folder: Path,
    counts: dict[str, list[int]],
    tokenizers: str = "made-by",
    bundle: str = "debug",
    grid: tuple[int, int, int] = (2, 2, 2),
    frames: int = 9,
    start: int = 0,
    videos: Sequence[str] = (),
    **more: Any,
) -> list[Shard]:
    """Shards of these numbers of clips by split; clip n has the key `clip<n>`, n counted over all from `start` on.

    `videos` are the sha256 of the videos that they are of, by split; `more` goes into prepare.json; training and
    validation clips are of two subjects.
    """
    shards, number = [], start
    for split, sizes in counts.items():
        for index, size in enumerate(sizes):
            samples = []
            for _ in range(size):
                file = BytesIO()
                np.savez(file, **tokens_of(number, grid, frames))  # pyright: ignore[reportArgumentType]
                samples.append((f"clip{number}", {"tokens.npz": file.getvalue(), "json": b"{}"}))
                number += 1
            shards.append(write_shard(folder, "tokens", split, index, samples))
    (folder / MANIFEST).write_text("".join(json.dumps(shard.line()) + "\n" for shard in shards))
    subjects = {"train": "anna", "validation": "ben"}
    note = {"tokenizers": tokenizers, "bundle": {"name": bundle}, "validation_subjects": ["ben"]}
    note |= {"fps": 15, "frames": frames, "side": 16 * grid[1], "canonical_focal": 1.2, "body": "open"}
    (folder / "prepare.json").write_text(json.dumps(note | more))
    records: list[dict] = [{"subject": subjects[split], "clips": sum(sizes)} for split, sizes in counts.items()]
    for record, video in zip(records, videos, strict=False):
        record |= {"source": f"{video}.mp4", "sha256": video}
    (folder / "sources.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return shards


def damage(path: Path) -> None:
    """Changes one byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
