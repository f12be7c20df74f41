"""`unimo synth` on the command line: what is refused before anything is written, and Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from unimo.cli import synth as command
from unimo.cli.main import run

ROOT = Path(__file__).parents[2]


def unimo(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit code and standard error."""
    with pytest.raises(SystemExit) as stop:
        run([str(argument) for argument in arguments])
    return int(stop.value.code or 0), capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--fps", "1000000"), "--fps must be 0.01 to 1000 frames per second"),
        (("--fps", "nan"), "--fps must be 0.01 to 1000 frames per second, not nan"),
        (("--frames", "5000"), "333.27 s at up to 1.2 times the speed take 399.92 s"),
        (("--camera", "orbits"), "try: orbit"),
        (("--motion-blur", "2"), "--motion-blur must be 0 to 1"),
        (("--sensor-noise", "-1"), "--sensor-noise must be 0 to 64"),
        (("--backgrounds", "photos", "--camera", "orbit"), "--backgrounds cannot stand behind the moves"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(arguments, told, tmp_path: Path, capsys) -> None:
    code, err = unimo(capsys, "synth", "-o", tmp_path / "clips", "--count", 1, *arguments)
    assert code == 2 and told in err and "try: " in err
    assert not (tmp_path / "clips").exists()


def test_an_interrupt_says_how_to_go_on(tmp_path: Path, capsys, monkeypatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_generate", interrupted)
    code, err = unimo(capsys, "synth", "-o", tmp_path / "clips", "--count", 1)
    assert code == 130 and "run the same command again to go on" in err


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="processes have no groups here")
def test_an_interrupt_ends_the_workers_without_a_word(tmp_path: Path) -> None:
    out = tmp_path / "clips"
    arguments = ["synth", "-o", str(out), "--count", "400", "--side", "32", "--frames", "3", "-q"]
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "unimo", *arguments], cwd=ROOT, start_new_session=True, text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tokenizers'}", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    until = time.monotonic() + 120
    while not list(out.glob("clips/*/clip.json")) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # what a terminal sends
    printed, said = process.communicate(timeout=120)
    assert process.returncode == 130 and printed == ""
    assert said.strip() == "stopped: run the same command again to go on"
    assert list(out.glob("clips/0*")) and not list(out.glob("clips/.*")) and not (out / "manifest.jsonl").exists()
