"""Which trained parts the stages of the chain read, and the commands that train those that are missing.

In: a `ChainConfig`, names of stages. Out: names of parts, command lines. Nothing is read or run.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from unimo.training.work_folder import ChainConfig

_TOKENIZERS = ("motion-tokenizer", "visual-tokenizer")
READS = {
    "tokens": _TOKENIZERS,
    "latents": ("continuous-tokenizer",),
    "diffusion-decoder": (*_TOKENIZERS, "continuous-tokenizer"),
    "probe": _TOKENIZERS,
    "ar": _TOKENIZERS,
    "bundle": (*_TOKENIZERS, "ar"),
}
"""Trained parts by the stage that reads them."""


def missing_parts(stages: Sequence[str], has: Callable[[str], bool]) -> list[str]:
    """Parts that stages read, that are not there and that no stage before them trains, in the order of training."""
    missing = [
        part
        for place, stage in enumerate(stages)
        for part in READS.get(stage, ())
        if part not in stages[:place] and not has(part)
    ]
    return list(dict.fromkeys(missing))


def training_command(part: str, config: ChainConfig) -> str:
    """The command line that trains a part in the same work folder, from the same motions."""
    renders = part != "motion-tokenizer"
    words = ["unimo", "train", part.replace("continuous-", "visual-")]
    # nothing was named where shards are trained on
    mocap, validation = config.mocap or ["MOTIONS"], config.validation_mocap or ["OTHER_MOTIONS"] * renders
    for option, paths in (("mocap", mocap), ("validation-mocap", validation)):
        for path in paths:
            words += [f"--{option if renders else option.replace('mocap', 'data')}", str(path)]
    words += ["--work", str(config.work)]
    if config.preset != ChainConfig.preset:
        words += ["--config", config.preset, "--preset", config.preset]
    for option in ("clips", "validation_clips"):
        if renders and getattr(config, option) != getattr(ChainConfig, option):
            words += [f"--{option.replace('_', '-')}", str(getattr(config, option))]
    if part == "continuous-tokenizer":
        words.append("--continuous")
    return shlex.join(words)


def looked_for(parts: Sequence[str], work: Path) -> str:
    """The files that hold parts, for a message."""
    return ", ".join(str((work / f"{part}.safetensors").absolute()) for part in parts)
