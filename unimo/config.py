"""Strict typed configurations: YAML (or a dict) in, a frozen dataclass out.

In: a dataclass type, a YAML file or mapping, and `a.b=c` overrides. Out: an instance whose every key was known
and well typed.
Unknown keys, wrong types and values the dataclass itself refuses become a `ConfigError` naming the file and the key
(`unimo.config_errors`).
Dataclasses may nest; their own packages need know nothing of YAML or of this module.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from unimo.config_errors import explained, refuse_unknown, shown
from unimo.errors import ConfigError

Config = TypeVar("Config")


def load_config(
    cls: type[Config], source: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), where: str | None = None
) -> Config:
    """Reads a configuration.

    Args:
        cls: a (frozen) dataclass type; fields may be dataclasses themselves.
        source: a YAML or JSON file, or a mapping.
        overrides: `key=value` or `part.key=value`; the value is read as YAML.
        where: what messages call the source; default the file.

    Returns:
        An instance of `cls`.

    Raises:
        ConfigError: missing or malformed file, unknown key (with a "did you mean"), wrong type, refused value.
    """
    where = where or ("the given mapping" if isinstance(source, Mapping) else str(source))
    values = dict(source) if isinstance(source, Mapping) else read_yaml(Path(source))
    for override in overrides:
        values = _with_override(values, override)
    refuse_unknown(cls, values, where, overrides)
    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        raise explained(error, cls, values, where, overrides) from error


def to_dict(config: Any) -> dict[str, Any]:
    """The plain-JSON form of a dataclass (tuples become lists, paths strings), which `load_config` reads back."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_dict(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping a YAML or JSON file holds, unchecked.

    Raises:
        ConfigError: missing, unreadable, or not a mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        fix = "the path of a YAML file, or the name of a preset: debug, mini, base"
        raise ConfigError("The configuration file does not exist.", str(path), fix) from error
    except (OSError, UnicodeDecodeError) as error:
        what = f"The configuration file cannot be read ({getattr(error, 'strerror', None) or 'it is no text'})."
        raise ConfigError(what, str(path), "a YAML file, such as those in configs") from error
    except yaml.YAMLError as error:
        mark, reason = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        place = f"{path}, line {mark.line + 1}" if mark else str(path)
        what = f"The configuration file is not YAML ({reason or 'it holds characters that are no text'})."
        raise ConfigError(what, place, "key: value, one a line, nested by indentation") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        what = f"A configuration is keys and their values, not {shown(values)}."
        raise ConfigError(what, str(path), "key: value, one a line, nested by indentation")
    return values


def _with_override(values: dict[str, Any], override: str) -> dict[str, Any]:
    key, separator, text = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise ConfigError(f"The override {override!r} is not of the form key=value.", None, "--set part.key=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"The value of the override {override!r} is not YAML.", None, "--set part.key=value"
        ) from error
    result = dict(values)
    inner = result
    for part in parts[:-1]:
        below = inner.get(part)
        inner[part] = dict(below) if isinstance(below, Mapping) else {}
        inner = inner[part]
    inner[parts[-1]] = value
    return result
