"""`unimo data import FORMAT SOURCE`: motion of other projects' files into a folder that training reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unimo.cli import common as c
from unimo.data.importers import FORMATS, importer
from unimo.errors import InputError, counted

_FORMATS = ", ".join(FORMATS)
_SHOWN = 5


def import_(
    format_: Annotated[str, typer.Argument(metavar="FORMAT", help=f"One of {_FORMATS}.")],
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="File or folder of that format.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for SUBJECT/NAME.npz and .json.")],
    fps: Annotated[
        float | None, typer.Option("--fps", help="Frame rate of the source, for formats that do not store it.")
    ] = None,
    video: Annotated[
        Path | None, typer.Option("--video", help="The original video, or a folder of them: instead of --fps.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only so many files or sequences.")] = None,
    quiet: c.QuietOption = False,
) -> None:
    """Imports motions; a stopped run goes on where it was."""
    c.set_up_logging(quiet)
    if fps is not None and not 0 < fps < float("inf"):
        raise InputError(f"--fps must be a positive number, not {fps:g}")
    importer(format_)

    from unimo.data.importers.base import ImportOptions
    from unimo.data.importers.ledger import SKIPPED
    from unimo.data.importers.run import import_motions

    with c.progress_bars(quiet) as progress:
        report = import_motions(
            format_, source, output, ImportOptions(fps, video), limit,
            lambda done, total: progress("importing", done, total),
        )  # fmt: skip
    if not quiet:
        c.out.print(
            f"{counted(report.motions, 'motion')} of {counted(len(report.subjects), 'subject')}, "
            f"{report.seconds:.0f} s, from {report.sources - len(report.skipped)} of {report.sources} sources "
            f"({report.kept} done before)"
        )
        for name, reason in report.skipped[:_SHOWN]:
            c.out.print(f"skipped {name}: {reason}", markup=False)
        if report.left_out:
            c.out.print(f"stretches of one frame left out: {report.left_out}", markup=False)
        if report.skipped or report.left_out:
            c.out.print(f"{len(report.skipped)} skipped: {output / SKIPPED}", markup=False)
    if not report.motions:
        reason = report.skipped[0][1] if report.skipped else "there is none"
        raise InputError(f"no motion could be imported: {reason}", str(source), report.fix)
