"""Measures how near the fitted bodies come to the mocap; prints the figures of docs/results.md as JSON.

python tools/check_retargeting.py --mocap cmu_val.zip --index index.csv
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path

from unimo.errors import InputError, UniMoError
from unimo.motion.library import retarget_report


def walking_clips(index: Path) -> list[str]:
    """Names in the column `clip` of the rows whose `description` says "walk".

    Raises:
        InputError: the file cannot be read or lacks a column.
    """
    try:
        with index.open(newline="", encoding="utf-8") as lines:
            return [row["clip"] for row in csv.DictReader(lines) if "walk" in (row["description"] or "").lower()]
    except (OSError, UnicodeDecodeError, KeyError) as error:
        raise InputError(f"cannot read the index ({error})", str(index), "a CSV with clip and description") from error


def main() -> None:
    """Reads the arguments and prints the report: `limb_*` over 14 limb joints, `all_*` over all 22."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mocap", type=Path, nargs="+", required=True, help="BVH files, folders or zips")
    parser.add_argument("--subjects", help="only these: 02,03,06")
    parser.add_argument("--index", type=Path, help="CSV (clip, description): soles are measured on clips that walk")
    arguments = parser.parse_args()
    subjects = set(arguments.subjects.split(",")) if arguments.subjects else None
    try:
        walking = walking_clips(arguments.index) if arguments.index else ()
        report = retarget_report(arguments.mocap, subjects, walking)
    except UniMoError as error:
        sys.exit(f"error: {error}")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
