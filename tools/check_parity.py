"""Compares this project's modules with fixtures of the Cosmos reference; exits 0 only if every case passes.

python tools/check_parity.py tests/fixtures/parity/cases
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from unimo.errors import UniMoError
from unimo.evaluation.parity import run_directory, table


def main() -> None:
    """Prints a table: case, sub-check, largest absolute difference, tolerance, verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="cases: each NAME.json beside NAME.safetensors")
    arguments = parser.parse_args()
    try:
        reports = run_directory(arguments.directory)
    except UniMoError as error:
        sys.exit(f"error: {error}")
    print(table(reports))
    sys.exit(0 if all(report.passed for report in reports) else 1)


if __name__ == "__main__":
    main()
