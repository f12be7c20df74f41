"""What is wrong with a configuration, in its own words: the dotted key, what was given, what is allowed, where.

In: a dataclass type, the values given for it, what pydantic found. Out: a `ConfigError`.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import reprlib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from unimo.errors import ConfigError

_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a path"}
_EXAMPLES = {bool: "true", int: "10", float: "0.1"}
_MISSING = object()


def refuse_unknown(cls: Any, values: Mapping[str, Any], where: str, overrides: Sequence[str] = ()) -> None:
    """Refuses keys that a dataclass type or those nested in it do not have.

    Raises:
        ConfigError: naming the first such key, with its neighbours.
    """
    _refuse_unknown(cls, cls, values, "", where, overrides)


def _refuse_unknown(
    root: Any, cls: Any, values: Mapping[str, Any], prefix: str, where: str, overrides: Sequence[str]
) -> None:
    if strange := [key for key in values if not isinstance(key, str)]:
        inside = f" of {prefix.removesuffix('.')}" if prefix else ""
        fix = f"one of: {', '.join(prefix + name for name in _fields(cls))}"
        raise ConfigError(f"Configuration keys{inside} are words; got {shown(strange)}.", where, fix)
    known = _fields(cls)
    for key, value in values.items():
        if key not in known:
            place, fix = _place(prefix + key, where, overrides), _neighbours(root, cls, prefix, key)
            raise ConfigError(f"Unknown configuration key {prefix + key!r}.", place, fix)
        nested = _dataclass_in(known[key])
        if nested is not None and isinstance(value, Mapping):
            _refuse_unknown(root, nested, value, f"{prefix}{key}.", where, overrides)


def _neighbours(root: Any, cls: Any, prefix: str, key: str) -> str:
    """Keys that may have been meant: of the same group, else of the whole configuration, else all of the group."""
    close = [prefix + name for name in difflib.get_close_matches(key, _fields(cls), n=2)]
    if not close:
        everywhere = list(_all_keys(root))
        last = {path.rpartition(".")[2]: path for path in reversed(everywhere)}
        close = [last[name] for name in difflib.get_close_matches(key, last, n=2, cutoff=0.8)]
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    return f"one of: {', '.join(prefix + name for name in _fields(cls))}"


def explained(
    error: ValidationError, cls: Any, values: Mapping[str, Any], where: str, overrides: Sequence[str] = ()
) -> ConfigError:
    """pydantic's findings about `values` of a dataclass type, as one message.

    Args:
        error: what pydantic raised.
        cls: the dataclass type.
        values: what was given, overrides in it.
        where: the file, or what holds the values.
        overrides: `a.b=c`; the message names one that gave a wrong value.
    """
    whats, fixes, keys, places = [], [], [], []
    for problem in error.errors():
        path, hint = _field_at(cls, problem["loc"])
        if (key := ".".join(path)) in keys and problem["type"] != "value_error":
            continue  # another item of the same list
        given, place = _value_at(values, path), _place(key, where, overrides)
        if problem["type"] == "missing":
            what, fix = f"{key} is missing", f"add {key}: {_wanted(hint)}"
        elif problem["type"] == "value_error":
            what, named = _refused(problem["msg"].removeprefix("Value error, "), _dataclass_in(hint), path, given)
            places_of = {each: _place(each, where, overrides) for each in named}
            # a key that an override gave is likelier to be wrong than one of the file
            suspects = [each for each, found in places_of.items() if found != where] or named
            fix = f"change {' or '.join(suspects) or 'one of the values'}"
            place = places_of[suspects[0]] if named and places_of[suspects[0]] != where else place
        else:
            what, fix = f"{key} is {shown(given)}, not {_wanted(hint)}", _example(key, hint)
        whats.append(what)
        fixes.append(fix)
        keys.append(key)
        places.append(place)
    return ConfigError(f"{'; '.join(whats)}.", "; ".join(dict.fromkeys(places)), "; ".join(dict.fromkeys(fixes)))


def _refused(text: str, cls: Any, path: Sequence[str], given: Any) -> tuple[str, list[str]]:
    """A dataclass's own words with dotted keys in them, and these keys; what was given for them if they do not say."""
    prefix, keys = "".join(f"{part}." for part in path), list(_all_keys(cls))
    # the last part of a longer key has an underscore, which tells it from a word
    deeper = {key.rpartition(".")[2]: key for key in keys if "_" in key.rpartition(".")[2]}
    dotted = deeper | {key: key for key in keys}
    words = re.compile(rf"(?<![\w.])({'|'.join(map(re.escape, dotted))})(?!\w|\.\w)")
    named = list(dict.fromkeys(prefix + dotted[word] for word in words.findall(text)))
    if not named:
        return (f"{prefix.removesuffix('.')}: {text}" if path else text), [prefix.removesuffix(".")] * bool(path)
    what = words.sub(lambda match: prefix + dotted[match[0]], text)
    if not re.search(r"\b(not|got)\b|\(", text):
        inside = (_value_at(given, key.removeprefix(prefix).split(".")) for key in named)
        pairs = [f"{key} is {shown(value)}" for key, value in zip(named, inside, strict=True) if value is not _MISSING]
        what += f" ({', '.join(pairs)})" if pairs else ""
    return what, named


def shown(value: Any) -> str:
    """A value as a user may have written it, short."""
    if isinstance(value, Mapping):
        return f"a group of keys ({_first(value)})"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(shown, value[:6]))}{', …' * (len(value) > 6)}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return reprlib.repr(value) if isinstance(value, str) else str(value)


def _first(names: Mapping[Any, Any]) -> str:
    return ", ".join(map(str, list(names)[:4])) + ", …" * (len(names) > 4)


def _wanted(hint: Any) -> str:
    """What a field takes, in words."""
    arguments = typing.get_args(hint)
    origin = typing.get_origin(hint) or hint
    if dataclasses.is_dataclass(hint):
        return f"a group of keys ({_first(_fields(hint))})"
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if option is type(None) else _wanted(option) for option in arguments)
    if origin is typing.Literal:
        return f"one of {', '.join(map(shown, arguments))}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "a group of keys"
    if isinstance(origin, type) and origin is not str and issubclass(origin, Sequence):
        several = "" if Ellipsis in arguments or origin is not tuple else f" of {len(arguments)}"
        return f"a list{several}, each {_wanted(arguments[0])}" if arguments else "a list"
    return _NAMES.get(origin, "another kind of value")


def _example(key: str, hint: Any) -> str:
    """How a value of the right kind is written."""
    if (nested := _dataclass_in(hint)) is not None:
        return f"its keys one by one: {', '.join(f'{key}.{name}' for name in _fields(nested))}"
    options = [option for option in (typing.get_args(hint) or (hint,)) if option is not type(None)]
    example = _EXAMPLES.get(options[0]) if typing.get_origin(hint) in (None, typing.Union, types.UnionType) else None
    return f"{_wanted(hint)}, such as {key}={example}" if example else _wanted(hint)


def _place(key: str, where: str, overrides: Sequence[str]) -> str:
    """The overrides that gave a key or a part of it, the last of each key, and the source; for "" all of them."""
    last = {override.partition("=")[0].strip(): override for override in overrides}
    said = [
        f"--set {override}"
        for name, override in last.items()
        if not key or f"{key}.".startswith(f"{name}.") or f"{name}.".startswith(f"{key}.")
    ]
    return ", ".join([*said, f"over {where}"]) if said else where


def _fields(cls: Any) -> dict[str, Any]:
    """Type hints of the fields that a configuration may give."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}


def _all_keys(cls: Any, prefix: str = "") -> typing.Iterator[str]:
    """Dotted keys of a dataclass type and of those nested in it."""
    for name, hint in _fields(cls).items():
        yield prefix + name
        if (nested := _dataclass_in(hint)) is not None:
            yield from _all_keys(nested, f"{prefix}{name}.")


def _field_at(cls: Any, location: Sequence[Any]) -> tuple[list[str], Any]:
    """The field that a location of pydantic lies in: its path and type hint; items of lists are no fields."""
    path, hint = [], cls
    for part in location:
        nested = _dataclass_in(hint)
        if nested is not None and part in _fields(nested):
            hint = _fields(nested)[part]
        elif typing.get_origin(hint) in (dict, Mapping) and len(typing.get_args(hint)) == 2:
            hint = typing.get_args(hint)[1]
        else:
            break
        path.append(str(part))
    return path, hint


def _value_at(values: Any, path: Sequence[str]) -> Any:
    for part in path:
        if not isinstance(values, Mapping) or part not in values:
            return _MISSING
        values = values[part]
    return values


def _dataclass_in(hint: Any) -> Any:
    """The dataclass a type hint names, alone or in a union with None; else None."""
    if dataclasses.is_dataclass(hint):
        return hint
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        found = [option for option in typing.get_args(hint) if dataclasses.is_dataclass(option)]
        return found[0] if len(found) == 1 else None
    return None
