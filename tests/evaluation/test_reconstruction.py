"""What a tokenizer loses on clips longer than its window: a lossless one loses nothing, a random one much."""

from __future__ import annotations

import pytest
import torch

from unimo.bundle import load_motion_tokenizer
from unimo.errors import InputError
from unimo.evaluation.reconstruction import tokenizer_metrics
from unimo.synth.gait import gait_library


@pytest.fixture(scope="module")
def library():
    return gait_library(count=3, seconds=3.0)


def lossless(tokenizer, monkeypatch) -> None:
    """Ids are row numbers of the features that were encoded."""
    kept: list[torch.Tensor] = []

    def encode(features: torch.Tensor) -> torch.Tensor:
        first = sum(map(len, kept))
        kept.append(features)
        return torch.arange(first, first + len(features))[:, None, None].expand(-1, features.shape[1], 36)

    monkeypatch.setattr(tokenizer.model, "encode", encode)
    monkeypatch.setattr(tokenizer.model, "decode", lambda ids: torch.cat(kept)[ids[:, 0, 0]])


def test_a_lossless_tokenizer_loses_nothing_over_many_windows(library, monkeypatch):
    tokenizer = load_motion_tokenizer("debug")
    lossless(tokenizer, monkeypatch)
    numbers = tokenizer_metrics(tokenizer, library, 24, 5)
    assert max(numbers[key] for key in ("mpjpe_mm", "pve_low_poly_mm", "root_drift_mm")) < 0.1


def test_an_untrained_tokenizer_loses_much(library):
    numbers = tokenizer_metrics(load_motion_tokenizer("debug"), library, 24, 3)
    assert numbers["root_translation_m"] > 0.1 and 0 < numbers["codebook_use"] <= 1
    assert 1 <= numbers["codebook_perplexity"] <= 512


def test_motions_that_are_too_short_are_named(library):
    with pytest.raises(InputError, match="no motion is as long as a clip needs"):
        tokenizer_metrics(load_motion_tokenizer("debug"), library, 200, 3)
