"""Clips a second of `unimo data prepare`: one process, two, and a Ray cluster of two workers on this machine.

In: a folder of `unimo synth`. Long videos with cuts are made of its clips and prepared with them. Every way is run in
turn, with the load of the machine beside its numbers; shards of all ways must have the same hashes. The time includes
the start of workers, not that of the Ray cluster.

RAY_worker_niceness=0 python tools/benchmarks/prepare.py CLIPS --long 3 --bundle mini --repeats 1 --json prepare.json
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from unimo.data.clips import ClipSet, load_clips
from unimo.data.prepare import PrepareSettings, prepare
from unimo.data.shards import read_manifest
from unimo.media.video import write_video
from unimo.motion.motion import Motion
from unimo.motion.npz import save_motion

SHOTS = 8
"""Clips in a long video."""


def write_long(folder: Path, clips: ClipSet, count: int) -> None:
    """Writes videos of eight clips each, one after the other, with the motion beside them."""
    for number in range(count):
        rows = [(number * SHOTS + shot) % len(clips) for shot in range(SHOTS)]
        parts = {name: np.concatenate(value[rows]) for name, value in clips.motions.items()}
        # a file has one camera, so only the first shot's motion fits its pixels: no matter for the speed
        motion = Motion(**parts, fps=clips.fps, body=clips.body, intrinsics=clips.intrinsics[rows[0]])
        path = folder / f"long{number}.mp4"
        write_video(path, np.concatenate(clips.frames[rows]), clips.fps)
        save_motion(path.with_suffix(".npz"), motion)


def run(videos: Path, output: Path, settings: PrepareSettings, way: str) -> dict:
    """One row: how one way went."""
    if way == "ray":
        import ray

        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    before = os.getloadavg()[0]
    summary = prepare(videos, output, settings, 1 if way == "ray" else int(way), "auto" if way == "ray" else None)
    hashes = [shard.sha256 for kind in ("clips", "tokens") for shard in read_manifest(output, kind)]
    return {
        "way": "ray, 2 workers" if way == "ray" else f"{way} processes",
        "videos": summary.sources,
        "seconds_of_video": round(summary.seconds, 1),
        "clips": summary.clips,
        "took_s": round(summary.elapsed_s, 2),
        "clips_per_s": round(summary.clips / summary.elapsed_s, 2),
        "load": [round(before, 1), round(os.getloadavg()[0], 1)],
        "shards": hashes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--long", type=int, default=3, help="long videos")
    parser.add_argument("--bundle", default="mini")
    parser.add_argument("--frames", type=int)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--ways", nargs="+", default=["1", "2", "ray"])
    parser.add_argument("--json", type=Path)
    known = parser.parse_args()
    settings = replace(PrepareSettings(known.bundle), frames=known.frames, shard_size=16)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        videos = Path(folder) / "videos"
        shutil.copytree(known.clips / "clips", videos / "clips")
        write_long(videos, load_clips(known.clips), known.long)
        for repeat in range(known.repeats):
            for way in known.ways:
                rows.append(run(videos, Path(folder) / f"{way}-{repeat}", settings, way))
                print({key: value for key, value in rows[-1].items() if key != "shards"}, flush=True)
    print("shards the same:", len({tuple(row.pop("shards")) for row in rows}) == 1)
    if known.json:
        known.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
