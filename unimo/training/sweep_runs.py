"""The transformer of one run of a sweep: its configuration, and the averaged weights of its newest checkpoint."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from ar_model import UniMoTransformer
from unimo.config import load_config
from unimo.errors import CheckpointError, InputError
from unimo.training.ar import ArTrainingConfig
from unimo.training.checkpoint import checkpoint_paths
from unimo.training.sweep import CONFIG


@dataclass(frozen=True)
class TrainedRun:
    """Attributes: model, in evaluation mode; tasks it learned; step and minutes of its checkpoint."""

    model: UniMoTransformer
    tasks: tuple[str, ...]
    step: int
    minutes: float


def load_run(folder: Path) -> TrainedRun:
    """Reads `WORK/<ablation>/seed_<n>` of `unimo train ar --sweep`.

    Raises:
        InputError: the folder holds no run with a checkpoint.
        CheckpointError: the checkpoint is damaged or of another configuration.
    """
    saved = checkpoint_paths(folder)
    if not (folder / CONFIG).is_file() or not saved:
        what = "here is no run of a sweep with a checkpoint"
        raise InputError(what, str(folder.absolute()), "unimo train ar --sweep ar_model_video")
    config = load_config(ArTrainingConfig, json.loads((folder / CONFIG).read_text(encoding="utf-8")))
    kind = "average" if config.optimization.ema_decay else "model"
    head = f"{kind}.transformer."
    model = UniMoTransformer(config.model)
    try:
        with safe_open(saved[-1], "pt") as handle:
            meta = handle.metadata()
            state = {key.removeprefix(head): handle.get_tensor(key) for key in handle.keys() if key.startswith(head)}
        model.load_state_dict(state)
        step, minutes = json.loads(meta["step"]), json.loads(meta["elapsed"]) / 60
    except (SafetensorError, OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"cannot use the checkpoint: {error}", str(saved[-1]), "train this run again") from error
    return TrainedRun(model.eval(), config.data.tasks, step, minutes)
