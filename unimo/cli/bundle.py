"""`unimo bundle info` and `unimo bundle verify`: what a folder of weights holds, and whether it is whole."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.table import Table

from unimo.cli import common as c

app = typer.Typer(help="Look at a bundle of weights.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(help="mini, debug, a folder or a Hugging Face id.")]


@app.command()
def info(name: NameArgument = "mini") -> None:
    """Prints what bundle.json says."""
    from unimo.bundle import load_bundle
    from unimo.config import to_dict

    bundle = load_bundle(name)
    table = Table(show_header=False, box=None)
    rows = {"name": bundle.info.name, "folder": bundle.path or "(random weights)", "licence": bundle.info.licence}
    rows |= to_dict(bundle.settings)
    for component, files in bundle.info.components.items():
        rows[component] = f"{sum(record.size for record in files.values()) / 1e6:.1f} MB in {len(files)} files"
    for key, value in rows.items():
        table.add_row(key, str(value))
    c.out.print(table)
    if bundle.info.training:
        c.out.print("training:", json.dumps(bundle.info.training, indent=2))


@app.command()
def verify(name: NameArgument = "mini") -> None:
    """Checks the size and sha256 of every file, then loads every component strictly."""
    from unimo.bundle import load_bundle

    bundle = load_bundle(name)
    bundle.verify()
    for component in bundle.info.components:
        parameters = sum(value.numel() for value in bundle.component(component).parameters())
        c.out.print(f"{component}: whole, {parameters / 1e6:.2f} M parameters", highlight=False)
