"""Measures a bundle's motion tokenizer on clips of several lengths and prints a table, or JSON with --json.

python tools/measure_motion_tokenizer.py --data cmu_val.zip --bundle mini --frames 17 65
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from unimo.bundle import load_motion_tokenizer
from unimo.errors import UniMoError
from unimo.evaluation.reconstruction import tokenizer_metrics
from unimo.files import write_text
from unimo.motion.library import MotionLibrary


def main() -> None:
    """Reads the arguments, measures, and prints a column a length."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="motions of subjects not trained on")
    parser.add_argument("--bundle", default="mini")
    parser.add_argument("--frames", type=int, nargs="+", default=[17, 65])
    parser.add_argument("--count", type=int, default=256, help="clips of each length")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    try:
        library, tokenizer = MotionLibrary.from_files(arguments.data), load_motion_tokenizer(arguments.bundle)
        columns = {n: tokenizer_metrics(tokenizer, library, n, arguments.count) for n in arguments.frames}
    except UniMoError as error:
        sys.exit(f"error: {error}")
    print(f"{arguments.count} clips at {tokenizer.fps:g} frames/s")
    print(" | ".join(["| ", *(f"{frames} frames" for frames in columns)]) + " |")
    print("|---" * (1 + len(columns)) + "|")
    for key in next(iter(columns.values())):
        cells = (f"{numbers[key]:.4g}" if key in numbers else "–" for numbers in columns.values())
        print(" | ".join([f"| {key}", *cells]) + " |")
    if arguments.json:
        write_text(arguments.json, json.dumps(columns, indent=2) + "\n")


if __name__ == "__main__":
    main()
