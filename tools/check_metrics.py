"""Compares this project's metrics with fixtures of the field's reference code; exits 0 only if every case passes.

python tools/check_metrics.py tests/fixtures/metrics --json report.json
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from unimo.errors import UniMoError
from unimo.evaluation.metric_fixtures import passed, run_directory, table, write_report


def main() -> None:
    """Prints a table: case, key, ours, expected, largest difference, verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="fixtures: index.json beside NAME.npz for each case")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the rows of the table there as well")
    arguments = parser.parse_args()
    try:
        rows = run_directory(arguments.directory)
        print(table(rows))
        if arguments.json is not None:
            write_report(rows, arguments.json)
    except UniMoError as error:
        sys.exit(f"error: {error}")
    sys.exit(0 if passed(rows) else 1)


if __name__ == "__main__":
    main()
