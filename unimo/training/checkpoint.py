"""Training checkpoints: one safetensors file a step with weights, averaged weights, optimiser state and position.

No pickle: optimiser tensors are stored flat under `optimizer.<parameter index>.<name>`. The newest `keep` files stay.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from unimo.errors import CheckpointError
from unimo.files import atomic_write
from unimo.training.optimizer import Optimizers

_NAME = re.compile(r"step_(\d{8})\.safetensors$")


def checkpoint_paths(folder: Path) -> list[Path]:
    """Whole checkpoints in `folder`, oldest first."""
    return sorted(path for path in folder.glob("step_*.safetensors") if _NAME.search(path.name))


def save_checkpoint(
    folder: Path,
    step: int,
    elapsed: float,
    model: nn.Module,
    average: dict[str, Tensor],
    optimizer: Optimizers,
    position: Mapping[str, Any] | None = None,
    keep: int = 2,
) -> Path:
    """Writes the state after `step` steps and `elapsed` seconds; removes all but the newest `keep` files.

    `position` is that of the data, JSON, when it has one apart from the step.
    """
    tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
    tensors |= {f"average.{key}": value for key, value in average.items()}
    for index, state in optimizer.state().items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in state.items()}
    path = folder / f"step_{step:08d}.safetensors"
    meta = {"step": json.dumps(step), "elapsed": json.dumps(elapsed), "position": json.dumps(position or {})}
    with atomic_write(path) as temporary:
        save_file({key: value.detach().contiguous().clone() for key, value in tensors.items()}, temporary, meta)
    for old in checkpoint_paths(folder)[:-keep]:
        old.unlink()
    return path


def load_checkpoint(
    path: Path, model: nn.Module, average: dict[str, Tensor], optimizer: Optimizers
) -> tuple[int, float, dict[str, Any]]:
    """Restores everything `save_checkpoint` wrote; returns (step, elapsed seconds, position of the data).

    Raises:
        CheckpointError: the file is damaged or belongs to another model.
    """
    try:
        with safe_open(path, "pt") as handle:
            meta = handle.metadata()
            tensors = {key: handle.get_tensor(key) for key in handle.keys()}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"cannot read the checkpoint: {error}", str(path), "remove the file") from error
    groups: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimizer": {}}
    for key, value in tensors.items():
        kind, rest = key.split(".", 1)
        groups[kind][rest] = value
    try:
        model.load_state_dict(groups["model"], strict=True)
    except RuntimeError as error:
        raise CheckpointError(
            f"the checkpoint does not fit the model: {error}", str(path), "train into another folder"
        ) from error
    if average.keys() != groups["average"].keys():
        raise CheckpointError(
            "the checkpoint has no averaged weights of this model", str(path), "keep ema_decay as it was"
        )
    for key in average:
        average[key].copy_(groups["average"][key])
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in groups["optimizer"].items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    try:
        optimizer.load_state(state)
    except ValueError as error:
        what = f"the checkpoint trained other parameters than this run does: {error}"
        raise CheckpointError(what, str(path), "train into another folder with --start-from") from error
    return json.loads(meta["step"]), json.loads(meta["elapsed"]), json.loads(meta.get("position", "{}"))
