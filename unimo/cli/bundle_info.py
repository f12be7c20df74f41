"""What `unimo bundle info` prints: the parts of a bundle, and in a few lines how it was trained.

In: an opened bundle. Out: lines of text; nothing but bundle.json and the headers of the weights is read.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from unimo.cli.common import quantity
from unimo.errors import CheckpointError, counted

if TYPE_CHECKING:
    from unimo.bundle import Bundle

_LABEL, _FIGURES, _LONGEST = 29, 4, 300


def summary(bundle: Bundle) -> Iterator[str]:
    """The lines: name and licence, settings, components with sizes and parameters, training."""
    from unimo.config import to_dict

    info = bundle.info
    yield _row("name", info.name)
    yield _row("folder", bundle.path or "none: random weights")
    yield _row("licence", info.licence or "not stated")
    yield _row("settings", _pairs(to_dict(info.settings)))
    yield ""
    yield from _components(bundle)
    if info.training:
        yield ""
        yield from _training(info.training)
    yield ""
    yield f"All of it: unimo bundle info {shlex.quote(str(bundle.path or info.name))} --json"


def _components(bundle: Bundle) -> Iterator[str]:
    sizes, numbers = [0], [0]
    for name, files in bundle.info.components.items():
        if bundle.path is None:
            yield _row(name, "random weights")
            continue
        sizes.append(sum(record.size for record in files.values()))
        said = f"{_size(sizes[-1])} in {counted(len(files), 'file')}"
        try:
            numbers.append(bundle.parameters(name))
            yield _row(name, f"{quantity(numbers[-1])} parameters, {said}")
        except CheckpointError as error:
            yield _row(name, f"{said}, damaged: {error.what}")
    if len(sizes) > 2:
        yield _row("in all", f"{quantity(sum(numbers))} parameters, {_size(sum(sizes))}")


def _size(size: int) -> str:
    return quantity(size, ("bytes", "KB", "MB", "GB"))


def _training(training: Mapping[str, Any]) -> Iterator[str]:
    """Plain entries, stages with minutes and last validation, where Cosmos's parts come from; the rest by name."""
    rest = []
    for key, value in training.items():
        if key == "stages" and isinstance(value, Mapping):
            continue
        if key == "cosmos" and isinstance(value, Mapping):
            yield from (_row(f"{name} from", part.get("from", "?")) for name, part in value.items())
        elif key == "motion_tokenizer" and isinstance(value, Mapping):
            yield from _part(value)
        elif text := _text(value):
            yield _row(key, text)
        else:
            rest.append(key)
    stages = training.get("stages")
    for name, numbers in stages.items() if isinstance(stages, Mapping) else ():
        if isinstance(numbers, Mapping):
            yield _row(f"{name} trained", _stage(numbers))
    if rest:
        yield _row("also recorded", ", ".join(rest))


def _part(origin: Mapping[str, Any]) -> Iterator[str]:
    """A motion tokenizer that was trained on its own."""
    for key in ("data", "clips", "subjects", "validation_data", "validation_clips"):
        if key in origin:
            yield _row(f"motion_tokenizer: {key.replace('_', ' ')}", _text(origin[key]))
    if isinstance(origin.get("validation"), Mapping):
        yield _row("motion_tokenizer trained", _stage(origin["validation"]))


def _stage(numbers: Mapping[str, Any]) -> str:
    """Steps, minutes and the first figures of the last validation."""
    figures = {key: value for key, value in numbers.items() if isinstance(value, float) and key != "minutes"}
    first = dict(list(figures.items())[:_FIGURES])
    said = [f"{numbers['minutes']:g} minutes"] if isinstance(numbers.get("minutes"), (int, float)) else []
    earlier = numbers.get("first_run")
    if isinstance(earlier, Mapping) and isinstance(earlier.get("minutes"), (int, float)):
        said.append(f"after {earlier['minutes']:g} of a first run")
    if isinstance(numbers.get("step"), int):
        said.append(counted(numbers["step"], "step"))
    if first:
        said.append(_pairs(first) + ", …" * (len(figures) > len(first)))
    return "; ".join(said) or "as it came"


def _pairs(values: Mapping[str, Any]) -> str:
    """ "a 1.5, b 2", four digits of what is no whole number."""
    return ", ".join(f"{key} {f'{value:.4g}' if isinstance(value, float) else value}" for key, value in values.items())


def _text(value: Any) -> str:
    """A plain value or a list of names, short; "" for what is nested."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = ", ".join(value)
    if not isinstance(value, (str, int, float)):
        return ""
    text = value if isinstance(value, str) else f"{value:,}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _row(label: str, value: object) -> str:
    return f"{label:<{_LABEL}} {value}"
