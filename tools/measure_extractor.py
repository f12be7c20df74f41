"""Measures MediaPipe with the body fit: over clips with known motion, beside the constant pose, and on real files.

python tools/measure_extractor.py --clips work_dir/eval_clips --count 64 --bundle mini
python tools/measure_extractor.py --files person.jpg walk.mp4 --focal 1681
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from unimo.bundle import load_bundle
from unimo.data.clips import load_clips
from unimo.errors import UniMoError
from unimo.evaluation.extractor import evaluate_extractor, measure_reprojection
from unimo.files import write_text


def main() -> None:
    """Reads the arguments, measures, and prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, help="folder of `unimo synth`")
    parser.add_argument("--count", type=int, help="only the first so many clips")
    parser.add_argument("--bundle", default="mini", help="whose constant pose is the baseline")
    parser.add_argument("--files", type=Path, nargs="*", default=[], help="videos and pictures")
    parser.add_argument("--focal", type=float, help="of the files, pixels; default: the diagonal")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    numbers = {}
    try:
        if arguments.clips:
            clips = load_clips(arguments.clips, count=arguments.count)
            told = lambda stage, done, total: print(f"\r{stage} {done}/{total}", end="", file=sys.stderr)  # noqa: E731
            numbers["clips"] = evaluate_extractor(clips, load_bundle(arguments.bundle), clips.body, told)
        for path in arguments.files:
            numbers[str(path)] = measure_reprojection(path, arguments.focal)
    except UniMoError as error:
        sys.exit(f"error: {error}")
    text = json.dumps(numbers, indent=2)
    print(text)
    if arguments.json:
        write_text(arguments.json, text + "\n")


if __name__ == "__main__":
    main()
