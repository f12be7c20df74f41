"""The `unimo` command: one file a subcommand, and one place that turns errors into messages.

`UniMoError` is printed without a traceback and exits with 2; `--debug`, anywhere on the line, shows the traceback.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import unimo
from unimo.cli import bundle, capture, data, doctor, evaluate, generate, synth, train, visualize
from unimo.cli.common import err, print_error
from unimo.errors import UniMoError

app = typer.Typer(
    help="Human video and SMPL-X motion from one autoregressive transformer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(generate.generate)
app.command()(capture.capture)
app.command()(visualize.visualize)
app.command()(synth.synth)
app.add_typer(data.app, name="data")
app.add_typer(train.app, name="train")
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(bundle.app, name="bundle")
app.command()(doctor.doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"unimo {unimo.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks (allowed anywhere on the line).")] = False,
) -> None:
    """Options of all commands; `run` has taken --debug out before this is called."""


_GO_ON = {
    ("synth",): "run the same command again to go on",
    ("data", "prepare"): "run the same command again to go on",
    ("data", "import"): "run the same command again to go on",
    ("train",): "add --resume to go on from the last checkpoint",
}
"""What a stopped command leaves to the next one; the others begin anew."""
_INTERRUPTED = 130


def run(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits: 0 done, 2 wrong input or a missing asset, 130 interrupted, 1 a fault of ours."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    try:
        app([argument for argument in arguments if argument != "--debug"], prog_name="unimo")
    except UniMoError as error:
        if debug:
            raise
        print_error(str(error))
        sys.exit(2)
    except SystemExit as end:  # how typer ends after Ctrl-C too
        if end.code == _INTERRUPTED:
            advice = next((text for words, text in _GO_ON.items() if tuple(arguments[: len(words)]) == words), None)
            err.print(f"stopped: {advice}" if advice else "stopped", highlight=False, soft_wrap=True)
        raise
