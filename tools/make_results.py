"""Measures a bundle and writes docs/results.json and the tables of docs/results.md.

python tools/make_results.py --mocap DIR/cmu_val.zip
python tools/make_results.py --only regression     # the gate of tests/evaluation/test_regression.py alone: two minutes
unimo evaluate report work_dir/results/capture.json --html capture.html
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from unimo.errors import UniMoError
from unimo.evaluation.results import Asked, make_results, renew_gate

GATE = Path("tests/fixtures/evaluation/clips")


def main() -> None:
    """Reads the arguments and runs the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mocap", type=Path, help="motion capture of the data set synthetic-val")
    parser.add_argument("--only", choices=["regression"], help="renew this part of the results that are there")
    parser.add_argument("--bundle", default="mini")
    parser.add_argument("--output", type=Path, default=Path("docs"))
    parser.add_argument("--runs", type=Path, default=Path("work_dir/results"), help="reports and predictions go here")
    parser.add_argument("--tokenizer-count", type=int, default=64)
    parser.add_argument("--capture-count", type=int, default=64)
    parser.add_argument("--generate-count", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--gate", type=Path, default=GATE, help="clips of the regression gate")
    arguments = parser.parse_args()
    if arguments.only is None and arguments.mocap is None:
        parser.error("--mocap is needed (or --only regression)")
    counts = {kind: getattr(arguments, f"{kind}_count") for kind in ("tokenizer", "capture", "generate")}
    try:
        if arguments.only:
            renew_gate(arguments.output, arguments.gate, arguments.bundle)
        else:
            make_results(
                Asked(
                    arguments.mocap, arguments.bundle, arguments.output, arguments.runs, counts, arguments.seeds,
                    arguments.device, arguments.gate,
                )
            )  # fmt: skip
    except UniMoError as error:
        sys.exit(f"error: {error}")
    print(f"wrote {arguments.output / 'results.json'} and {arguments.output / 'results.md'}")


if __name__ == "__main__":
    main()
