"""`unimo generate --decoder …` and `unimo train` of the parts that draw video, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.main import get_command
from typer.testing import CliRunner

from unimo.assets import example_path
from unimo.bundle import load_bundle, save_bundle
from unimo.cli.main import app

RUNNER = CliRunner()


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(path)
    return path


def run(*words: str) -> str:
    result = RUNNER.invoke(app, list(words))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return str(result.exception)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_run_says_how_it_was_drawn(picture: Path, tmp_path: Path) -> None:
    words = ["generate", "--image", str(picture), "--bundle", "debug", "--no-render", "--quiet", "--output"]
    run(*words, str(tmp_path / "a"), "--decoder", "diffusion", "--steps", "3", "--guidance", "0")
    run(*words, str(tmp_path / "b"))
    drawn, plain = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("a", "b"))
    assert (drawn["decoder"], drawn["steps"], drawn["guidance"]) == ("diffusion", 3, 0)
    assert plain["decoder"] == "direct" and plain["enhancer"]["name"] == "none"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--decoder", "best"], "unknown decoder 'best'"),
        (["--steps", "4"], "belong to the diffusion decoder"),
        (["--decoder", "diffusion", "--steps", "0"], "takes 2 to 1000 steps, not 0"),
        (["--decoder", "diffusion", "--guidance", "nan"], "the guidance must be 0 or more"),
        (["--enhancer", "magic"], "magic"),
    ],
)
def test_wrong_options_are_refused(picture: Path, tmp_path: Path, options: list[str], message: str) -> None:
    words = ["generate", "--image", str(picture), "--bundle", "debug", "--output", str(tmp_path / "out"), *options]
    assert message in run(*words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["generate", "capture"])
def test_a_bundle_without_a_transformer_is_refused_early(picture: Path, tmp_path: Path, command: str) -> None:
    debug = load_bundle("debug")
    visual = {name: debug.component(name) for name in ("visual_tokenizer/discrete", "visual_tokenizer/continuous")}
    save_bundle(tmp_path / "visual", "visual", debug.settings, visual)
    source = ["--image", str(picture)] if command == "generate" else ["--video", str(example_path("clip.mp4"))]
    said = run(command, *source, "--bundle", str(tmp_path / "visual"), "--output", str(tmp_path / "out"), "--dry-run")
    assert "can neither generate nor capture: it has no ar_model and no motion_tokenizer" in said


def test_only_the_visual_tokenizer_has_a_continuous_kind() -> None:
    commands = get_command(app).commands["train"].commands  # type: ignore[attr-defined]
    having = {name for name, command in commands.items() if any("--continuous" in p.opts for p in command.params)}
    assert having == {"visual-tokenizer"}
