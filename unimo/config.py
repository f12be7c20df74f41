"""Strict typed configurations: YAML (or a dict) in, a frozen dataclass out.

In: a dataclass type, a YAML file or mapping, and `a.b=c` overrides. Out: an instance whose every key was known
and well typed.
Unknown keys, wrong types and values the dataclass itself refuses become a `ConfigError` naming the file and the key.
Dataclasses may nest; their own packages need know nothing of YAML or of this module.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from unimo.errors import ConfigError

Config = TypeVar("Config")


def load_config(cls: type[Config], source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Config:
    """Reads a configuration.

    Args:
        cls: a (frozen) dataclass type; fields may be dataclasses themselves.
        source: a YAML or JSON file, or a mapping.
        overrides: `key=value` or `part.key=value`; the value is read as YAML.

    Returns:
        An instance of `cls`.

    Raises:
        ConfigError: missing or malformed file, unknown key (with a "did you mean"), wrong type, refused value.
    """
    where = "the given mapping" if isinstance(source, Mapping) else str(source)
    values = dict(source) if isinstance(source, Mapping) else read_yaml(Path(source))
    for override in overrides:
        values = _with_override(values, override)
    _refuse_unknown(cls, values, "", where)
    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        problems = "; ".join(_describe(problem) for problem in error.errors())
        raise ConfigError(f"The {cls.__name__} does not hold: {problems}", where) from error


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
        raise ConfigError("The configuration file does not exist.", str(path)) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"The configuration file cannot be read: {error}", str(path)) from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"A configuration is a mapping of keys to values, not a {type(values).__name__}.", str(path))
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


def _refuse_unknown(cls: Any, values: Mapping[str, Any], prefix: str, where: str) -> None:
    if not all(isinstance(key, str) for key in values):
        raise ConfigError(
            f"Configuration keys are words; got {[key for key in values if not isinstance(key, str)]}.", where
        )
    hints = typing.get_type_hints(cls)
    known = [field.name for field in dataclasses.fields(cls) if field.init]
    for key, value in values.items():
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            fix = f"did you mean {prefix + close[0]!r}?" if close else f"one of: {', '.join(known)}"
            raise ConfigError(f"Unknown configuration key {prefix + key!r} of {cls.__name__}.", where, fix)
        nested = _dataclass_in(hints[key])
        if nested is not None and isinstance(value, Mapping):
            _refuse_unknown(nested, value, f"{prefix}{key}.", where)


def _dataclass_in(hint: Any) -> Any:
    """The dataclass a type hint names, alone or in a union with None; else None."""
    if dataclasses.is_dataclass(hint):
        return hint
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        found = [option for option in typing.get_args(hint) if dataclasses.is_dataclass(option)]
        return found[0] if len(found) == 1 else None
    return None


def _describe(problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    return f"{key}: {message} (got {problem['input']!r})" if key else message
