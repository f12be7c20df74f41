"""Lossless speculation beside the same engine one code at a time: how many times faster `capture` reads motion.

Both write the motion of the same clips with the same seeds, in turn. Clips are those of a folder that `unimo synth`
wrote (`--clips`), else some are rendered; the bundle's own tokenizer reads them. "accepted" is codes per pass of the
slowest row, "equal" the share of codes that are those of the plain loop.

The shipped bundle writes whole frames; the last one that wrote token by token lies in the history:

git archive db0e113 assets/bundles/mini | tar -x -C /tmp
python tools/benchmarks/speculation.py --bundle /tmp/assets/bundles/mini --batches 1 4 --windows 8 16 24
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor

from ar_model import Engine, Sampling
from unimo.bundle import Bundle, load_bundle
from unimo.data.clips import load_clips
from unimo.pipeline import UniMoPipeline
from unimo.synth.engine import generate_clips
from unimo.synth.gait import gait_library
from unimo.synth.scene import SceneConfig


class Timed(NamedTuple):
    """One run: ids (B, T, 36), seconds of processor and of clock, steps or passes."""

    ids: Tensor
    cpu: float
    wall: float
    passes: int


def prompts(bundle: Bundle, clips: Path | None, count: int) -> Tensor:
    """Visual ids (count, K, h, w) of clips of the bundle's length and size; fewer clips than `count` are repeated."""
    settings = bundle.settings
    with tempfile.TemporaryDirectory() as scratch:
        if clips is None:
            clips = Path(scratch) / "clips"
            config = replace(SceneConfig(), fps=settings.fps, frames=settings.frames, side=settings.side)
            generate_clips(gait_library(), count, 0, clips, config, 1)
        frames = load_clips(clips).frames[:count]
    ids = torch.cat([UniMoPipeline(bundle).visual_tokenizer.encode(clip[None]) for clip in frames])
    return ids.repeat(-(-count // len(ids)), 1, 1, 1)[:count]


def timed(engine: Engine, visual: Tensor, frames: int, sampling: Sampling, seeds: range) -> Timed:
    """Writes the motion of some clips."""
    calls: list[int] = []
    wall, cpu = time.perf_counter(), time.process_time()
    ids = engine.generate_motion(visual, frames, sampling, seeds, callback=lambda done, _: calls.append(done))
    return Timed(ids, time.process_time() - cpu, time.perf_counter() - wall, len(calls))


def spread(name: str, values: list[float]) -> dict[str, float]:
    """Median, lowest and highest."""
    return {name: median(values), f"{name}_lowest": min(values), f"{name}_highest": max(values)}


def row(batch: int, sampling: Sampling, window: int, pairs: list[tuple[Timed, Timed]]) -> dict[str, float]:
    """What is reported of (plain, speculative) runs."""
    return {
        "batch": batch, "temperature": sampling.temperature, "window": window,
        **spread("cpu_ratio", [plain.cpu / fast.cpu for plain, fast in pairs]),
        **spread("wall_ratio", [plain.wall / fast.wall for plain, fast in pairs]),
        **spread("accepted", [plain.passes / fast.passes for plain, fast in pairs]),
        "equal": sum(float((plain.ids == fast.ids).float().mean()) for plain, fast in pairs) / len(pairs),
        "plain_tokens_per_cpu_second": median(plain.ids.numel() / plain.cpu for plain, _ in pairs),
        "load": os.getloadavg()[0],
    }  # fmt: skip


def main() -> None:
    """Prints a table: one thread, plain loop and every window in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", required=True, help="name or folder; of the motion layout token")
    parser.add_argument("--clips", type=Path, help="folder of clips of the bundle's length, rate and size")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--windows", type=int, nargs="+", default=[8, 16, 24])
    parser.add_argument("--temperatures", type=float, nargs="+", default=[1.0, 0.0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    bundle = load_bundle(arguments.bundle)
    if bundle.ar_model.depth is not None:
        parser.error("this bundle writes whole frames; speculation needs one of the motion layout token (see above)")
    frames, rows = bundle.settings.frames, []
    clips = prompts(bundle, arguments.clips, max(arguments.batches) * arguments.repeats)
    plain = Engine(bundle.ar_model.eval())
    engines = {window: Engine(bundle.ar_model.eval(), speculate=window) for window in arguments.windows}
    for batch in arguments.batches:
        for sampling in (Sampling(temperature, 0.8) for temperature in arguments.temperatures):
            pairs: dict[int, list[tuple[Timed, Timed]]] = {window: [] for window in engines}
            for repeat in range(arguments.repeats):
                seeds = range(repeat * batch, (repeat + 1) * batch)
                given = (clips[seeds.start : seeds.stop], frames, sampling, seeds)
                exact = timed(plain, *given)
                for window, engine in engines.items():
                    pairs[window].append((exact, timed(engine, *given)))
            for window, each in pairs.items():
                rows.append(row(batch, sampling, window, each))
                print(
                    "batch {batch}, temperature {temperature:g}, window {window}: {cpu_ratio:.2f} times the plain loop "
                    "({cpu_ratio_lowest:.2f} to {cpu_ratio_highest:.2f}; {wall_ratio:.2f} by the clock), "
                    "{accepted:.2f} accepted a pass, {equal:.2%} equal, load {load:.1f}".format(**rows[-1]),
                    flush=True,
                )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
