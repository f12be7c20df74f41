"""`unimo data check`: is the ground truth of these clips true?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unimo.cli import common as c
from unimo.errors import InputError

if TYPE_CHECKING:
    from unimo.data.check import CheckReport


def check(
    clips: Annotated[Path, typer.Argument(help="Folder written by `unimo synth`.", show_default=False)],
    json: Annotated[Path | None, typer.Option("--json", help="Also write every clip's numbers here.")] = None,
    count: Annotated[int | None, typer.Option("--count", min=1, help="Only the first clips.")] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes.")] = 2,
    quiet: c.QuietOption = False,
) -> None:
    """Measures whether keypoints, mask, layers, motion and camera agree; exits with 2 when a clip fails."""
    c.set_up_logging(quiet)
    if json and json.is_dir():
        raise InputError("--json names a folder; a file is wanted", str(json), f"--json {json / 'check.json'}")

    if any((clips / name).is_file() for name in ("prepare.json", "quarantine.jsonl")):
        what = "these are prepared shards; data check measures the clips of unimo synth"
        raise InputError(what, str(clips.absolute()), f"unimo data report {clips} --html report.html")

    from unimo.data.check import check_folder

    c.prepare_drawing(True, "open", quiet)
    with c.progress_bars(quiet) as progress:
        report = check_folder(clips, count, workers, progress)
    if json:
        report.save(json)
    if not quiet:
        _print(report)
    c.report_files([json] if json else [], quiet)
    if failed := report.failed:
        shown = [f"{name} ({', '.join(measures)})" for name, measures in list(failed.items())[:8]]
        more = f" and {len(failed) - 8} more" if len(failed) > 8 else ""
        what = f"{len(failed)} of {len(report.clips)} clips fail: {'; '.join(shown)}{more}"
        raise InputError(what, str(clips.absolute()), "--json FILE for every clip's numbers; make these clips anew")


def _print(report: CheckReport) -> None:
    from rich import box
    from rich.table import Table

    table = Table("check", "mean", "worst", "limit", "worst clip", "verdict", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for row in report.summaries:
        measure = row.measure
        limit = f"{'≥' if measure.at_least else '≤'} {measure.limit:g} {measure.unit}".rstrip()
        mean, worst = ("" if value is None else f"{value:.3g}" for value in (row.mean, row.worst))
        color = "red" if row.failed else "yellow" if row.missing else "green"
        table.add_row(measure.name, mean, worst, limit, row.worst_clip, f"[{color}]{row.verdict}[/{color}]")
    c.out.print(table)
    for clip in report.clips:
        for fault in clip.faults:
            c.out.print(f"{clip.name}: {fault}", highlight=False, markup=False, soft_wrap=True)
