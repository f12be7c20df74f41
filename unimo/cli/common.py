"""What all commands share: options with one spelling, progress bars, plans, and the way errors reach a user.

Commands import the heavy packages inside their functions, so that `unimo --help` and mistyped flags answer at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from unimo.errors import InputError

if TYPE_CHECKING:
    from unimo.text import TextEncoder

out = Console()
err = Console(stderr=True)

BundleOption = Annotated[str, typer.Option("--bundle", help="mini, debug, a folder or a Hugging Face id.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, max=2**63 - 1, help="The same seed gives the same result.")]
StepsOption = Annotated[int | None, typer.Option("--steps", help="Of the diffusion decoder (15).")]
GuidanceOption = Annotated[float | None, typer.Option("--guidance", help="Of the diffusion decoder (1.8).")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")]
DtypeOption = Annotated[str, typer.Option("--dtype", help="float32, bfloat16 or float16.")]
FocalOption = Annotated[
    float | None, typer.Option("--focal", help="Focal length of the input in its pixels; default: its diagonal.")
]
TemperatureOption = Annotated[float, typer.Option("--temperature", help="Of sampling; 0 takes the most likely token.")]
TopPOption = Annotated[float, typer.Option("--top-p", help="Share of the most likely tokens that are drawn from.")]
PromptOption = Annotated[
    str | None, typer.Option("--prompt", help="What happens, for a bundle that reads text (docs/text.md).")
]
TextEncoderOption = Annotated[
    str | None, typer.Option("--text-encoder", help="The T5 that reads the prompt: a folder or a Hugging Face id.")
]
ExportOption = Annotated[str, typer.Option("--export", help="Also write motion files: bvh, glb, or bvh,glb.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace the files of an earlier run.")]
RenderOption = Annotated[bool, typer.Option("--render/--no-render", help="Draw overlay.mp4 and side_by_side.mp4.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Check everything, print the plan, write nothing.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]


def set_up_logging(quiet: bool) -> None:
    """Sends log messages to standard error: warnings and UniMo's own notes, or with --quiet errors only."""
    handler = RichHandler(console=err, show_time=False, show_path=False)
    logging.basicConfig(level=logging.ERROR if quiet else logging.WARNING, format="%(message)s", handlers=[handler])
    logging.getLogger("unimo").setLevel(logging.ERROR if quiet else logging.INFO)


@contextmanager
def progress_bars(quiet: bool) -> Iterator[Callable[..., None]]:
    """Yields a callback (stage, done, total, text="") that draws one bar a stage on standard error."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, disable=quiet) as bars:
        tasks: dict[str, TaskID] = {}

        def update(stage: str, done: int, total: int, text: str = "") -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total, description=f"{stage} {text}".strip())

        yield update


def quantity(value: float, units: Sequence[str] = ("", "K", "M", "B")) -> str:
    """A number of at least 0 with three digits in the unit that fits, each unit 1000 times the one before: "5.71 M"."""
    step = 0
    while value >= 999.5 and step < len(units) - 1:
        value, step = value / 1000, step + 1
    digits = f"{value:g}" if step == 0 and value == int(value) else three_digits(value)
    return f"{digits} {units[step]}".strip()


def three_digits(value: float) -> str:
    """Three digits, or all of a number's whole part."""
    return f"{value:,.0f}" if value >= 99.95 or value == 0 else f"{value:#.3g}"


def split_exports(text: str) -> list[str]:
    """ "bvh,glb" as a list; an empty text is no export."""
    return [name.strip().lower() for name in text.split(",") if name.strip()]


def text_encoder_row(prompt: str | None, encoder: TextEncoder | None) -> dict[str, str]:
    """What a plan says of the text encoder; nothing without a prompt."""
    if prompt is None or encoder is None:
        return {}
    fetched = ", fetched from Hugging Face when it is not in its cache" if encoder.remote else ""
    return {"text encoder": f"{encoder.source}{fetched}"}


def print_plan(rows: Mapping[str, object]) -> None:
    """Prints what a --dry-run found out."""
    table = Table(show_header=False, box=None)
    for name, value in rows.items():
        table.add_row(name, str(value))
    out.print(table)
    out.print("Dry run: nothing was written.")


def prepare_drawing(render: bool, body: str, quiet: bool) -> None:
    """Sees that the body and, if wanted, the renderer are ready before any long work.

    Raises:
        MissingAssetError: no EGL driver, or the licensed body is not here.
    """
    from unimo.body import load_body
    from unimo.body.files import open_body_path

    if body == "open":
        open_body_path(lambda line: None if quiet else err.print(line))
    load_body(body)  # type: ignore[arg-type]
    if render:
        from unimo.render.renderer import shared_renderer

        shared_renderer()


def print_error(text: str) -> None:
    """Prints a message to standard error, as it is."""
    err.print(f"error: {text}", style="red", highlight=False, markup=False, soft_wrap=True)


def report_files(files: list[Path], quiet: bool) -> None:
    """Prints the files a command wrote."""
    if not quiet:
        for file in files:
            out.print(f"wrote {file}", highlight=False, soft_wrap=True)


def parse_seeds(text: str) -> list[int]:
    """ "0,1,2" as numbers.

    Raises:
        InputError: not a list of different whole numbers of at least 0.
    """
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"--seeds takes whole numbers with commas between them, not {text!r}", fix="0,1,2") from error
    if min(seeds) < 0 or len(set(seeds)) != len(seeds):
        raise InputError(f"--seeds takes different numbers of at least 0, not {text!r}", fix="0,1,2")
    return seeds
