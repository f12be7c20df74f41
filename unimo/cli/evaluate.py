"""`unimo evaluate {tokenizer,capture,generate}`: how well a bundle does on clips with known answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from unimo.cli import common as c
from unimo.cli.evaluate_report import report
from unimo.errors import InputError

app = typer.Typer(help="Measure a bundle on clips with known answers.", no_args_is_help=True)
app.command()(report)

ClipsOption = Annotated[Path | None, typer.Option("--clips", help="Folder written by `unimo synth`.")]
DatasetOption = Annotated[
    str | None, typer.Option("--dataset", help="Instead of --clips: synthetic-val, 3dpw, rich or human4dit.")
]
DataOption = Annotated[
    Path | None, typer.Option("--data", help="Your copy of the data set; for synthetic-val the CMU mocap.")
]
JsonOption = Annotated[
    Path | None, typer.Option("--json", help="Write the report here, and what was predicted into the folder beside it.")
]
CountOption = Annotated[int | None, typer.Option("--count", min=1, help="Only so many clips.")]
SeedsOption = Annotated[int, typer.Option("--seeds", min=1, help="How many seeds of sampling: 0 .. N-1.")]
BatchOption = Annotated[int | None, typer.Option("--batch-size", min=1, help="Clips times seeds decoded at once.")]
WorkersOption = Annotated[int, typer.Option("--workers", min=1, help="Processes that render a data set's clips.")]


@app.command()
def tokenizer(
    clips: ClipsOption = None,
    dataset: DatasetOption = None,
    data: DataOption = None,
    json: JsonOption = None,
    bundle: c.BundleOption = "mini",
    count: CountOption = None,
    batch_size: BatchOption = None,
    workers: WorkersOption = 2,
    steps: c.StepsOption = None,
    guidance: c.GuidanceOption = None,
    device: c.DeviceOption = "auto",
    quiet: c.QuietOption = False,
) -> None:
    """What the tokenizers lose, and what each decoder of video makes of the same ids."""
    _evaluate(
        "tokenizer", (clips, dataset, data, workers), json, quiet, device, None, drawing=(steps, guidance),
        bundle=bundle, count=count, batch_size=batch_size,
    )  # fmt: skip


@app.command()
def capture(
    clips: ClipsOption = None,
    dataset: DatasetOption = None,
    data: DataOption = None,
    json: JsonOption = None,
    bundle: c.BundleOption = "mini",
    count: CountOption = None,
    seeds: SeedsOption = 1,
    batch_size: BatchOption = None,
    workers: WorkersOption = 2,
    device: c.DeviceOption = "auto",
    dtype: c.DtypeOption = "float32",
    quiet: c.QuietOption = False,
) -> None:
    """Errors of captured motion, beside those of dumb estimates."""
    _evaluate(
        "capture", (clips, dataset, data, workers), json, quiet, device, dtype,
        bundle=bundle, count=count, batch_size=batch_size, seeds=seeds,
    )  # fmt: skip


@app.command()
def generate(
    clips: ClipsOption = None,
    dataset: DatasetOption = None,
    data: DataOption = None,
    json: JsonOption = None,
    bundle: c.BundleOption = "mini",
    count: CountOption = None,
    seeds: SeedsOption = 1,
    batch_size: BatchOption = None,
    workers: WorkersOption = 2,
    vbench: Annotated[
        str, typer.Option("--vbench", help="Also VBench's dimensions through your own installation: all, or a list.")
    ] = "",
    device: c.DeviceOption = "auto",
    dtype: c.DtypeOption = "float32",
    quiet: c.QuietOption = False,
) -> None:
    """How generated video and motion keep to the reference picture and to the data."""
    _evaluate(
        "generate", (clips, dataset, data, workers), json, quiet, device, dtype,
        bundle=bundle, count=count, batch_size=batch_size, seeds=seeds,
        vbench=tuple(name.strip() for name in vbench.split(",") if name.strip()),
    )  # fmt: skip


def _evaluate(
    kind: str,
    where: tuple[Path | None, str | None, Path | None, int],
    json: Path | None,
    quiet: bool,
    device: str,
    dtype: str | None,
    drawing: tuple[int | None, float | None] = (None, None),
    **options: Any,
) -> None:
    """Runs one evaluation; `where` is --clips, --dataset, --data and --workers."""
    c.set_up_logging(quiet)
    from unimo.evaluation.request import ClipSource, check_source, check_target

    source = ClipSource(*where)
    check_source(source)
    if json:
        check_target(json)
    elif quiet:
        raise InputError("--quiet without --json would show nothing", None, "--json report.json")

    from unimo.evaluation.outcome import save_evaluation
    from unimo.evaluation.report import run_evaluation
    from unimo.options import check_device, check_dtype, check_sampler

    found = str(check_device(device))
    check_dtype(dtype)
    sampler = check_sampler(*drawing)
    with c.progress_bars(quiet) as progress:
        evaluation = run_evaluation(
            kind, source, device=found, dtype=dtype, progress=progress, drawing=sampler, **options
        )
    written = save_evaluation(json, evaluation) if json else []
    if not quiet:
        _print(evaluation.numbers)
    c.report_files(written, quiet)


def _print(numbers: dict[str, Any]) -> None:
    """Measures with their intervals; what they mean stands in the report's header and in docs/evaluation.md."""
    table = Table("measure", "value", "95 % interval", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for key, value in numbers.items():
        if isinstance(value, int | float):
            interval = numbers.get(f"interval95.{key}")
            table.add_row(key, f"{value:.4g}", "[{:.4g}, {:.4g}]".format(*interval) if interval else "")
    c.out.print(table)
