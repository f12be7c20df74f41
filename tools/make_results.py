"""Measures a bundle and writes docs/results.json and the tables of docs/results.md.

unimo synth --mocap DIR/cmu_val.zip --count 64 --seed 1000000000 --output eval_clips
python tools/make_results.py --clips eval_clips
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from unimo.errors import UniMoError
from unimo.evaluation.results import make_results


def main() -> None:
    """Reads the arguments and runs the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, help="folder made by `unimo synth`")
    parser.add_argument("--bundle", default="mini")
    parser.add_argument("--output", type=Path, default=Path("docs"))
    parser.add_argument("--tokenizer-count", type=int, default=64)
    parser.add_argument("--capture-count", type=int, default=64)
    parser.add_argument("--generate-count", type=int, default=16)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--made-with", help="the command that made the clips, printed on the page")
    arguments = parser.parse_args()
    counts = {kind: getattr(arguments, f"{kind}_count") for kind in ("tokenizer", "capture", "generate")}
    try:
        make_results(
            arguments.clips, arguments.bundle, arguments.output, counts, arguments.seeds, arguments.device,
            arguments.made_with,
        )  # fmt: skip
    except UniMoError as error:
        sys.exit(f"error: {error}")
    print(f"wrote {arguments.output / 'results.json'} and {arguments.output / 'results.md'}")


if __name__ == "__main__":
    main()
