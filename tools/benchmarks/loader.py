"""Does reading token shards keep up with training? Clips a second of the loader beside those that a step consumes.

python tools/benchmarks/loader.py --json loader.json                     # random tokens of the preset's size
python tools/benchmarks/loader.py --shards prepared --config mini

Every line of the table comes from one run; the training is the loop's own, on shards and on a pack in memory in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from unimo.assets import config_path
from unimo.bundle import BundleSettings
from unimo.config import load_config
from unimo.data.loader import ShardLoader
from unimo.data.shards import MANIFEST, write_shard
from unimo.data.token_shards import TokenShards
from unimo.data.tokens import TokenPack
from unimo.training.ar import ArTask, ArTrainingConfig
from unimo.training.loop import Trainer

WARM_UP = 4  # steps that are not counted


def main() -> None:
    """Measures, prints a table, writes JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=Path, help="a prepared folder; default: random tokens")
    parser.add_argument("--config", default="mini", help="preset of the transformer and of the clips")
    parser.add_argument("--clips", type=int, default=4096, help="random clips to write")
    parser.add_argument("--seconds", type=float, default=4.0, help="of reading alone, for each number of workers")
    parser.add_argument("--steps", type=int, default=12, help="of training, for each number of workers and of a pack")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    config = load_config(ArTrainingConfig, config_path("ar_model", arguments.config))
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.shards
        if folder is None:
            settings = load_config(BundleSettings, config_path("bundle", arguments.config))
            folder = Path(temporary) / "shards"
            write_random(folder, arguments.clips, settings, config)
        shards = TokenShards.of(folder)
        rows = [
            row
            for workers in arguments.workers
            for row in reading(folder, workers, arguments.seconds, config.optimization.batch_size)
        ]
        batch = config.optimization.batch_size
        rows += [paced(folder, workers, arguments.seconds, batch) for workers in arguments.workers]
        pack = shards.first(min(len(shards), 512))
        for workers in arguments.workers:
            rows.append(training(config, folder, pack, workers, arguments.steps, arguments.device, Path(temporary)))
        rows.append(training(config, None, pack, 0, arguments.steps, arguments.device, Path(temporary)))
    size = sum(shard.size for shard in shards.shards) / len(shards)
    print(f"{len(shards)} clips in {len(shards.shards)} shards, {size / 1000:.1f} kB each; config {arguments.config}")
    for row in rows:
        text = f"{row['what']:<46}{row['clips_per_second']:>9.1f} clips/s"
        if "waiting" in row:
            text += f"{1000 * row['step_seconds']:>8.1f} ms/step, waiting {100 * row['waiting']:.3f} % of it"
        if "cpu_step_seconds" in row:
            text += f", {1000 * row['cpu_step_seconds']:.0f} ms of CPU time, all threads"
        print(f"{text}  (load {row['load']:.1f})")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def write_random(folder: Path, clips: int, settings: BundleSettings, config: ArTrainingConfig, size: int = 512) -> None:
    """A prepared folder of random tokens and a motion at rest."""
    rng, side, shards = np.random.default_rng(0), settings.side // 16, []
    features = np.zeros((settings.frames, 145), np.float32)
    features[:, :126], features[:, 136:142] = np.tile([1, 0, 0, 0, 1, 0], 21), [1, 0, 0, 0, -1, 0]
    features[0, 144] = 3.0
    for number, start in enumerate(range(0, clips, size)):
        samples = []
        for key in range(start, min(clips, start + size)):
            visual = rng.integers(config.model.visual_ids, size=(1 + settings.frames // 8, side, side))
            motion, file = rng.integers(config.model.motion_ids, size=(settings.frames, 36)), BytesIO()
            ids = {"visual_ids": visual.astype(np.uint16), "motion_ids": motion.astype(np.uint16)}
            np.savez(file, features=features, **ids)  # pyright: ignore[reportArgumentType]
            samples.append((f"clip{key}", {"tokens.npz": file.getvalue(), "json": b"{}"}))
        shards.append(write_shard(folder, "tokens", "train", number, samples))
    (folder / MANIFEST).write_text("".join(json.dumps(shard.line()) + "\n" for shard in shards))
    geometry = {name: getattr(settings, name) for name in ("fps", "frames", "side", "canonical_focal", "body")}
    note = {"tokenizers": "", "bundle": {"name": ""}, "validation_subjects": [], **geometry}
    (folder / "prepare.json").write_text(json.dumps(note))


def reading(folder: Path, workers: int, seconds: float, batch: int) -> list[dict[str, Any]]:
    """Clips a second of a loader that nothing holds up: while it checks hashes, then once all are checked."""
    loader, rng, rows = ShardLoader(TokenShards.of(folder), workers=workers), np.random.default_rng(0), []
    for what in ("first epoch, hashes checked", "later"):
        start, read = time.perf_counter(), 0
        while read < len(loader) if what != "later" else time.perf_counter() - start < seconds:
            loader.draw(rng, batch)
            read += batch
        rows.append(row(f"loader alone, {workers} workers, {what}", read / (time.perf_counter() - start)))
    loader.close()
    return rows


def paced(folder: Path, workers: int, seconds: float, batch: int, step: float = 0.02) -> dict[str, Any]:
    """A trainer that computes elsewhere, as on a card: it asks for a batch every 20 ms."""
    loader, rng = ShardLoader(TokenShards.of(folder), workers=workers), np.random.default_rng(0)
    loader.draw(rng, batch)
    loader.waited, start, read = 0.0, time.perf_counter(), 0
    while (passed := time.perf_counter() - start) < seconds:
        time.sleep(step)
        loader.draw(rng, batch)
        read += batch
    loader.close()
    more = {"step_seconds": passed * batch / read, "waiting": loader.waited / passed}
    return row(f"steps of {1000 * step:.0f} ms elsewhere, {workers} workers", read / passed) | more


def training(
    config: ArTrainingConfig,
    folder: Path | None,
    pack: TokenPack,
    workers: int,
    steps: int,
    device: str,
    work: Path,
) -> dict[str, Any]:
    """Clips a second that the training loop consumes of shards, or of the pack, and the share of time it waits."""
    loader = None if folder is None else ShardLoader(TokenShards.of(folder), workers=workers)
    optimization = replace(config.optimization, steps=WARM_UP + steps, minutes=None, validate_every=10**9)
    config = replace(config, optimization=optimization, data=replace(config.data, reading_steps=0, validation_clips=1))
    task = ArTask(config, loader or pack, pack, device=device)
    marks, clips = [], []

    def mark(fraction: float, numbers: dict[str, Any]) -> None:
        if len(clips) == WARM_UP and loader is not None:
            loader.waited = 0.0
        marks.append((time.perf_counter(), time.process_time(), 0.0 if loader is None else loader.waited))

    draw = task.batch

    def batch(step: int) -> dict[str, Any]:
        drawn = draw(step)
        clips.append(len(drawn["names"]))
        return drawn

    task.batch = batch  # type: ignore[method-assign]
    what = "training, pack in memory" if loader is None else f"training, {workers} workers"
    Trainer(task, optimization, work / what.replace(" ", "_"), progress=mark).run()
    if loader is not None:
        loader.close()
    passed, cpu = (marks[-1][clock] - marks[WARM_UP - 1][clock] for clock in (0, 1))
    more = {"step_seconds": passed / steps, "cpu_step_seconds": cpu / steps, "waiting": marks[-1][2] / passed}
    return row(what, sum(clips[WARM_UP:]) / passed) | more


def row(what: str, clips_per_second: float) -> dict[str, Any]:
    """A line of the table."""
    return {"what": what, "clips_per_second": clips_per_second, "load": os.getloadavg()[0]}


if __name__ == "__main__":
    main()
