"""`--sweep` of `unimo train`: a folder of ablations, trained one after another, in one table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unimo.cli import common as c
from unimo.errors import InputError
from unimo.files import check_folder, writing_into


def check(sweep: Path | None, seeds: str | None, start_from: str | None, resume: bool) -> None:
    """Raises InputError for options that do not go with a sweep, or only with one, and for a sweep of nothing."""
    if sweep is None and seeds:
        raise InputError("--seeds belongs to --sweep", fix="--set optimization.seed=1 for a single run")
    if sweep is not None and (start_from or resume):
        what = "--sweep starts from fresh weights and goes on by itself"
        raise InputError(what, fix="leave out --start-from and --resume")
    if sweep is not None:
        from unimo.assets import ablations_path
        from unimo.training.sweep import load_ablations

        load_ablations(ablations_path(sweep))


def run(
    model: str,
    folder: Path,
    seeds: str,
    base: Path,
    overrides: list[str],
    quiet: bool,
    minutes: float,
    **options: Any,
) -> None:
    """Trains every ablation of a folder with every seed; `model` is motion_tokenizer or ar_model.

    `base` is the configuration that they change; `options` are those of `ChainConfig`.
    """
    numbers = c.parse_seeds(seeds)
    c.set_up_logging(quiet)
    check_folder(options["work"])
    from unimo.assets import ablations_path
    from unimo.options import check_device
    from unimo.training.ar import ArTrainingConfig
    from unimo.training.chain import Chain
    from unimo.training.motion_tokenizer import MotionTokenizerTrainingConfig
    from unimo.training.sweep import change, load_ablations, run_sweep
    from unimo.training.work_folder import ChainConfig

    folder = ablations_path(folder)
    ablations = load_ablations(folder)
    kind = MotionTokenizerTrainingConfig if model == "motion_tokenizer" else ArTrainingConfig
    # before anything is rendered
    configs = [change(kind, base, ablation, overrides) for ablation in ablations.values()]
    options |= {"device": str(check_device(options["device"])), "bundle": options["work"] / "bundle"}
    if model == "ar_model":
        chain = Chain(ChainConfig(**options))
        chain.check(["clips", "tokens"])  # before a body or clips are made
        for config in configs:
            chain.check_vocabulary(config)
        c.prepare_drawing(True, "open", quiet)
    with c.progress_bars(quiet) as progress:
        report = lambda name, done, text: progress(name, round(1000 * done), 1000, text)  # noqa: E731
        chain = Chain(ChainConfig(**options), report)
        study = chain.motion_study() if model == "motion_tokenizer" else chain.ar_study()
        work = options["work"] / folder.resolve().name
        with writing_into(work):
            table = run_sweep(study, ablations, base, overrides, numbers, minutes, work, options["device"], report)
    c.report_files([table, table.with_suffix(".json")], quiet)
