"""`unimo data report`: one HTML page about a folder of training data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unimo.cli import common as c
from unimo.errors import InputError


def report(
    data: Annotated[
        Path, typer.Argument(help="Clips of `unimo synth`, shards of `unimo data prepare`, or motions.")
    ],
    html: Annotated[Path, typer.Option("--html", help="The page to write.")],
    overwrite: c.OverwriteOption = False,
    quiet: c.QuietOption = False,
) -> None:
    """Counts, variety of motion, poses, shapes and cameras, a contact sheet and the most unusual clips."""
    c.set_up_logging(quiet)
    if html.is_dir():
        raise InputError("--html names a folder; a file is wanted", str(html), f"--html {html / 'report.html'}")
    if html.exists() and not overwrite:
        raise InputError("there is a file of this name already", str(html), "--overwrite, or another --html")

    from unimo.data.report_page import write_data_report

    c.prepare_drawing(False, "open", quiet)
    with c.progress_bars(quiet) as progress:
        written = write_data_report(data, html, progress)
    c.report_files([written], quiet)
