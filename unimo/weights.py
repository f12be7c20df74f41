"""Files of weights: safetensors in shards of a size that any host takes, checked by hash, loaded strictly.

In: a module or files. Out: files or tensors. `unimo.bundle` says which of them make a bundle.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unimo.errors import CheckpointError
from unimo.files import atomic_write

SHARD_BYTES = 15_000_000
_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"


@dataclass(frozen=True)
class FileRecord:
    """Size in bytes and sha256 of one file."""

    size: int
    sha256: str


def file_record(path: Path) -> FileRecord:
    """Size and sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return FileRecord(path.stat().st_size, digest.hexdigest())


def load_strictly(model: nn.Module, tensors: Mapping[str, Tensor], where: Path) -> None:
    """Puts tensors into a model.

    Raises:
        CheckpointError: a key is missing or unexpected, or a shape differs; `where` is named.
    """
    wanted = model.state_dict()
    problems = {
        "missing": sorted(wanted.keys() - tensors.keys()),
        "unexpected": sorted(tensors.keys() - wanted.keys()),
        "of another shape": sorted(k for k in wanted.keys() & tensors.keys() if wanted[k].shape != tensors[k].shape),
    }
    found = [
        f"{len(keys)} {kind} ({', '.join(keys[:3])}{', …' * (len(keys) > 3)})"
        for kind, keys in problems.items()
        if keys
    ]
    if found:
        raise CheckpointError(f"The weights do not fit the model: {'; '.join(found)}.", str(where))
    model.load_state_dict(dict(tensors), strict=True)


def read_tensors(files: Mapping[str, Path], folder: Path) -> dict[str, Tensor]:
    """All tensors of the safetensors among `files` (by name) of `folder`.

    Raises:
        CheckpointError: there are none, or one cannot be read.
    """
    weights = [path for name, path in files.items() if name.endswith(".safetensors")]
    if not weights:
        raise CheckpointError("The component has no weights.", str(folder / _SINGLE), "fetch the bundle again")
    tensors: dict[str, Tensor] = {}
    for path in weights:
        try:
            tensors |= load_file(path)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"The weights cannot be read: {error}", str(path), "fetch the bundle again"
            ) from error
    return tensors


def write_weights(folder: Path, model: nn.Module, dtype: torch.dtype) -> None:
    """Writes a module's weights into `folder`, replacing those of an earlier one.

    Matrices are stored in `dtype`; vectors (norms, biases), buffers (statistics) and what would overflow stay.
    """
    for old in [*folder.glob("model*.safetensors"), folder / _INDEX]:
        old.unlink(missing_ok=True)
    buffers = {name for name, _ in model.named_buffers()}
    state = model.state_dict().items()
    shards = _shards({key: _stored(value, value.dtype if key in buffers else dtype) for key, value in state})
    if len(shards) == 1:
        with atomic_write(folder / _SINGLE) as path:
            save_file(shards[0], path)
        return
    where: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        where |= dict.fromkeys(shard, file)
        with atomic_write(folder / file) as path:
            save_file(shard, path)
    with atomic_write(folder / _INDEX) as path:
        path.write_text(json.dumps({"weight_map": where}, indent=1) + "\n")


def _stored(value: Tensor, dtype: torch.dtype) -> Tensor:
    value = value.detach().cpu()
    if value.is_floating_point() and value.ndim > 1:
        half = value.to(dtype)
        value = half if torch.isfinite(half).all() else value
    return value.contiguous().clone()


def _shards(tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """Splits tensors, in order, into groups of at most `SHARD_BYTES` less a margin for the header."""
    shards: list[dict[str, Tensor]] = [{}]
    room = limit = SHARD_BYTES - 500_000
    for key, value in tensors.items():
        size = value.numel() * value.element_size()
        if shards[-1] and size > room:
            shards.append({})
            room = limit
        shards[-1][key] = value
        room -= size
    return shards
