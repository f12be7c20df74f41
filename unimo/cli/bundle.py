"""`unimo bundle {info,verify,import-cosmos}`: what a folder of weights holds, whether it is whole, NVIDIA's weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from unimo.cli import common as c

app = typer.Typer(help="Look at a bundle of weights, or make one of NVIDIA's.", no_args_is_help=True)
_DOWNLOAD = "Folder of NVIDIA's Cosmos-{} as downloaded."
NameArgument = Annotated[str, typer.Argument(help="mini, debug, a folder or a Hugging Face id.")]


@app.command()
def info(
    name: NameArgument = "mini",
    as_json: Annotated[bool, typer.Option("--json", help="Print everything that bundle.json says, as JSON.")] = False,
) -> None:
    """Prints what a bundle holds and, in a few lines, how it was trained."""
    from unimo.bundle import load_bundle
    from unimo.cli.bundle_info import summary
    from unimo.config import to_dict

    bundle = load_bundle(name)
    if as_json:
        typer.echo(json.dumps(to_dict(bundle.info), indent=2))
        return
    for line in summary(bundle):
        c.out.print(line, highlight=False, markup=False, soft_wrap=True)


@app.command()
def verify(name: NameArgument = "mini") -> None:
    """Checks the size and sha256 of every file, then loads every component strictly."""
    import torch

    from unimo.bundle import load_bundle

    bundle = load_bundle(name)
    bundle.verify()
    for component in bundle.info.components:
        # half the memory of float32
        parameters = sum(value.numel() for value in bundle.component(component, torch.bfloat16).parameters())
        c.out.print(f"{component}: whole, {parameters / 1e6:.2f} M parameters", highlight=False)


@app.command("import-cosmos")
def import_cosmos(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the bundle, new or there already.")],
    tokenizer: Annotated[
        Path | None, typer.Option("--tokenizer", help=_DOWNLOAD.format("Tokenize1-DV8x16x16-720p"))
    ] = None,
    continuous: Annotated[
        Path | None, typer.Option("--continuous", help=_DOWNLOAD.format("Tokenize1-CV8x8x8-720p"))
    ] = None,
    decoder: Annotated[
        Path | None,
        typer.Option("--decoder", help=_DOWNLOAD.format("Predict1-7B-Decoder-DV8x16x16ToCV8x8x8-720p")),
    ] = None,
    ar: Annotated[
        Path | None,
        typer.Option("--ar", help=_DOWNLOAD.format("Predict1-4B, or of the 5B-Video2World,")),
    ] = None,
    trust_jit: Annotated[
        bool, typer.Option("--trust-jit", help="Runs the code stored in the .jit files; only for files you trust.")
    ] = False,
    preset: Annotated[
        str, typer.Option("--preset", help="Clip geometry of a new bundle, and what weights do not tell.")
    ] = "base",
    dtype: Annotated[str, typer.Option("--dtype", help="Of the stored weights: bfloat16, float16 or float32.")] = (
        "bfloat16"
    ),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace components the bundle has already.")] = False,
    quiet: c.QuietOption = False,
) -> None:
    """Turns NVIDIA's Cosmos downloads into components of a bundle; see docs/cosmos.md."""
    from unimo.cosmos import import_cosmos as run
    from unimo.options import check_dtype

    given = {"tokenizer": tokenizer, "continuous": continuous, "decoder": decoder, "ar": ar}
    folders = {option: folder for option, folder in given.items() if folder is not None}

    def tell(line: str) -> None:
        if not quiet:
            c.out.print(line, highlight=False, soft_wrap=True)

    bundle = run(folders, output, preset, check_dtype(dtype), trust_jit, overwrite, tell)
    tell(f"wrote {bundle.path}, which holds {', '.join(bundle.info.components)}")
