"""`unimo train ar --plan`: what a training takes, as tables on standard output. Nothing is allocated or written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from unimo.cli import common as c
from unimo.errors import ConfigError, InputError

if TYPE_CHECKING:
    from unimo.training.plan import TrainingPlan

PlanOption = Annotated[bool, typer.Option("--plan", help="Print what the training takes, and do nothing else.")]
GpusOption = Annotated[int | None, typer.Option("--gpus", min=1, help="Of a plan: GPUs (8).")]
ZeroOption = Annotated[int | None, typer.Option("--zero", min=0, max=3, help="Of a plan: ZeRO stage (all four).")]
GpuMemoryOption = Annotated[
    float | None, typer.Option("--gpu-memory", min=0.001, help="Of a plan: GB (1e9 bytes) of one GPU (80).")
]
PeakOption = Annotated[float | None, typer.Option("--peak", min=0.001, help="Of a plan: TFLOP/s of one GPU (989).")]
UtilisationOption = Annotated[
    float | None, typer.Option("--utilisation", min=0.001, max=1, help="Of a plan: share of the peak reached (0.4).")
]


def refuse_without_plan(given: Mapping[str, Any]) -> None:
    """Refuses options of a plan, by option name, when none is asked for.

    Raises:
        InputError: one of them is given.
    """
    lone = [name for name, value in given.items() if value is not None]
    if lone:
        raise InputError(f"{', '.join(lone)} belongs to --plan", fix="add --plan, or leave it out")


def print_training_plan(
    file: Path, overrides: list[str], preset: str, zero: int | None, hardware: Mapping[str, float | None]
) -> None:
    """Prints the plan of a configuration of the transformer on clips of a preset.

    Args:
        file: configuration.
        overrides: `a.b=c`.
        preset: of the clip geometry.
        zero: the only ZeRO stage to show, or None for all.
        hardware: fields of `Hardware`; None keeps the default.

    Raises:
        ConfigError: the configuration does not hold, or there is no plan for it.
    """
    from unimo.assets import config_path
    from unimo.bundle import BundleSettings
    from unimo.config import load_config
    from unimo.training.ar import ArTrainingConfig
    from unimo.training.plan import ZERO_STAGES, Hardware, make_plan

    config = load_config(ArTrainingConfig, file, overrides)
    settings = load_config(BundleSettings, config_path("bundle", preset))
    machine = Hardware(**{name: value for name, value in hardware.items() if value is not None})  # type: ignore[arg-type]
    try:
        plan = make_plan(config, settings, machine)
    except ValueError as error:
        raise ConfigError(f"There is no plan for this configuration: {error}.", str(file)) from error
    clip = f"{settings.frames} frames of {settings.side} x {settings.side} pixels"
    c.out.print(f"{file.stem}: {sum(plan.parameters.values()) / 1e9:.3g} B parameters, clips of {clip}")
    for table in (_parameters(plan), _sequences(plan), _memory(plan, ZERO_STAGES if zero is None else (zero,))):
        c.out.print(table)
    c.out.print(_steps(plan))
    c.out.print(_assumptions(plan), highlight=False)


def _table(title: str, *columns: str) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="bold", header_style="dim", box=None, padding=(0, 2, 0, 0)
    )
    table.add_column("", min_width=44)
    for column in columns:
        table.add_column(column, justify="right", min_width=7)
    return table


def _parameters(plan: TrainingPlan) -> Table:
    table = _table("\nParameters", "million")
    for part, count in plan.parameters.items():
        table.add_row(part, _number(count / 1e6))
    return table


def _sequences(plan: TrainingPlan) -> Table:
    table, works = _table("\nOne sequence", *(task.upper() for task in plan.sequences)), list(plan.sequences.values())
    table.add_row("positions", *(f"{work.positions:,}" for work in works))
    table.add_row("of them condition", *(f"{work.condition:,}" for work in works))
    table.add_row("target tokens", *(f"{work.targets:,}" for work in works))
    rows = {
        "TFLOP forward: products of the blocks": [work.linear for work in works],
        "TFLOP forward: attention, live pairs": [work.attention for work in works],
        "TFLOP forward: heads on target tokens": [work.heads for work in works],
        "TFLOP forward: frame embedding, depth model": [work.embedding + work.depth for work in works],
        "TFLOP forward and backward": [3 * work.forward for work in works],
        "TFLOP again: chunked loss": [work.recomputed_heads for work in works],
        "TFLOP again: activation checkpointing": [work.recomputed_blocks for work in works],
    }
    for name, values in rows.items():
        if any(values):
            table.add_row(name, *(_number(value / 1e12) for value in values))
    cache = (_number(plan.kv_token * work.positions / 1e9) for work in works)
    table.add_row("GB keys and values when generating (bfloat16)", *cache)
    return table


def _memory(plan: TrainingPlan, stages: tuple[int, ...]) -> Table:
    gpus = plan.hardware.gpus
    title = f"\nGB on each of {gpus} GPUs" if gpus > 1 else "\nGB on the GPU"
    table, states = _table(title, *(f"ZeRO {stage}" for stage in stages)), [plan.states[stage] for stage in stages]
    rows = {
        "weights": [state.weights for state in states],
        "float32 master weights": [state.master for state in states],
        "gradients": [state.gradients for state in states],
        "optimiser": [state.optimizer for state in states],
        "averaged weights": [state.average for state in states],
        "gathered weights": [state.gathered for state in states],
    }
    for name, values in rows.items():
        if any(values):
            table.add_row(name, *(_number(value / 1e9) for value in values))
    for again, name in ((False, "activations kept"), (True, "activation checkpointing")):
        table.add_row(name, *[_number(plan.activations[again] / 1e9)] * len(stages))
    for again, name in ((False, "activations kept"), (True, "checkpointing")):
        chosen = ", as configured" if again == plan.checkpointing else ""
        table.add_row(f"total, {name}{chosen}", *(_number(plan.memory(stage, again) / 1e9) for stage in stages))
        fits = ["yes" if plan.fits(stage, again) else "no" for stage in stages]
        table.add_row(f"  fits into {plan.hardware.gpu_memory / 1e9:g} GB", *fits)
    return table


def _steps(plan: TrainingPlan) -> Table:
    batch = plan.batch * plan.hardware.gpus
    table = _table(f"\nA step of {batch} sequence{'s' * (batch > 1)}", "kept", "checkpointing")
    seconds = [plan.step_seconds(again) for again in (False, True)]
    hours = [plan.steps * second / 3600 for second in seconds]
    table.add_row("TFLOP of each GPU", *(_number(plan.step_flops(again) / 1e12) for again in (False, True)))
    table.add_row("seconds", *map(_number, seconds))
    table.add_row(f"hours for {plan.steps:,} steps", *map(_number, hours))
    table.add_row("GPU hours", *(_number(plan.hardware.gpus * hour) for hour in hours))
    return table


def _assumptions(plan: TrainingPlan) -> str:
    from unimo.training.plan import RESERVE

    machine = plan.hardware
    speed = f"{machine.peak / 1e12:g} TFLOP/s a GPU, of which {machine.utilisation:.0%} are reached, messages included"
    return (
        f"\nAssumed: {speed};\n{RESERVE:.0%} of {machine.gpu_memory / 1e9:g} GB stay free. "
        "ZeRO 0 is the loop as it is; 1 to 3 are mixed\nprecision as DeepSpeed has it. Nothing was written."
    )


def _number(value: float) -> str:
    """Three digits, or all of a number's whole part."""
    return f"{value:,.0f}" if value >= 99.95 or value == 0 else f"{value:#.3g}"
