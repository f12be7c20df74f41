"""The regression gate: the shipped bundle still gives the numbers of docs/results.json, and a worse one does not.

After a change that is meant to change numbers, and for a new bundle: python tools/make_results.py --only regression
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from unimo.bundle import Bundle, load_bundle
from unimo.data.clips import ClipSet, load_clips
from unimo.evaluation.regression import KEYS, RENEW, alarms, measure

ROOT = Path(__file__).parents[2]
STORED = json.loads((ROOT / "docs" / "results.json").read_text(encoding="utf-8"))["regression"]
CLIPS = ROOT / "tests" / "fixtures" / "evaluation" / "clips"


@pytest.fixture(scope="module")
def clips() -> ClipSet:
    return load_clips(CLIPS)


@pytest.fixture(scope="module")
def mini() -> Bundle:
    return load_bundle(ROOT / "assets" / "bundles" / "mini")


class Worse(Bundle):
    """A bundle with noise on the weights of one component."""

    def __init__(self, bundle: Bundle, which: str, share: float) -> None:
        super().__init__(bundle.path, bundle.info)
        self.which, self.share = which, share

    def component(self, name: str, dtype: torch.dtype = torch.float32) -> Any:
        module = super().component(name, dtype)
        generator = torch.Generator().manual_seed(0)
        if name == self.which:
            with torch.no_grad():
                for weight in module.parameters():
                    if weight.ndim > 1:
                        weight += self.share * weight.std() * torch.randn(weight.shape, generator=generator)
        return module


def test_the_record_is_of_these_clips_and_of_the_shipped_bundle(clips: ClipSet, mini: Bundle) -> None:
    assert STORED["clips"] == {"count": 8, "sha256": clips.sha256}, RENEW
    assert STORED["bundle"]["sha256"] == mini.sha256, RENEW
    assert STORED["renew"] == RENEW
    assert set(STORED["numbers"]) == {f"{kind}.{key}" for kind, keys in KEYS.items() for key in keys}


@pytest.mark.parametrize("kind", KEYS)
def test_the_shipped_bundle_gives_the_recorded_numbers(kind: str, clips: ClipSet, mini: Bundle) -> None:
    assert alarms(STORED, measure(clips, mini, 0, [kind])) == [], f"if that is meant: {RENEW}"


def test_a_transformer_with_noise_on_its_weights_raises_the_alarm(clips: ClipSet, mini: Bundle) -> None:
    found = alarms(STORED, measure(clips, Worse(mini, "ar_model", 0.3), 0, ["capture"]))
    assert any(line.startswith("capture.pa_mpjpe_mm is") for line in found), found


def test_a_tokenizer_with_a_little_noise_on_its_weights_raises_the_alarm(clips: ClipSet, mini: Bundle) -> None:
    found = alarms(STORED, measure(clips, Worse(mini, "motion_tokenizer", 0.02), 0, ["tokenizer"]))
    assert any(line.startswith("tokenizer.mpjpe_mm is") for line in found), found
    assert not any("psnr" in line for line in found), found


def test_what_is_outside_missing_or_new_is_named() -> None:
    stored = {"numbers": {"capture.a_mm": {"interval": [1.0, 2.0]}, "generate.b": {"interval": [0.0, 1.0]}}}
    assert alarms(stored, {"capture.a_mm": 1.5}) == []
    assert alarms(stored, {"capture.a_mm": 2.5}) == ["capture.a_mm is 2.5, outside 1 .. 2"]
    assert alarms(stored, {"capture.a_mm": 0.5}) == ["capture.a_mm is 0.5, outside 1 .. 2"]
    assert alarms(stored, {"capture.a_mm": float("nan")}) == ["capture.a_mm is nan, outside 1 .. 2"]
    assert alarms(stored, {"capture.c": 1.0}) == ["capture.a_mm is missing", "capture.c is not recorded"]
