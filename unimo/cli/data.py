"""`unimo data`: from any video or motion file to training shards. One file a subcommand."""

from __future__ import annotations

import typer

from unimo.cli import data_check, data_extract, data_import, data_prepare, data_report

app = typer.Typer(help="Check, import, label, prepare and describe training data.", no_args_is_help=True)
app.command()(data_check.check)
app.command("import")(data_import.import_)
app.command()(data_extract.extract)
app.command()(data_report.report)
app.command()(data_prepare.prepare)
