"""Files of weights: safetensors in shards of a size that any host takes, checked by hash, loaded strictly.

In: a module or files. Out: files or tensors. `unimo.bundle` says which of them make a bundle.
A model is read and written one file at a time, without a second copy of it in memory.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

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


@contextmanager
def without_weights() -> Iterator[None]:
    """Modules built inside have parameters on "meta", without memory; their buffers are whole.

    `load_strictly(..., assign=True)` gives them weights.
    """
    thread = threading.get_ident()

    def drop(module: nn.Module, name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:
        if parameter is None or threading.get_ident() != thread:
            return None  # torch's word for "as it is": other threads build as ever
        return nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)

    hook = register_module_parameter_registration_hook(drop)  # type: ignore[arg-type]
    try:
        yield
    finally:
        hook.remove()


def load_strictly(model: nn.Module, tensors: Mapping[str, Tensor], where: Path, assign: bool = False) -> None:
    """Puts tensors into a model; with `assign` it takes them over as they are, rather than copies in its own dtype.

    Raises:
        CheckpointError: a key is missing or unexpected, or a shape differs; `where` is named.
    """
    check_fit(model, tensors, where)
    model.load_state_dict(dict(tensors), strict=True, assign=assign)


def check_fit(model: nn.Module, tensors: Mapping[str, Tensor], where: Path) -> None:
    """Compares names and shapes with those of a model; no value is read.

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


def read_tensors(files: Mapping[str, Path], folder: Path, dtype: torch.dtype) -> dict[str, Tensor]:
    """All tensors of the safetensors among `files` (by name) of `folder`, floating-point ones in `dtype`.

    Raises:
        CheckpointError: there are none, or one cannot be read.
    """
    weights = [path for name, path in files.items() if name.endswith(".safetensors")]
    if not weights:
        raise CheckpointError("The component has no weights.", str(folder / _SINGLE), "fetch the bundle again")
    tensors: dict[str, Tensor] = {}
    for path in weights:
        try:
            # copies, one file at a time: the file's own pages are unaligned, and results would differ in the last bits
            for key, value in load_file(path).items():
                tensors[key] = _copy(value, dtype if value.is_floating_point() else value.dtype)
        except (SafetensorError, OSError) as error:
            raise _unreadable(path) from error
    return tensors


def count_numbers(path: Path) -> int:
    """How many numbers a safetensors file holds; only its header is read.

    Raises:
        CheckpointError: it is missing, or cannot be read.
    """
    try:
        with safe_open(path, framework="np") as file:
            return sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise _unreadable(path) from error


def _unreadable(path: Path) -> CheckpointError:
    what = f"The weights cannot be read: {path.name} {damage(path)}."
    return CheckpointError(what, str(path), "fetch the bundle again")


def damage(path: Path) -> str:
    """What seems to be wrong with a file of weights that its reader refused, by a look at its ends.

    The readers' own words are not for users: torch's advise to load a file unsafely.
    """
    if not path.is_file():
        return "is not there" if not path.exists() else "is no file"
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        return "is empty"
    if start.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, not the file itself (git lfs pull fetches it)"
    if start.lstrip()[:1] == b"<":
        return "is a web page, not a download"
    if start.startswith(b"PK"):
        return "is damaged or of another kind" if _is_whole_zip(path) else "is cut off or damaged"
    if path.suffix == ".safetensors":
        return "is cut off or damaged" if start[8:9] == b"{" else "is no safetensors file"
    return "is cut off or damaged, or something else"


def _is_whole_zip(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:
        return False


def write_weights(folder: Path, model: nn.Module, dtype: torch.dtype) -> None:
    """Writes a module's weights into `folder`, replacing those of an earlier one.

    Matrices are stored in `dtype`; vectors (norms, biases), buffers (statistics) and what would overflow stay.
    """
    for old in [*folder.glob("model*.safetensors"), folder / _INDEX]:
        old.unlink(missing_ok=True)
    buffers = {name for name, _ in model.named_buffers()}
    state: dict[str, Tensor] = model.state_dict()
    dtypes = {key: value.dtype if key in buffers else _stored_dtype(value, dtype) for key, value in state.items()}
    shards = _shards({key: value.numel() * dtypes[key].itemsize for key, value in state.items()})
    names = [f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]
    for keys, name in zip(shards, names if len(shards) > 1 else [_SINGLE], strict=True):
        with atomic_write(folder / name) as path:
            # copies, as safetensors refuses tensors that share memory
            save_file({key: _copy(state[key], dtypes[key]) for key in keys}, path)
    if len(shards) > 1:
        where = {key: name for keys, name in zip(shards, names, strict=True) for key in keys}
        with atomic_write(folder / _INDEX) as path:
            path.write_text(json.dumps({"weight_map": where}, indent=1) + "\n")


def _stored_dtype(value: Tensor, dtype: torch.dtype) -> torch.dtype:
    """The dtype to store a parameter in: `dtype` for a matrix, unless a number of it would overflow."""
    if value.dtype == dtype or value.ndim < 2 or not value.is_floating_point():
        return value.dtype
    extremes = torch.stack(value.aminmax())
    return dtype if bool(extremes.to(dtype).isfinite().all()) else value.dtype


def _copy(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to("cpu", dtype, copy=True, memory_format=torch.contiguous_format)


def _shards(sizes: Mapping[str, int]) -> list[list[str]]:
    """Splits names, in order, into groups of at most `SHARD_BYTES` less a margin for the header."""
    shards: list[list[str]] = [[]]
    room = limit = SHARD_BYTES - 500_000
    for key, size in sizes.items():
        if shards[-1] and size > room:
            shards.append([])
            room = limit
        shards[-1].append(key)
        room -= size
    return shards
