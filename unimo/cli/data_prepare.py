"""`unimo data prepare`: videos to training shards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unimo.cli import common as c
from unimo.data.extractors import EXTRACTORS
from unimo.errors import InputError, counted

if TYPE_CHECKING:
    from unimo.data.prepare import Summary

_LABELS = ("none", *EXTRACTORS)


def prepare(
    folder: Annotated[Path, typer.Argument(metavar="IN", help="Folder of videos or synthetic clips, at any depth.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for shards and manifest.")],
    bundle: c.BundleOption = "mini",
    extractor: Annotated[
        str, typer.Option("--extractor", help=f"Labels videos without a motion file: {', '.join(_LABELS)}.")
    ] = "none",
    frames: Annotated[int | None, typer.Option("--frames", help="Of a clip, 1 + 8n; default the bundle's.")] = None,
    stride: Annotated[
        int | None, typer.Option("--stride", min=1, help="Frames from one clip to the next; default no overlap.")
    ] = None,
    min_confidence: Annotated[
        float, typer.Option("--min-confidence", min=0, max=1, help="From which a person counts as seen.")
    ] = 0.5,
    shard_size: Annotated[int, typer.Option("--shard-size", min=1, help="Clips a shard.")] = 512,
    validation_subjects: Annotated[
        str, typer.Option("--validation-subjects", help="These go into validation shards: 05,07.")
    ] = "",
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes; default 2.")] = None,
    ray: Annotated[
        str | None, typer.Option("--ray", metavar="ADDRESS", help="A Ray cluster does it: auto, local, HOST:PORT.")
    ] = None,
    quiet: c.QuietOption = False,
) -> None:
    """Cuts, labels and tokenises videos into tar shards; a stopped run goes on where it was."""
    c.set_up_logging(quiet)
    if extractor not in _LABELS:
        raise InputError(f"there is no extractor called {extractor!r}", None, f"one of: {', '.join(_LABELS)}")
    if ray is not None and workers is not None:
        raise InputError(
            "--ray takes all processors of the cluster; --workers is for one machine", None, "leave one out"
        )
    if not folder.expanduser().exists():
        raise InputError("there is no such folder", str(folder.absolute()), "give the folder that the videos are in")

    from unimo.data.prepare import PrepareSettings
    from unimo.data.prepare import prepare as run

    subjects = tuple(name.strip() for name in validation_subjects.split(",") if name.strip())
    chosen = None if extractor == "none" else extractor
    settings = PrepareSettings(bundle, chosen, frames, stride, min_confidence, shard_size, subjects)
    with c.progress_bars(quiet) as progress:
        told = lambda done, total, text: progress("videos", done, total, text)  # noqa: E731
        summary = run(folder, output, settings, workers or 2, ray, told)
    if not quiet:
        _print(summary, output)


def _print(summary: Summary, output: Path) -> None:
    """What became of the videos, one line a fact."""
    rate = f", {summary.fresh_clips / summary.elapsed_s:.2f} clips/s" if summary.fresh_clips else ""
    lines = [
        f"{counted(summary.sources, 'video')}, {summary.seconds:.1f} s of them readable",
        f"{counted(summary.clips, 'clip')} in {counted(summary.shards, 'shard')} "
        f"({summary.fresh_clips} made now{rate})",
        *(f"left out: {counted(count, 'video')}: {reason}" for reason, count in summary.quarantined.most_common()),
        *(f"left out: {seconds:.1f} s: {reason}" for reason, seconds in summary.left_out_s.most_common()),
        f"wrote {output / 'manifest.jsonl'}",
    ]
    for line in lines:
        c.out.print(line, highlight=False, markup=False, soft_wrap=True)
