"""A text encoder on disk, and the debug bundle with a transformer that reads text."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ar_model import UniMoTransformer
from tests.text.samples import save_encoder
from unimo.bundle import Bundle, load_bundle, save_bundle
from unimo.pipeline import UniMoPipeline


@pytest.fixture(scope="session")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("t5"))


@pytest.fixture
def copy(t5: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(t5, tmp_path / "copy")


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The debug bundle with a transformer that reads text."""
    debug = load_bundle("debug")
    parts = {name: debug.component(name) for name in ("motion_tokenizer", "visual_tokenizer/discrete")}
    torch.manual_seed(0)
    # large weights, so that what it reads decides what it writes
    config = replace(debug.component("ar_model").config, context_dim=10, init_std=0.5)
    parts["ar_model"] = UniMoTransformer(config)
    return save_bundle(tmp_path_factory.mktemp("bundle"), "text", debug.settings, parts)


@pytest.fixture(scope="session")
def pipeline(bundle: Bundle, t5: Path) -> UniMoPipeline:
    return UniMoPipeline(bundle, text_encoder=t5)
