from __future__ import annotations

import numpy as np
import pytest
import torch

from unimo.bundle import load_bundle
from unimo.errors import InputError
from unimo.media.tokenizer import VisualTokenizer


@pytest.fixture(scope="module")
def tokenizer() -> VisualTokenizer:
    return VisualTokenizer(load_bundle("debug").visual_tokenizer, 32)


def test_a_clip_alone_is_a_clip_in_a_batch(tokenizer: VisualTokenizer) -> None:
    clips = np.random.default_rng(0).integers(0, 255, (2, 9, 32, 32, 3), dtype=np.uint8)
    ids = tokenizer.encode(clips)
    assert (ids.shape, ids.dtype) == ((2, 2, 2, 2), torch.int64)
    assert torch.equal(tokenizer.encode(clips[1]), ids[1])
    frames = tokenizer.decode(ids)
    assert (frames.shape, frames.dtype) == ((2, 9, 32, 32, 3), np.uint8)
    assert np.abs(tokenizer.decode(ids[1]).astype(int) - frames[1]).max() <= 1


def test_bytes_become_the_range_the_model_knows(tokenizer: VisualTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(tokenizer.model, "encode", lambda video: seen.append(video) or torch.zeros(1, 1, 2, 2))
    frames = np.zeros((1, 32, 32, 3), np.uint8)
    frames[..., 1] = 255
    tokenizer.encode(frames)
    assert seen[0].shape == (1, 3, 1, 32, 32)
    assert [float(seen[0][0, channel].mean()) for channel in range(3)] == [-1, 1, -1]


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((9, 32, 32, 3)), r"frames must be uint8 \(T, 32, 32, 3\), letterboxed, not float64"),
        (np.zeros((9, 30, 32, 3), np.uint8), r"not uint8 \(9, 30, 32, 3\)"),
        (np.zeros((8, 32, 32, 3), np.uint8), r"the clip cannot be tokenised: (.|\n)*try: 1 \+ 8n frames"),
    ],
)
def test_refused_frames(tokenizer: VisualTokenizer, frames: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        tokenizer.encode(frames)


def test_refused_ids(tokenizer: VisualTokenizer) -> None:
    with pytest.raises(InputError, match="these are no ids of this visual tokenizer"):
        tokenizer.decode(torch.full((1, 2, 2, 2), 64))
