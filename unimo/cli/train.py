"""`unimo train {motion-tokenizer,visual-tokenizer,ar}`: one stage of the training chain, with what it needs before it.

Clips and tokens are made in `--work` when they are not there yet; tokenizers must have been trained in the same folder
before the transformer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from unimo.cli import common as c
from unimo.errors import InputError

app = typer.Typer(help="Train one part of a bundle from mocap.", no_args_is_help=True)

ConfigOption = Annotated[str, typer.Option("--config", help="A preset (debug, mini) or a YAML file.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="Override a.b=c of the config (may be repeated).")]
MocapOption = Annotated[list[Path], typer.Option("--mocap", help="Folder or zip of BVH files (may be repeated).")]
ValidationOption = Annotated[
    list[Path], typer.Option("--validation-mocap", help="The same, of other subjects (may be repeated).")
]
WorkOption = Annotated[Path, typer.Option("--work", help="Folder for clips, tokens, checkpoints and logs.")]
PresetOption = Annotated[str, typer.Option("--preset", help="Clip geometry: configs/bundle/<preset>.yaml.")]
ClipsOption = Annotated[int, typer.Option("--clips", min=1, help="Training clips to render, 0.88 MB each (mini).")]
ValidationClipsOption = Annotated[int, typer.Option("--validation-clips", min=1, help="Validation clips to render.")]
MinutesOption = Annotated[float | None, typer.Option("--minutes", help="Stop after this time, schedule included.")]
StartOption = Annotated[str | None, typer.Option("--start-from", help="Bundle whose weights to start from.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with the run in --work and its config.")]


def _command(stage: str, text: str) -> None:
    """Adds one subcommand; all take the same options."""

    def command(
        mocap: MocapOption,
        validation_mocap: ValidationOption,
        config: ConfigOption = "mini",
        overrides: SetOption = None,
        work: WorkOption = Path("work_dir"),
        preset: PresetOption = "mini",
        clips: ClipsOption = 30000,
        validation_clips: ValidationClipsOption = 256,
        minutes: MinutesOption = None,
        start_from: StartOption = None,
        resume: ResumeOption = False,
        device: c.DeviceOption = "auto",
        quiet: c.QuietOption = False,
    ) -> None:
        c.set_up_logging(quiet)
        for path in [*mocap, *validation_mocap]:
            if not path.exists():
                raise InputError("there is no such mocap folder or zip", str(path.absolute()))
        if any((work / stage).glob("step_*.safetensors")) and not resume:
            fix = "--resume to go on, or another --work"
            raise InputError(f"this folder holds checkpoints of {stage}", str((work / stage).absolute()), fix)
        _train(
            stage,
            config,
            overrides or [],
            resume,
            quiet,
            mocap=mocap,
            validation_mocap=validation_mocap,
            work=work,
            bundle=work / "bundle",
            preset=preset,
            clips=clips,
            validation_clips=validation_clips,
            minutes={} if minutes is None else {stage: minutes},
            start_from=start_from,
            device=device,
        )

    app.command(stage, help=text)(command)


def _train(stage: str, config: str, overrides: list[str], resume: bool, quiet: bool, **options: Any) -> None:
    from unimo.assets import config_path
    from unimo.config import load_config
    from unimo.pipeline import check_device
    from unimo.training.chain import PARTS, Chain, ChainConfig

    part, kept = PARTS[stage], options["work"] / stage / "config.json"
    file = Path(config) if Path(config).suffix in (".yaml", ".yml", ".json") else config_path(part.name, config)
    wanted = load_config(part.config_class, kept if resume and kept.is_file() else file, overrides)
    options |= {"device": str(check_device(options["device"])), "training": {stage: wanted}}
    needs = {"motion-tokenizer": [], "visual-tokenizer": ["clips"], "ar": ["clips", "tokens"]}[stage]
    c.prepare_drawing("clips" in needs, "open", quiet)
    with c.progress_bars(quiet) as progress:
        report = lambda name, done, text: progress(name, round(1000 * done), 1000, text)  # noqa: E731
        Chain(ChainConfig(**options), report).run([*needs, stage])
    c.report_files([options["work"] / f"{stage}.safetensors", options["work"] / stage / "log.jsonl"], quiet)


_command("motion-tokenizer", "Train the motion tokenizer on windows of mocap.")
_command("visual-tokenizer", "Train the visual tokenizer on rendered clips.")
_command("ar", "Train the transformer on the tokens of rendered clips.")
