"""`unimo train ar --plan`: what a training takes, as tables on standard output. Nothing is allocated or written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from unimo.cli import common as c
from unimo.errors import ConfigError, InputError, counted

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
# what a plan takes into account beside them
_PLANNED = {"--plan", "--config", "--set", "--preset"}
_OF_A_PLAN = {"--gpus", "--zero", "--gpu-memory", "--peak", "--utilisation"}


def check(context: typer.Context, plan: bool) -> None:
    """Refuses options that were given and that say nothing with --plan, or nothing without it.

    Raises:
        InputError: one of them is given.
    """
    given = given_options(context)
    if plan and (idle := [name for name in given if name not in _PLANNED | _OF_A_PLAN]):
        what = f"{', '.join(idle)} would change nothing: --plan only does sums, without data and without training"
        raise InputError(what, fix=f"leave out --plan, or {' and '.join(idle)}")
    if not plan and (lone := [name for name in given if name in _OF_A_PLAN]):
        raise InputError(f"{', '.join(lone)} belongs to --plan", fix="add --plan, or leave it out")


def given_options(context: typer.Context) -> list[str]:
    """The options of a command that the user gave."""
    return [each.opts[0] for each in context.command.params if each.name and _given(context, each.name)]


def _given(context: typer.Context, name: str) -> bool:
    """Whether the user gave a parameter, rather than its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


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
        fix = "change what it names with --set, or another --preset"
        raise ConfigError(f"There is no plan for this configuration: {error}.", str(file), fix) from error
    clip = f"{settings.frames} frames of {settings.side} x {settings.side} pixels"
    c.out.print(f"{file.stem}: {c.quantity(sum(plan.parameters.values()))} parameters, clips of {clip}")
    for part in (_parameters(plan), _sequences(plan), _memory(plan, ZERO_STAGES if zero is None else (zero,))):
        _print(*part)
    _print(*_steps(plan))
    c.out.print(_assumptions(plan), highlight=False)


def _print(title: str, table: Table) -> None:
    c.out.print(f"\n{title}", style="bold", highlight=False)
    c.out.print(table)


def _table(*columns: str) -> Table:
    # without padding at the edge no line ends in spaces
    table = Table(header_style="dim", box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=any(columns))
    table.add_column("", min_width=44)
    for column in columns:
        table.add_column(column, justify="right", min_width=7)
    return table


def _parameters(plan: TrainingPlan) -> tuple[str, Table]:
    table = _table("")
    for part, count in plan.parameters.items():
        table.add_row(part, c.quantity(count))
    return "Parameters", table


def _sequences(plan: TrainingPlan) -> tuple[str, Table]:
    table, works = _table(*(task.upper() for task in plan.sequences)), list(plan.sequences.values())
    table.add_row("positions", *(f"{work.positions:,}" for work in works))
    table.add_row("of them condition", *(f"{work.condition:,}" for work in works))
    table.add_row("target tokens", *(f"{work.targets:,}" for work in works))
    rows = {
        "forward: products of the blocks": [work.linear for work in works],
        "forward: attention, live pairs": [work.attention for work in works],
        "forward: heads on target tokens": [work.heads for work in works],
        "forward: frame embedding, depth model": [work.embedding + work.depth for work in works],
        "forward and backward": [3 * work.forward for work in works],
        "again: chunked loss": [work.recomputed_heads for work in works],
        "again: activation checkpointing": [work.recomputed_blocks for work in works],
    }
    for name, values in rows.items():
        if any(values):
            table.add_row(name, *(_flops(value) for value in values))
    cache = (_bytes(plan.kv_token * work.positions) for work in works)
    table.add_row("keys and values when generating (bfloat16)", *cache)
    return "One sequence", table


def _memory(plan: TrainingPlan, stages: tuple[int, ...]) -> tuple[str, Table]:
    gpus = plan.hardware.gpus
    table, states = _table(*(f"ZeRO {stage}" for stage in stages)), [plan.states[stage] for stage in stages]
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
            table.add_row(name, *map(_bytes, values))
    for again, name in ((False, "activations kept"), (True, "activation checkpointing")):
        table.add_row(name, *[_bytes(plan.activations[again])] * len(stages))
    for again, name in ((False, "activations kept"), (True, "checkpointing")):
        chosen = ", as configured" if again == plan.checkpointing else ""
        table.add_row(f"total, {name}{chosen}", *(_bytes(plan.memory(stage, again)) for stage in stages))
        fits = ["yes" if plan.fits(stage, again) else "no" for stage in stages]
        table.add_row(f"  fits into {plan.hardware.gpu_memory / 1e9:g} GB", *fits)
    return f"Memory on each of {gpus} GPUs" if gpus > 1 else "Memory on the GPU", table


def _steps(plan: TrainingPlan) -> tuple[str, Table]:
    gpus, table = plan.hardware.gpus, _table("kept", "checkpointing")
    seconds = [plan.step_seconds(again) for again in (False, True)]
    table.add_row("work of each GPU", *(_flops(plan.step_flops(again)) for again in (False, True)))
    table.add_row("time", *map(_duration, seconds))
    table.add_row(f"time of {counted(plan.steps, 'step')}", *(_duration(plan.steps * each) for each in seconds))
    table.add_row("the same of all GPUs together", *(_duration(gpus * plan.steps * each) for each in seconds))
    return f"A step of {counted(plan.batch * gpus, 'sequence')}", table


def _assumptions(plan: TrainingPlan) -> str:
    from unimo.training.plan import RESERVE

    machine = plan.hardware
    speed = f"{machine.peak / 1e12:g} TFLOP/s a GPU, of which {machine.utilisation:.0%} are reached, messages included"
    return (
        f"\nAssumed: {speed};\n{RESERVE:.0%} of {machine.gpu_memory / 1e9:g} GB stay free. "
        "ZeRO 0 is the loop as it is; 1 to 3 are mixed\nprecision as DeepSpeed has it. Nothing was written."
    )


def _bytes(value: float) -> str:
    return c.quantity(value, ("B", "KB", "MB", "GB", "TB"))


def _flops(value: float) -> str:
    return c.quantity(value, ("FLOP", "KFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"))


def _duration(seconds: float) -> str:
    """In the unit that fits, hours at most."""
    if seconds < 0.1:
        return c.quantity(1e6 * seconds, ("µs", "ms"))
    unit, length = next((pair for pair in (("s", 1), ("min", 60)) if seconds < 120 * pair[1]), ("h", 3600))
    return f"{c.three_digits(seconds / length)} {unit}"
