from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from unimo.config import load_config, to_dict
from unimo.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    rate: float = 1e-3
    levels: tuple[int, ...] = (8, 8)


@dataclass(frozen=True)
class Outer:
    width: int
    name: str = "a"
    inner: Inner = field(default_factory=Inner)
    maybe: Inner | None = None

    def __post_init__(self) -> None:
        if self.width % 2:
            raise ValueError("width must be even")


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return path


def test_yaml_becomes_a_frozen_dataclass_and_back(tmp_path: Path) -> None:
    path = write(tmp_path, "width: 4\ninner: {rate: 1e-5, levels: [8, 6, 5]}\nmaybe: {rate: 2}\n")
    config = load_config(Outer, path)
    assert config == Outer(4, "a", Inner(1e-5, (8, 6, 5)), Inner(2.0))
    assert isinstance(config.inner.levels, tuple)
    assert load_config(Outer, to_dict(config)) == config
    assert to_dict(config)["inner"]["levels"] == [8, 6, 5]


def test_overrides_reach_into_parts_and_leave_the_source_alone() -> None:
    source = {"width": 2, "inner": {"rate": 1.0}}
    config = load_config(Outer, source, ["inner.levels=[3,3]", "width=8", "name=b=c", "maybe.rate=5"])
    assert config == Outer(8, "b=c", Inner(1.0, (3, 3)), Inner(5.0))
    assert source == {"width": 2, "inner": {"rate": 1.0}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("widht: 4", "Unknown configuration key 'widht' of Outer.\n  looked: {path}\n  try: did you mean 'width'?"),
        ("width: 4\ninner: {rat: 1}", "'inner.rat' of Inner.\n  looked: {path}\n  try: did you mean 'inner.rate'?"),
        ("width: 4\nmaybe: {rat: 1}", "did you mean 'maybe.rate'?"),
        ("width: 4\nzzz: 1", "one of: width, name, inner, maybe"),
        ("width: wide", "The Outer does not hold: width: Input should be a valid integer"),
        ("width: 3", "The Outer does not hold: width must be even"),
        ("name: a", "width: Field required"),
        ("- 1", "A configuration is a mapping of keys to values, not a list."),
        ("a: [", "The configuration file cannot be read"),
        ("1: 2", "Configuration keys are words; got [1]."),
    ],
)
def test_errors_name_the_file_and_the_key(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        load_config(Outer, path)
    assert message.format(path=path) in str(error.value)
    assert str(path) in str(error.value)


def test_missing_file() -> None:
    with pytest.raises(ConfigError, match="The configuration file does not exist.\n  looked: nowhere.yaml"):
        load_config(Outer, "nowhere.yaml")


@pytest.mark.parametrize("override", ["width", "=3", "inner..rate=1"])
def test_malformed_override(override: str) -> None:
    with pytest.raises(ConfigError, match="is not of the form key=value.\n  try: --set part.key=value"):
        load_config(Outer, {"width": 2}, [override])
