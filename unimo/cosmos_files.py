"""The files of NVIDIA's Cosmos downloads -> tensors.

In: `model.pt`, `mean_std.pt`, `aux_vars.pt` (PyTorch archives, read without running what is stored in them) and
TorchScript files (whose code does run: the caller asks first). Out: tensors under NVIDIA's names.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unimo.errors import CheckpointError
from unimo.weights import damage

_AGAIN = "download the file again"
_CODE = re.compile(r"GLOBAL (\S+)|Unsupported (?:class|global)")
_PREFIX = re.compile(r"^(model\.)?(network\.)?")


def read_checkpoint(file: Path) -> dict[str, Tensor]:
    """The weights of a `model.pt`, mapped from disk rather than read.

    A top-level "model" is gone down into, leading `model.` and `network.` are taken off, extra states left out.

    Raises:
        CheckpointError: not a PyTorch archive, damaged, it holds code, or no weights.
    """
    content = _load(file, mmap=True)
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{file.name} holds a {type(content).__name__}, not weights by name.", str(file), _AGAIN)
    kept = {str(key): value for key, value in content.items() if "_extra_state" not in str(key)}
    strange = [key for key, value in kept.items() if not isinstance(value, Tensor)]
    if strange or not kept:
        what = f"{strange[0]!r}, which is no tensor" if strange else "no weights"
        raise CheckpointError(f"{file.name} holds {what}.", str(file), _AGAIN)
    return _named(kept, file)


def read_torchscript(file: Path) -> dict[str, Tensor]:
    """The parameters and buffers of a TorchScript file. Loading it runs the code stored in it; its model is not run.

    Raises:
        CheckpointError: not TorchScript, or damaged.
    """
    try:
        module: Any = torch.jit.load(str(file), map_location="cpu")
    except Exception as error:  # torch raises many unrelated types for what is not TorchScript
        raise _unreadable(file, "a TorchScript file") from error
    return _named(module.state_dict(), file)


def read_statistics(file: Path, channels: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (channels, n), float32, of latent frames 0 .. n-1 of a clip.

    Raises:
        CheckpointError: damaged, not two tensors of as many numbers, no multiple of `channels`, or impossible values.
    """
    content = _load(file)
    pair = list(content) if isinstance(content, (tuple, list)) else []
    if len(pair) != 2 or not all(isinstance(part, Tensor) and part.is_floating_point() for part in pair):
        raise CheckpointError(f"{file.name} does not hold two tensors, mean and deviation.", str(file), _AGAIN)
    mean, std = (part.detach().float().flatten() for part in pair)
    if mean.shape != std.shape or not len(mean) or len(mean) % channels:
        what = f"{file.name} holds {len(mean)} means and {len(std)} deviations; the latents have {channels} channels."
        raise CheckpointError(what, str(file), _AGAIN)
    if not (torch.isfinite(mean).all() and torch.isfinite(std).all() and (std > 0).all()):
        raise CheckpointError(f"{file.name} holds a deviation that is not positive, or no number.", str(file), _AGAIN)
    return mean.view(channels, -1), std.view(channels, -1)


def read_prompt(file: Path, text_dim: int | None) -> Tensor:
    """Text states (M, text_dim) of the general prompt that stands for no text, from `aux_vars.pt`.

    Raises:
        CheckpointError: damaged, or no such states.
    """
    content = _load(file)
    context = content.get("context") if isinstance(content, Mapping) else None
    if not isinstance(context, Tensor) or not context.is_floating_point() or context.squeeze(0).ndim != 2:
        raise CheckpointError(f"{file.name} holds no text states called context.", str(file), _AGAIN)
    context = context.detach().squeeze(0)
    if context.shape[1] != text_dim or not torch.isfinite(context).all():
        what = f"{file.name} holds text states of {context.shape[1]} channels; the decoder reads {text_dim}."
        raise CheckpointError(what, str(file), _AGAIN)
    return context


def _load(file: Path, mmap: bool = False) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch refuses TorchScript here, and warns besides
            return torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # torch raises many unrelated types for what is not its own
        if match := _CODE.search(str(error)):
            stranger = match[1] or "an unknown object"
            what = f"{file.name} holds more than weights ({stranger}): reading it would run code."
            raise CheckpointError(what, str(file), "use the file that NVIDIA published") from error
        raise _unreadable(file, "a PyTorch file of weights") from error


def _unreadable(file: Path, kind: str) -> CheckpointError:
    return CheckpointError(f"{file.name} cannot be read as {kind}: it {damage(file)}.", str(file), _AGAIN)


def _named(state: Mapping[str, Tensor], file: Path) -> dict[str, Tensor]:
    named = {_PREFIX.sub("", key): value.detach() for key, value in state.items()}
    if len(named) != len(state):
        raise CheckpointError(f"{file.name} holds the same weights under several prefixes.", str(file))
    return named
