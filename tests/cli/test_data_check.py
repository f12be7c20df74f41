"""`unimo data check` and `unimo data report` on the command line: tables, files, exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from unimo.synth.engine import generate_clips
from unimo.synth.gait import gait_library
from unimo.synth.scene import SceneConfig


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    generate_clips(gait_library(2, seconds=3.0), 2, 1, folder, SceneConfig(side=64, frames=3, fps=7.5), workers=1)
    return folder


def test_check_prints_a_table_and_names_clips_that_fail(clips: Path, tmp_path: Path, unimo) -> None:
    code, out, _ = unimo("data", "check", clips, "--workers", 1, "--json", tmp_path / "good.json")
    assert code == 0
    rows = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert rows["mask"].rstrip().endswith("ok") and rows["depth"].rstrip().endswith("not there")
    report = json.loads((tmp_path / "good.json").read_text())
    assert report["passed"] and report["checks"]["mask"]["worst"] > 0.97 and report["clips"] == 2

    path = clips / "clips/000001/annotations.npz"
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    np.savez(path, **arrays | {"mask": arrays["mask"][::-1, ::-1]})
    code, out, err = unimo("data", "check", clips, "--workers", 1, "--json", tmp_path / "bad.json")
    assert code == 2 and "FAILS in 1" in out
    assert "1 of 2 clips fail: 000001 (mask)" in err
    assert json.loads((tmp_path / "bad.json").read_text())["checks"]["mask"]["failed"] == ["000001"]
    assert unimo("data", "check", clips, "--count", 1, "--workers", 1, "-q")[0] == 0


def test_check_refuses_what_is_no_folder_of_clips(tmp_path: Path, unimo) -> None:
    code, _, err = unimo("data", "check", tmp_path / "nowhere")
    assert code == 2 and "no such folder of clips" in err
    code, _, err = unimo("data", "check", tmp_path, "--json", tmp_path)
    assert code == 2 and "--json names a folder" in err


def test_report_of_a_damaged_clip_ends_well_with_a_warning(clips: Path, tmp_path: Path, unimo, caplog) -> None:
    shutil.copytree(clips, tmp_path / "clips")
    (tmp_path / "clips/clips/000001/motion.npz").unlink()
    assert unimo("data", "report", tmp_path / "clips", "--html", tmp_path / "a.html")[0] == 0
    assert "1 of 2 cannot be read" in caplog.text
    assert "000001" in (tmp_path / "a.html").read_text()


def test_report_writes_one_page_and_keeps_an_older_one(clips: Path, tmp_path: Path, unimo) -> None:
    page = tmp_path / "report.html"
    code, out, _ = unimo("data", "report", clips, "--html", page)
    assert code == 0 and f"wrote {page}" in out and page.read_text().startswith("<!doctype html>")
    code, _, err = unimo("data", "report", clips, "--html", page)
    assert code == 2 and "--overwrite" in err
