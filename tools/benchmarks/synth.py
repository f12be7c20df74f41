"""Frames a second and bytes a clip of `unimo synth`, files included, for one and for two workers in turn.

Goals with two workers at 128 px: 60 frames/s of pictures alone, 25 with all layers.

python tools/benchmarks/synth.py --count 48 --frames 33 --layers all --repeats 3 --json synth.json
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median

from unimo.synth.engine import generate_clips
from unimo.synth.gait import gait_library
from unimo.synth.layers import parse_layers
from unimo.synth.scene import SceneConfig


def main() -> None:
    """Prints a table. Starting the workers counts, so few clips look slower than many."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=48, help="clips a run")
    parser.add_argument("--frames", type=int, default=33, help="frames a clip")
    parser.add_argument("--layers", default="", help="all, or names as for `unimo synth`")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    config, library, layers = SceneConfig(frames=arguments.frames), gait_library(), parse_layers(arguments.layers)
    speeds: dict[int, list[float]] = {workers: [] for workers in arguments.workers}
    efforts: dict[int, list[float]] = {workers: [] for workers in arguments.workers}
    sizes: dict[str, float] = {}
    for repeat in range(arguments.repeats):
        for workers in arguments.workers:
            with tempfile.TemporaryDirectory() as folder:
                start, effort, clips = time.perf_counter(), _cpu_seconds(), Path(folder) / "clips"
                generate_clips(library, arguments.count, repeat, clips, config, workers, layers=layers)
                speeds[workers].append(arguments.count * config.frames / (time.perf_counter() - start))
                efforts[workers].append(arguments.count * config.frames / (_cpu_seconds() - effort))
                sizes = _bytes_a_clip(clips / "clips", arguments.count)
    rows = [
        {
            "workers": workers, "frames_per_second": median(each), "lowest": min(each), "highest": max(each),
            "frames_per_cpu_second": median(efforts[workers]), "frames": config.frames, "layers": list(layers),
            "bytes_a_clip": sizes, "load": os.getloadavg()[0],
        }
        for workers, each in speeds.items()
    ]  # fmt: skip
    for row in rows:
        text = "{workers} workers: {frames_per_second:.0f} frames/s ({lowest:.0f} to {highest:.0f}), "
        text += "{frames_per_cpu_second:.0f} a CPU second"
        print(f"{text.format(**row)} at {config.side} px, {config.frames} frames a clip, load {row['load']:.1f}")
    print(f"{sum(sizes.values()):.0f} bytes a clip:", ", ".join(f"{name} {size:.0f}" for name, size in sizes.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def _cpu_seconds() -> float:
    """Of this process and its finished children; unlike frames a second it hardly depends on who shares the cores."""
    return sum(os.times()[:4])


def _bytes_a_clip(clips: Path, count: int) -> dict[str, float]:
    """Mean size of each of a clip's files."""
    sizes: dict[str, float] = {}
    for path in sorted(clips.glob("*/*")):
        sizes[path.name] = sizes.get(path.name, 0.0) + path.stat().st_size / count
    return sizes


if __name__ == "__main__":
    main()
