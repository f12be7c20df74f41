"""Latent packs: the tokenizer's latents, written once; another tokenizer's are made anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.visual_tokenizer.test_training import FakePack
from unimo.data.latents import LatentPack, build_latents
from unimo.errors import InputError
from unimo.media.pixels import to_video
from visual_tokenizer import ContinuousTokenizerConfig, ContinuousVisualTokenizer


@pytest.fixture
def tokenizer() -> ContinuousVisualTokenizer:
    torch.manual_seed(0)
    return ContinuousVisualTokenizer(ContinuousTokenizerConfig(8, (1, 1, 1), 1, 4, latent_channels=4)).eval()


def test_rows_are_the_latents_of_their_clips(tokenizer: ContinuousVisualTokenizer, tmp_path: Path) -> None:
    pack = FakePack()
    built = build_latents(tmp_path, pack, tokenizer, batch_size=4, workers=2)  # type: ignore[arg-type]
    with torch.no_grad():
        expected = tokenizer.encode(to_video(pack.frames)).numpy()
    assert built.latents.shape == (6, 4, 2, 6, 6) and np.allclose(built.latents, expected, atol=2e-3)
    assert np.array_equal(LatentPack(tmp_path).latents, built.latents)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["latents.json", "latents.npy"]


def test_the_same_tokenizer_does_not_work_twice(
    tokenizer: ContinuousVisualTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = FakePack()
    first = np.array(build_latents(tmp_path, pack, tokenizer).latents)  # type: ignore[arg-type]
    with monkeypatch.context() as patch:
        patch.setattr(ContinuousVisualTokenizer, "encode", None)
        build_latents(tmp_path, pack, tokenizer)  # type: ignore[arg-type]
    with torch.no_grad():
        tokenizer.quant_conv.weight.add_(0.1)
    second = build_latents(tmp_path, pack, tokenizer).latents  # type: ignore[arg-type]
    assert not np.allclose(first, second, atol=1e-2)


def test_a_folder_without_latents_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finished latents"):
        LatentPack(tmp_path)
