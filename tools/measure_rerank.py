"""Measures what `unimo generate --rerank` gains over one sample.

python tools/measure_rerank.py --clips work_dir/eval_clips --count 64 --bundle mini --num-samples 4
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
from unimo.evaluation.rerank import evaluate_rerank
from unimo.files import write_text


def main() -> None:
    """Reads the arguments, measures, and prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, help="folder of `unimo synth`")
    parser.add_argument("--count", type=int, help="only the first so many clips")
    parser.add_argument("--bundle", default="mini")
    parser.add_argument("--num-samples", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    told = lambda stage, done, total: print(f"\r{stage} {done}/{total}", end="", file=sys.stderr)  # noqa: E731
    try:
        clips, bundle = load_clips(arguments.clips, count=arguments.count), load_bundle(arguments.bundle)
        numbers = evaluate_rerank(clips, bundle, arguments.num_samples, arguments.seed, progress=told)
    except UniMoError as error:
        sys.exit(f"error: {error}")
    text = json.dumps(numbers | {"clips_sha256": clips.sha256, "bundle_sha256": bundle.sha256}, indent=2)
    print(text)
    if arguments.json:
        write_text(arguments.json, text + "\n")


if __name__ == "__main__":
    main()
