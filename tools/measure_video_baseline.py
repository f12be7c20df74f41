"""Measures transformers of video alone beside those of video and motion, and the bundle's own, on the same pictures.

unimo train ar --sweep ar_model_video --minutes 5 --mocap cmu_train.zip --validation-mocap cmu_val.zip --work work_dir
python tools/measure_video_baseline.py --clips work_dir/eval_clips --bundle mini --sheet strips.png
    --run video=work_dir/ar_model_video/video/seed_0
    --run video_and_motion=work_dir/ar_model_video/video_and_motion/seed_0
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

from unimo.bundle import Bundle, load_bundle
from unimo.data.clips import load_clips
from unimo.defaults import CAPTURE_SAMPLES
from unimo.errors import UniMoError
from unimo.evaluation.video_baseline import BASELINE, UNIFIED, Row, evaluate_video_baseline
from unimo.files import write_text
from unimo.media.images import write_image
from unimo.training.sweep_runs import load_run


def main() -> None:
    """Reads the arguments, measures, prints JSON and draws the strips."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, help="folder of `unimo synth`")
    parser.add_argument("--count", type=int, help="only the first so many clips")
    parser.add_argument("--bundle", default="mini")
    parser.add_argument("--run", action="append", default=[], metavar="NAME=FOLDER", help="a run of `--sweep`")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--capture-samples", type=int, default=CAPTURE_SAMPLES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sheet", type=Path, help="PNG: five frames of eight clips, a block of rows for each clip")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    told = lambda stage, done, total: print(f"\r{stage} {done}/{total}", end="", file=sys.stderr)  # noqa: E731
    try:
        bundle, clips = load_bundle(arguments.bundle), load_clips(arguments.clips, count=arguments.count)
        rows = {"bundle": _own_row(bundle)} | dict(_row(text) for text in arguments.run)
        samples = arguments.capture_samples
        found = evaluate_video_baseline(clips, bundle, rows, arguments.seed, num_samples=samples, progress=told)
    except UniMoError as error:
        sys.exit(f"error: {error}")
    text = json.dumps(found.numbers | {"clips_sha256": clips.sha256, "bundle_sha256": bundle.sha256}, indent=2)
    print(text)
    if arguments.json:
        write_text(arguments.json, text + "\n")
    if arguments.sheet:
        columns = np.linspace(0, clips.frames.shape[1] - 1, 5).round().astype(int)
        strips = [
            np.concatenate(list(videos[clip, columns]), axis=1)
            for clip in range(min(8, len(clips)))
            for videos in found.videos.values()
        ]
        write_image(arguments.sheet, np.concatenate(strips))


def _own_row(bundle: Bundle) -> Row:
    return Row(bundle.component("ar_model", torch.float32), UNIFIED, {"minutes": None, "steps": None})


def _row(text: str) -> tuple[str, Row]:
    name, _, folder = text.partition("=")
    run = load_run(Path(folder))
    task = BASELINE if run.tasks == (BASELINE,) else UNIFIED
    return name, Row(run.model, task, {"minutes": round(run.minutes, 2), "steps": run.step})


if __name__ == "__main__":
    main()
