"""The wheel holds everything: packages, configs, the shipped bundle; and works without the checkout."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

tomllib = pytest.importorskip("tomllib", reason="reading pyproject.toml needs Python 3.11")
ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

CHECK = """
import json, sys
import numpy as np
import unimo, unimo.assets as assets
from unimo.bundle import load_bundle
found = {"place": unimo.__file__, "config": str(assets.config_path("ar_model", "debug")), "mini": None}
pipe = unimo.UniMoPipeline.from_pretrained("debug")
ids = pipe.visual_tokenizer.encode(np.zeros((9, 32, 32, 3), np.uint8))
found["motion_ids"] = list(pipe.capture_ids(ids[None], [0], num_samples=1).shape)
if sys.argv[1] == "True":
    bundle = load_bundle("mini")
    bundle.verify()
    found["mini"] = str(bundle.path)
print(json.dumps(found))
"""


def test_every_package_is_listed() -> None:
    folders = {"ar_model": "ar_model", "motion_tokenizer": "tokenizers/motion_tokenizer"}
    folders |= {"visual_tokenizer": "tokenizers/visual_tokenizer", "unimo": "unimo"}
    packages = {"unimo._bundles", "unimo._configs"}
    for name, folder in folders.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            packages.add(".".join([name, *init.parent.relative_to(ROOT / folder).parts]))
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(packages)


def test_constraints_satisfy_and_cover_the_requirements() -> None:
    from packaging.requirements import Requirement

    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.lower().replace("_", "-").split("==") for line in lines if line and not line.startswith("#"))
    project = PROJECT["project"]
    for text in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        requirement = Requirement(text)
        name = requirement.name.lower().replace("_", "-")
        if name != "setuptools":  # a tool of the build, any recent one will do
            assert requirement.specifier.contains(pins[name]), text


def test_the_wheel_works_in_a_fresh_environment(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path)
    names = zipfile.ZipFile(wheel).namelist()
    has_mini = (ROOT / "assets/bundles/mini/bundle.json").is_file()
    assert "unimo/_configs/ar_model/debug.yaml" in names
    assert ("unimo/_bundles/mini/bundle.json" in names) == has_mini
    assert not [name for name in names if name.startswith(("tests/", "tools/", "configs/", "assets/", "tokenizers/"))]

    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    # a plain path line: the dependencies become visible, an editable install of this checkout does not
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    found = json.loads(run(python, "-c", CHECK, str(has_mini), cwd=tmp_path).splitlines()[-1])
    assert Path(found["place"]).is_relative_to(environment)
    assert found["config"] == str(site / "unimo/_configs/ar_model/debug.yaml")
    assert found["motion_ids"] == [1, 9, 36]
    assert found["mini"] == (str(site / "unimo/_bundles/mini") if has_mini else None)


def build_wheel(folder: Path) -> Path:
    """Builds from a copy, so that leftovers of an earlier build cannot enter the wheel."""
    source = folder / "source"
    source.mkdir()
    for name in ("unimo", "ar_model", "tokenizers", "configs", "assets"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    done = subprocess.run([*command, str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


def run(python: Path, *arguments: str, cwd: Path | None = None) -> str:
    """Runs Python without the checkout on its path."""
    done = subprocess.run([str(python), "-I", *arguments], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
