"""`unimo train STAGE`: one stage of the training chain, with what it needs before it.

The motion tokenizer needs motions only and ends as a part of a bundle, the transformer as a whole one; a folder of
ablations is a sweep. For the others, clips, tokens and latents are made in `--work` when they are not there yet;
tokenizers must have been trained in the same folder before the transformer and the diffusion decoder. `ar --shards`
learns prepared tokens instead of clips that are rendered here, and `ar --plan` prints what a training takes.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

from unimo.cli import common as c
from unimo.cli import plan as plans
from unimo.cli import sweep as sweeps
from unimo.errors import InputError
from unimo.files import check_folder, writing_into

# stages that are run before one, when what they make is not there yet
_NEEDS: dict[str, list[str]] = {
    "motion-tokenizer": [],
    "visual-tokenizer": ["clips"],
    "continuous-tokenizer": ["clips"],
    "diffusion-decoder": ["clips", "tokens", "latents"],
    "ar": ["clips", "tokens"],
}
# options that say what is rendered, or that need it
_RENDERING = {"--mocap", "--validation-mocap", "--clips", "--validation-clips", "--sweep"}

app = typer.Typer(help="Train one part of a bundle from motions.", no_args_is_help=True)

ConfigOption = Annotated[str, typer.Option("--config", help="A preset (debug, mini, base) or a YAML file.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="Override a.b=c of the config (may be repeated).")]
DataOption = Annotated[
    list[Path], typer.Option("--data", help="File, folder or zip of AMASS .npz or BVH (may be repeated).")
]
ValidationDataOption = Annotated[
    list[Path] | None,
    typer.Option("--validation-data", help="The same, of other subjects; default: a tenth of the subjects of --data."),
]
MOCAP = typer.Option("--mocap", help="Folder or zip of motions (may be repeated).")
VALIDATION_MOCAP = typer.Option("--validation-mocap", help="The same, of other subjects (may be repeated).")
MocapOption = Annotated[list[Path], MOCAP]
ValidationOption = Annotated[list[Path], VALIDATION_MOCAP]
ShardsOption = Annotated[
    list[Path] | None,
    typer.Option("--shards", help="Folder of unimo data prepare, instead of --mocap: its tokens (may be repeated)."),
]
ValidationShardsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--validation-shards",
        help="The same, of other subjects (may be repeated); default: the validation clips of --shards.",
    ),
]
WorkOption = Annotated[Path, typer.Option("--work", help="Folder for clips, tokens, checkpoints and logs.")]
PresetOption = Annotated[str, typer.Option("--preset", help="Clip geometry: configs/bundle/<preset>.yaml.")]
ClipsOption = Annotated[int, typer.Option("--clips", min=1, help="Training clips to render, 0.88 MB each (mini).")]
ValidationClipsOption = Annotated[int, typer.Option("--validation-clips", min=1, help="Validation clips to render.")]
MinutesOption = Annotated[
    float | None, typer.Option("--minutes", min=0.001, help="Stop after this time, schedule included.")
]
StartOption = Annotated[str | None, typer.Option("--start-from", help="Bundle whose weights to start from.")]
SweepOption = Annotated[
    Path | None,
    typer.Option("--sweep", help="Train all ablations of a folder, or shipped ones by name, --minutes (10) each."),
]
SeedsOption = Annotated[str | None, typer.Option("--seeds", help="Seeds of a sweep: 0,1,2 (default 0).")]
ContinuousOption = Annotated[
    bool, typer.Option("--continuous", help="Of the visual tokenizers, train the one that makes latents, not ids.")
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with the run in --work, if there is one.")]


@app.command("motion-tokenizer")
def motion_tokenizer(
    data: DataOption,
    validation_data: ValidationDataOption = None,
    config: ConfigOption = "mini",
    overrides: SetOption = None,
    work: WorkOption = Path("work_dir"),
    preset: PresetOption = "mini",
    minutes: MinutesOption = None,
    start_from: StartOption = None,
    sweep: SweepOption = None,
    seeds: SeedsOption = None,
    resume: ResumeOption = False,
    device: c.DeviceOption = "auto",
    quiet: c.QuietOption = False,
) -> None:
    """Train the motion tokenizer on motions of your own."""
    sweeps.check(sweep, seeds, start_from, resume)
    places: dict[str, Any] = {"mocap": data, "validation_mocap": validation_data or [], "work": work}
    places |= {"preset": preset, "device": device}
    if sweep is not None:
        file = _config_file("motion_tokenizer", config)
        sweeps.run("motion_tokenizer", sweep, seeds or "0", file, overrides or [], quiet, minutes or 10.0, **places)
        return
    _train("motion-tokenizer", config, overrides, resume, quiet, minutes, start_from=start_from, **places)


@app.command()
def ar(
    context: typer.Context,
    mocap: Annotated[list[Path] | None, MOCAP] = None,
    validation_mocap: Annotated[list[Path] | None, VALIDATION_MOCAP] = None,
    config: ConfigOption = "mini",
    overrides: SetOption = None,
    work: WorkOption = Path("work_dir"),
    preset: Annotated[
        str | None,
        typer.Option("--preset", help="Clip geometry: configs/bundle/<preset>.yaml (mini; of a plan: --config)."),
    ] = None,
    clips: ClipsOption = 30000,
    validation_clips: ValidationClipsOption = 256,
    minutes: MinutesOption = None,
    start_from: StartOption = None,
    sweep: SweepOption = None,
    seeds: SeedsOption = None,
    resume: ResumeOption = False,
    device: c.DeviceOption = "auto",
    quiet: c.QuietOption = False,
    plan: plans.PlanOption = False,
    gpus: plans.GpusOption = None,
    zero: plans.ZeroOption = None,
    gpu_memory: plans.GpuMemoryOption = None,
    peak: plans.PeakOption = None,
    utilisation: plans.UtilisationOption = None,
    shards: ShardsOption = None,
    validation_shards: ValidationShardsOption = None,
) -> None:
    """Train the transformer on the tokens of rendered clips or of prepared shards, or plan the training."""
    plans.check(context, plan)
    if plan:
        file = _config_file("ar_model", config)
        if preset is None and file == Path(config):
            raise InputError("a plan by a file of your own needs --preset, the clips' geometry", fix="--preset base")
        scaled = {"gpu_memory": (gpu_memory, 1e9), "peak": (peak, 1e12)}
        hardware = {name: value and value * unit for name, (value, unit) in scaled.items()}
        hardware |= {"gpus": gpus, "utilisation": utilisation}
        plans.print_training_plan(file, overrides or [], preset or config, zero, hardware)
        return
    _check_shards(context, shards or [], validation_shards or [])
    sweeps.check(sweep, seeds, start_from, resume)
    if not shards and not (mocap and validation_mocap):
        missing = "--validation-mocap" if mocap else "--mocap"
        raise InputError(f"training the transformer needs {missing}", fix=f"{missing} FOLDER, --shards DIR, or --plan")
    places: dict[str, Any] = {"mocap": mocap or [], "validation_mocap": validation_mocap or [], "work": work}
    places |= {"preset": preset or "mini", "device": device, "clips": clips, "validation_clips": validation_clips}
    places |= {"shards": shards or [], "validation_shards": validation_shards or []}
    if sweep is not None:
        file = _config_file("ar_model", config)
        sweeps.run("ar_model", sweep, seeds or "0", file, overrides or [], quiet, minutes or 10.0, **places)
        return
    _train("ar", config, overrides, resume, quiet, minutes, start_from=start_from, **places)


def _check_shards(context: typer.Context, shards: list[Path], validation: list[Path]) -> None:
    """Refuses options that do not go with --shards, or only with it, and folders that hold no prepared data.

    Raises:
        InputError: there are such.
    """
    if not shards:
        if validation:
            raise InputError("--validation-shards belongs to --shards", fix="--shards DIR, or --validation-mocap")
        return
    if idle := [name for name in plans.given_options(context) if name in _RENDERING]:
        what = f"{', '.join(idle)} does not go with --shards, whose clips are made already"
        raise InputError(what, fix=f"leave out --shards, or {' and '.join(idle)}")
    for folder in [*shards, *validation]:
        if not (folder.expanduser() / "manifest.jsonl").is_file():
            what, fix = "this folder holds no finished shards", f"unimo data prepare IN {folder}"
            raise InputError(what, str(folder.absolute()), fix)


def _command(stage: str, text: str) -> None:
    """Adds the subcommand of a stage that learns from rendered clips; these take the same options."""

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
        continuous: bool = False,
    ) -> None:
        places: dict[str, Any] = {"mocap": mocap, "validation_mocap": validation_mocap, "work": work}
        places |= {"preset": preset, "device": device, "clips": clips, "validation_clips": validation_clips}
        name = "continuous-tokenizer" if continuous else stage
        _train(name, config, overrides, resume, quiet, minutes, start_from=start_from, **places)

    # typer reads options off the signature: only one of the stages has a continuous kind
    parameters = inspect.signature(command, eval_str=True).parameters
    if stage == "visual-tokenizer":
        kept = {**parameters, "continuous": parameters["continuous"].replace(annotation=ContinuousOption)}
    else:
        kept = {name: each for name, each in parameters.items() if name != "continuous"}
    command.__signature__ = inspect.Signature(list(kept.values()))  # type: ignore[attr-defined]
    command.__annotations__ = {name: each.annotation for name, each in kept.items()}
    app.command(stage, help=text)(command)


def _train(
    stage: str,
    config: str,
    overrides: list[str] | None,
    resume: bool,
    quiet: bool,
    minutes: float | None,
    **options: Any,
) -> None:
    c.set_up_logging(quiet)
    check_folder(options["work"])
    folder = options["work"] / stage
    if any(folder.glob("step_*.safetensors")) and not resume:
        fix = "--resume to go on, or another --work"
        raise InputError(f"this folder holds checkpoints of {stage}", str(folder.absolute()), fix)

    from unimo.bundle import load_bundle
    from unimo.config import load_config
    from unimo.motion.files import find_files
    from unimo.options import check_device
    from unimo.training.chain import Chain
    from unimo.training.work_folder import PARTS, ChainConfig

    for path in [*options["mocap"], *options["validation_mocap"]]:
        find_files([path])
    if options["start_from"]:
        load_bundle(options["start_from"])
    part, kept = PARTS[stage], folder / "config.json"
    file = _config_file(part.configs, config)
    wanted = load_config(part.config_class, kept if resume and kept.is_file() else file, overrides or [])
    options |= {"device": str(check_device(options["device"])), "training": {stage: wanted}}
    options |= {"bundle": options["work"] / "bundle", "minutes": {} if minutes is None else {stage: minutes}}
    needs = [] if options.get("shards") else _NEEDS[stage]
    stages = [*needs, stage, *(["bundle"] if stage == "ar" else [])]
    Chain(ChainConfig(**options)).check(stages)  # before a body or clips are made
    c.prepare_drawing("clips" in needs, "open", quiet)
    with c.progress_bars(quiet) as progress:
        report = lambda name, done, text: progress(name, round(1000 * done), 1000, text)  # noqa: E731
        with writing_into(options["work"]):
            Chain(ChainConfig(**options), report).run(stages)
    files = [options["work"] / f"{stage}.safetensors", folder / "log.jsonl"]
    if stage in ("motion-tokenizer", "ar"):
        files += [folder / "curve.png", folder / "reconstructions.png", options["bundle"] / "bundle.json"]
    c.report_files([file for file in files if file.is_file()], quiet)


def _config_file(kind: str, config: str) -> Path:
    """The file of a preset, or the file itself."""
    from unimo.assets import config_path

    return Path(config) if Path(config).suffix in (".yaml", ".yml", ".json") else config_path(kind, config)


_command("visual-tokenizer", "Train a visual tokenizer on rendered clips.")
_command("diffusion-decoder", "Train the diffusion decoder on the ids and latents of rendered clips.")
