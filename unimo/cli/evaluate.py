"""`unimo evaluate {tokenizer,capture,generate}`: how well a bundle does on clips with known answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from unimo.cli import common as c
from unimo.errors import InputError

app = typer.Typer(help="Measure a bundle on clips made by `unimo synth`.", no_args_is_help=True)

ClipsOption = Annotated[Path, typer.Option("--clips", help="Folder written by `unimo synth`.")]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Also write the whole report here.")]
CountOption = Annotated[int | None, typer.Option("--count", min=1, help="Only the first clips.")]
SeedsOption = Annotated[str, typer.Option("--seeds", help="Seeds of sampling: 0,1,2.")]
BatchOption = Annotated[int | None, typer.Option("--batch-size", min=1, help="Clips times seeds decoded at once.")]


@app.command()
def tokenizer(
    clips: ClipsOption,
    json: JsonOption = None,
    bundle: c.BundleOption = "mini",
    count: CountOption = None,
    batch_size: BatchOption = None,
    steps: c.StepsOption = None,
    guidance: c.GuidanceOption = None,
    device: c.DeviceOption = "auto",
    quiet: c.QuietOption = False,
) -> None:
    """What the tokenizers lose, and what each decoder of video makes of the same ids."""
    _evaluate("tokenizer", clips, json, bundle, count, "0", batch_size, device, None, quiet, (steps, guidance))


@app.command()
def capture(
    clips: ClipsOption,
    json: JsonOption = None,
    bundle: c.BundleOption = "mini",
    count: CountOption = None,
    seeds: SeedsOption = "0",
    batch_size: BatchOption = None,
    device: c.DeviceOption = "auto",
    dtype: c.DtypeOption = "float32",
    quiet: c.QuietOption = False,
) -> None:
    """Errors of captured motion, beside the best constant pose."""
    _evaluate("capture", clips, json, bundle, count, seeds, batch_size, device, dtype, quiet)


@app.command()
def generate(
    clips: ClipsOption,
    json: JsonOption = None,
    bundle: c.BundleOption = "mini",
    count: CountOption = None,
    seeds: SeedsOption = "0",
    batch_size: BatchOption = None,
    device: c.DeviceOption = "auto",
    dtype: c.DtypeOption = "float32",
    quiet: c.QuietOption = False,
) -> None:
    """How generated video and motion keep to the reference picture and to the data."""
    _evaluate("generate", clips, json, bundle, count, seeds, batch_size, device, dtype, quiet)


def _evaluate(
    kind: str,
    clips: Path,
    json: Path | None,
    bundle: str,
    count: int | None,
    seeds: str,
    batch_size: int | None,
    device: str,
    dtype: str | None,
    quiet: bool,
    drawing: tuple[int | None, float | None] = (None, None),
) -> None:
    c.set_up_logging(quiet)
    numbers = c.parse_seeds(seeds)
    if json and json.is_dir():
        raise InputError("--json names a folder; a file is wanted", str(json), f"--json {json / 'report.json'}")

    from unimo.evaluation.report import run_evaluation, save_report
    from unimo.options import check_device, check_dtype, check_sampler

    found = str(check_device(device))
    check_dtype(dtype)
    options = check_sampler(*drawing)
    with c.progress_bars(quiet) as progress:
        report = run_evaluation(kind, clips, bundle, count, numbers, batch_size, found, dtype, progress, options)
    if json:
        save_report(json, report)
    if not quiet:
        table = Table("measure", "value")
        for key, value in report.items():
            if isinstance(value, int | float):
                table.add_row(key, f"{value:.4g}")
        c.out.print(table)
    c.report_files([json] if json else [], quiet)
