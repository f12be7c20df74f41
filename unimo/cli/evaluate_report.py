"""`unimo evaluate report`: one HTML page about one run, or about several beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unimo.cli import common as c
from unimo.errors import InputError


def report(
    runs: Annotated[list[Path], typer.Argument(help="Files that --json wrote; the first is compared with.")],
    html: Annotated[Path, typer.Option("--html", help="The page to write; ends in .html.")],
    worst: Annotated[int, typer.Option("--worst", min=0, help="So many of the worst clips are shown.")] = 6,
    overwrite: c.OverwriteOption = False,
    quiet: c.QuietOption = False,
) -> None:
    """Numbers with intervals, where the errors are, and the worst clips to look at, on one page."""
    c.set_up_logging(quiet)

    from unimo.evaluation.html.page import check_page, write_evaluation_report

    if check_page(html, runs).exists() and not overwrite:
        raise InputError("there is a file of this name already", str(html), "--overwrite, or another --html")
    with c.progress_bars(quiet) as progress:
        written = write_evaluation_report(runs, html, worst, progress)
    c.report_files([written], quiet)
