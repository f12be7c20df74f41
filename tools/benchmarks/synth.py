"""Frames a second of `unimo synth`, files included, for one and for two workers in turn; goal: 30 with two at 128 px.

python tools/benchmarks/synth.py --count 48 --repeats 3 --json synth.json
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
from unimo.synth.scene import SceneConfig


def main() -> None:
    """Prints a table. Starting the workers counts, so few clips look slower than many."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=48, help="clips a run")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    config, library = SceneConfig(), gait_library()
    speeds: dict[int, list[float]] = {workers: [] for workers in arguments.workers}
    for repeat in range(arguments.repeats):
        for workers in arguments.workers:
            with tempfile.TemporaryDirectory() as folder:
                start = time.perf_counter()
                generate_clips(library, arguments.count, repeat, Path(folder) / "clips", config, workers)
                speeds[workers].append(arguments.count * config.frames / (time.perf_counter() - start))
    rows = [
        {"workers": workers, "frames_per_second": median(each), "lowest": min(each), "highest": max(each)}
        for workers, each in speeds.items()
    ]
    for row in rows:
        text = "{workers} workers: {frames_per_second:.0f} frames/s ({lowest:.0f} to {highest:.0f})"
        print(text.format(**row) + f" at {config.side} px, load {os.getloadavg()[0]:.1f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
