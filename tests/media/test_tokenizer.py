from __future__ import annotations

import numpy as np
import pytest
import torch

import unimo
from unimo.bundle import load_bundle
from unimo.errors import InputError
from unimo.media.tokenizer import ContinuousTokenizer, VisualTokenizer
from visual_tokenizer import ContinuousTokenizerConfig, ContinuousVisualTokenizer, Tiling

TILING = Tiling(side=32, overlap=16, chunk=17, context=1)


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


def continuous() -> ContinuousVisualTokenizer:
    torch.manual_seed(0)
    return ContinuousVisualTokenizer(ContinuousTokenizerConfig(8, (1, 1, 1), 1, 4, latent_channels=6)).eval()


def clips(count: int, frames: int, height: int = 32, width: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (count, frames, height, width, 3), dtype=np.uint8)


def test_latents_are_those_of_the_continuous_model() -> None:
    model = continuous()
    tokenizer, pixels = ContinuousTokenizer(model, 32), clips(2, 9)
    latents = tokenizer.encode(pixels)
    assert latents.shape == (2, 6, 2, 4, 4)
    video = torch.from_numpy(pixels).permute(0, 4, 1, 2, 3) / 127.5 - 1
    torch.testing.assert_close(latents, model.encode(video))
    torch.testing.assert_close(tokenizer.encode(pixels[1]), latents[1])
    frames = tokenizer.decode(latents)
    assert (frames.shape, frames.dtype) == ((2, 9, 32, 32, 3), np.uint8)
    assert np.abs(tokenizer.decode(latents[1]).astype(int) - frames[1]).max() <= 1
    with pytest.raises(InputError, match="these are no latents of this visual tokenizer"):
        tokenizer.decode(latents[:, :5])


def test_a_tiling_takes_long_and_large_clips(tokenizer: VisualTokenizer) -> None:
    tiled = VisualTokenizer(tokenizer.model, 32, TILING)
    small = clips(2, 17)
    assert torch.equal(tiled.encode(small), tokenizer.encode(small))
    ids = tiled.encode(clips(1, 33, 64, 48)[0])
    assert (ids.shape, ids.dtype) == ((5, 4, 3), torch.int64)
    assert tiled.decode(ids).shape == (33, 64, 48, 3)
    with pytest.raises(InputError, match=r"multiples of 16(.|\n)*try: 1 \+ 8n frames with sides that are multiples"):
        tiled.encode(clips(1, 9, 40, 32))
    with pytest.raises(InputError, match=r"1 \+ 8k"):
        tiled.encode(clips(1, 34))
    with pytest.raises(InputError, match=r"uint8 \(T, H, W, 3\), not float64"):
        tiled.encode(np.zeros((9, 32, 32, 3)))
    with pytest.raises(InputError, match="this tiling does not fit the visual tokenizer: side and overlap"):
        VisualTokenizer(tokenizer.model, 32, Tiling(40, 16))


@pytest.mark.parametrize("tiling", [None, TILING])
def test_streams_are_the_whole_in_pieces(tokenizer: VisualTokenizer, tiling: Tiling | None) -> None:
    for whole in (VisualTokenizer(tokenizer.model, 32, tiling), ContinuousTokenizer(continuous(), 32, tiling)):
        frames = clips(1, 20)[0]
        tokens = torch.cat(list(whole.encode_stream(iter(frames))), -3)
        filled = np.concatenate([frames, frames[-1:].repeat(5, 0)])
        torch.testing.assert_close(tokens, whole.encode(filled))
        drawn = list(whole.decode_stream(tokens.split(1, dim=-3), 20))
        assert len(drawn) == 20 and all(frame.shape == (32, 32, 3) and frame.dtype == np.uint8 for frame in drawn)
        np.testing.assert_array_equal(np.stack(drawn), whole.decode(tokens)[:20])


def test_a_picture_alone_streams(tokenizer: VisualTokenizer) -> None:
    picture = clips(1, 1)[0]
    (ids,) = tokenizer.encode_stream(picture)
    assert torch.equal(ids, tokenizer.encode(picture))
    (frame,) = tokenizer.decode_stream([ids])
    np.testing.assert_array_equal(frame, tokenizer.decode(ids)[0])


def test_refused_streams(tokenizer: VisualTokenizer) -> None:
    with pytest.raises(InputError, match=r"not uint8 \(30, 32, 3\)"):
        list(tokenizer.encode_stream(clips(1, 2, 30)[0]))
    with pytest.raises(InputError, match=r"not uint8 \(1, 32, 32, 3\)"):
        list(tokenizer.encode_stream(clips(2, 1)))
    with pytest.raises(InputError, match="the stream is empty"):
        list(tokenizer.encode_stream([]))
    with pytest.raises(InputError, match="these are no ids of this visual tokenizer: (.|\n)*empty"):
        list(tokenizer.decode_stream([]))


def test_both_are_names_of_the_package() -> None:
    assert unimo.VisualTokenizer is VisualTokenizer and unimo.ContinuousTokenizer is ContinuousTokenizer
    assert all(hasattr(unimo, name) for name in unimo.__all__)
