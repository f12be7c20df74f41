from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from unimo.assets import config_path
from unimo.config import load_config, to_dict
from unimo.errors import ConfigError
from unimo.training.ar import ArTrainingConfig


@dataclass(frozen=True)
class Inner:
    rate: float = 1e-3
    levels: tuple[int, ...] = (8, 8)

    def __post_init__(self) -> None:
        if self.rate <= 0:
            raise ValueError(f"rate must be positive, not {self.rate}")
        if not self.levels:
            raise ValueError("nothing is left")


@dataclass(frozen=True)
class Outer:
    width: int
    name: str = "a"
    inner: Inner = field(default_factory=Inner)
    maybe: Inner | None = None

    def __post_init__(self) -> None:
        if self.width % 2:
            raise ValueError("width must be even")
        if self.inner.rate > self.width:
            raise ValueError("inner.rate is too high for width")


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
        ("widht: 4", "Unknown configuration key 'widht'.\n  looked: {path}\n  try: did you mean 'width'?"),
        ("width: 4\ninner: {rat: 1}", "key 'inner.rat'.\n  looked: {path}\n  try: did you mean 'inner.rate'?"),
        ("width: 4\nmaybe: {rat: 1}", "did you mean 'maybe.rate'?"),
        ("width: 4\nlevels: [8]", "key 'levels'.\n  looked: {path}\n  try: did you mean 'inner.levels'?"),
        ("width: 4\nzzz: 1", "try: one of: width, name, inner, maybe"),
        ("width: 4\ninner: {zzz: 1}", "try: one of: inner.rate, inner.levels"),
        ("width: wide", "'wide', not a whole number.\n  looked: {path}\n  try: a whole number, such as width=10"),
        ("width: 2.5", "width is 2.5, not a whole number."),
        ("width: ", "width is null, not a whole number."),
        ("width: {a: 1, b: 2}", "width is a group of keys (a, b), not a whole number."),
        ("width: 4\ninner: 3", "not a group of keys (rate, levels).\n  looked: {path}\n  try: its keys one by one"),
        ("width: 4\ninner: {levels: [1, x, y]}", "inner.levels is [1, 'x', 'y'], not a list, each a whole number.\n"),
        ("width: 4\nmaybe: {rate: fast}", "maybe.rate is 'fast', not a number.\n  looked: {path}\n  try: a number"),
        ("width: 4\nmaybe: 7", "maybe is 7, not a group of keys (rate, levels) or null."),
        ("width: 3", "width must be even (width is 3).\n  looked: {path}\n  try: change width"),
        ("width: 4\ninner: {rate: -2}", "rate must be positive, not -2.0.\n  looked: {path}\n  try: change inner.rate"),
        ("width: 4\ninner: {levels: []}", "inner: nothing is left.\n  looked: {path}\n  try: change inner"),
        ("width: 8\ninner: {rate: 9}", "inner.rate is too high for width (inner.rate is 9, width is 8)."),
        ("name: a", "width is missing.\n  looked: {path}\n  try: add width: a whole number"),
        ("name: 1\nwidth: x", "width is 'x', not a whole number; name is 1, not a text.\n"),
        ("- 1", "A configuration is keys and their values, not [1].\n  looked: {path}\n  try: key: value"),
        ("a: 1\nb: [", "not YAML (expected the node content, but found '<stream end>').\n  looked: {path}, line 2"),
        ("1: 2", "Configuration keys are words; got [1].\n  looked: {path}\n  try: one of: width, name, inner, maybe"),
        ("width: 2\ninner: {2: 3}", "Configuration keys of inner are words; got [2]."),
    ],
)
def test_errors_name_the_file_and_the_key(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        load_config(Outer, path)
    said = str(error.value)
    assert message.format(path=path) in said and str(path) in said
    assert "\n  try: " in said and "Outer" not in said and "Inner" not in said


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    missing = "file does not exist.\n  looked: nowhere.yaml\n  try: the path of a YAML file, or the name of a preset"
    with pytest.raises(ConfigError, match=missing):
        load_config(Outer, "nowhere.yaml")
    (tmp_path / "weights.yaml").write_bytes(bytes(range(128, 256)))
    with pytest.raises(ConfigError, match=r"cannot be read \(it is no text\).(.|\n)*try: a YAML file"):
        load_config(Outer, tmp_path / "weights.yaml")
    with pytest.raises(ConfigError, match=r"cannot be read \(Is a directory\)"):
        load_config(Outer, tmp_path)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["widht=3"], "'widht'.\n  looked: --set widht=3, over {path}\n  try: did you mean 'width'?"),
        (["width=2", "width=x", "name=b"], "width is 'x', not a whole number.\n  looked: --set width=x, over {path}\n"),
        (["width=3"], "width must be even (width is 3).\n  looked: --set width=3, over {path}\n  try: change width"),
        (["inner=5"], "inner is 5, not a group of keys (rate, levels).\n  looked: --set inner=5, over {path}\n"),
        (["inner.rate.x=1"], "inner.rate is a group of keys (x), not a number.\n  looked: --set inner.rate.x=1, over"),
        (["name=b", "inner.levels=[a]"], "inner.levels is ['a'], not a list, each a whole number.\n  looked: --set"),
    ],
)
def test_errors_of_overrides_name_the_override(tmp_path: Path, overrides: list[str], message: str) -> None:
    path = write(tmp_path, "width: 4\n")
    with pytest.raises(ConfigError) as error:
        load_config(Outer, path, overrides)
    assert message.format(path=path) in str(error.value)
    assert "\n  try: " in str(error.value) and "Outer" not in str(error.value)


def test_a_mapping_is_called_what_its_reader_says() -> None:
    with pytest.raises(ConfigError, match="looked: the first lines\n"):
        load_config(Outer, {"width": "x"}, where="the first lines")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimization.learning_rat=1", "try: did you mean 'optimization.learning_rate'?"),
        ("learning_rate=1", "Unknown configuration key 'learning_rate'.\n"),
        ("learning_rate=1", "did you mean 'optimization.learning_rate'?"),
        ("optimization.steps=0", "optimization.steps, optimization.batch_size and optimization.learning_rate must be"),
        ("optimization.steps=0", "(optimization.steps is 0, optimization.batch_size is 2, "),
        ("optimization.steps=0", "try: change optimization.steps\n"),
        ("optimization=3", "optimization is 3, not a group of keys (steps, batch_size, learning_rate, minutes, …).\n"),
        ("optimization.precision=int4", "optimization.precision must be float32 or bfloat16, not 'int4'.\n"),
        ("data.keypoint_weight=1", "data.keypoint_layer must be in 1..2, not 4."),
        ("model.heads=5", "model.heads (5) must divide model.dim (24) unless model.head_dim is given.\n"),
        ("model.attention=fast", "model.attention must be one of sdpa"),
    ],
)
def test_errors_of_a_training_configuration_are_short_and_dotted(override: str, message: str) -> None:
    file = config_path("ar_model", "debug")
    with pytest.raises(ConfigError) as error:
        load_config(ArTrainingConfig, file, [override])
    said = str(error.value)
    assert message in f"{said}\n" and f"looked: --set {override}, over {file}" in said and "\n  try: " in said
    assert "Config" not in said and "{" not in said and max(map(len, said.splitlines()[:2])) < 200


@pytest.mark.parametrize("override", ["width", "=3", "inner..rate=1"])
def test_malformed_override(override: str) -> None:
    with pytest.raises(ConfigError, match="is not of the form key=value.\n  try: --set part.key=value"):
        load_config(Outer, {"width": 2}, [override])
