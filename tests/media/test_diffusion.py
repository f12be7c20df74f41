"""The diffusion decoder around bytes: shapes, seeds, windows and refused inputs, at debug size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unimo.bundle import load_bundle
from unimo.errors import InputError
from unimo.media import diffusion
from unimo.media.diffusion import DiffusionVideoDecoder
from visual_tokenizer import ContinuousTokenizerConfig, ContinuousVisualTokenizer


@pytest.fixture(scope="module")
def decoder() -> DiffusionVideoDecoder:
    bundle = load_bundle("debug")
    model, tokenizer = bundle.component("diffusion_decoder"), bundle.component("visual_tokenizer/continuous")
    with torch.no_grad():  # random weights that say something: the debug bundle's start at zero
        torch.manual_seed(0)
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    return DiffusionVideoDecoder(model, tokenizer, 15.0)


def ids(clips: int, frames: int) -> torch.Tensor:
    return torch.randint(64, (clips, frames, 2, 2), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("latent_frames", [1, 2, 3, 5])  # a window has 2: the last two take windows
def test_ids_become_frames(decoder: DiffusionVideoDecoder, latent_frames: int) -> None:
    frames = decoder.decode(ids(2, latent_frames), [0, 1], steps=2)
    assert frames.shape == (2, 1 + 8 * (latent_frames - 1), 32, 32, 3) and frames.dtype == np.uint8


def test_a_clip_depends_on_its_seed_and_not_on_its_neighbours(decoder: DiffusionVideoDecoder) -> None:
    both = decoder.decode(ids(2, 2), [3, 4], steps=3)
    alone = decoder.decode(ids(2, 2)[1:], [4], steps=3)
    other = decoder.decode(ids(2, 2)[1:], [5], steps=3)
    # latents are equal; decoders of video round a batch in another order
    assert np.abs(both[1].astype(int) - alone[0]).max() <= 1
    assert np.abs(alone.astype(int) - other).max() > 50


def test_guidance_and_steps_change_the_pictures(decoder: DiffusionVideoDecoder) -> None:
    plain = decoder.decode(ids(1, 2), [0], steps=4, guidance=0.0)
    assert not np.array_equal(plain, decoder.decode(ids(1, 2), [0], steps=4, guidance=1.8))
    assert not np.array_equal(plain, decoder.decode(ids(1, 2), [0], steps=5, guidance=0.0))


def test_progress_counts_the_steps_of_all_clips(decoder: DiffusionVideoDecoder) -> None:
    told: list[tuple[int, int]] = []
    decoder.decode(ids(2, 2), [0, 1], steps=3, progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 6) for done in range(1, 7)]


def test_a_long_clip_goes_through_windows(decoder: DiffusionVideoDecoder) -> None:
    assert (decoder.model.config.window, decoder.model.config.overlap) == (2, 1)
    told: list[tuple[int, int]] = []
    clip = ids(1, 5)
    frames = decoder.decode(clip, [6], steps=3, progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 12) for done in range(1, 13)]  # 4 windows of 3 steps
    assert frames.shape == (1, 33, 32, 32, 3)
    changed = clip.clone()
    changed[:, 4] = (changed[:, 4] + 1) % 64
    other = decoder.decode(changed, [6], steps=3)
    assert np.array_equal(frames[:, :25], other[:, :25]) and not np.array_equal(frames[:, 25:], other[:, 25:])


def test_weights_are_not_copied_before_the_first_decode(
    decoder: DiffusionVideoDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[object] = []
    sampler = diffusion.DiffusionSampler
    monkeypatch.setattr(diffusion, "DiffusionSampler", lambda model: built.append(model) or sampler(model))
    fresh = DiffusionVideoDecoder(decoder.model, decoder.tokenizer, 15.0)
    assert fresh.reconstruct(np.zeros((1, 9, 32, 32, 3), np.uint8)).shape == (1, 9, 32, 32, 3)
    assert built == []
    for _ in range(2):
        fresh.decode(ids(1, 2), [0], steps=2)
    assert built == [decoder.model]


@pytest.mark.parametrize("shape", [(2, 2, 2), (0, 2, 2, 2), (1, 0, 2, 2), (2,), ()])
def test_ids_of_another_shape_are_refused(decoder: DiffusionVideoDecoder, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"cannot be drawn: they must be \(B, K, h, w\)"):
        decoder.decode(torch.zeros(shape, dtype=torch.long), [0] * (shape[0] if shape else 1), steps=2)


@pytest.mark.parametrize("seeds", [[], [0], [0, 1, 2]])
def test_seeds_are_one_a_clip(decoder: DiffusionVideoDecoder, seeds: list[int]) -> None:
    with pytest.raises(InputError, match=f"2 clips need as many seeds, not {len(seeds)}"):
        decoder.decode(ids(2, 2), seeds, steps=2)


def test_videos_that_cannot_be_drawn_are_refused(
    decoder: DiffusionVideoDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(latents: torch.Tensor) -> torch.Tensor:
        raise ValueError("latents are wrong")

    monkeypatch.setattr(decoder, "_draw", fails)
    with pytest.raises(InputError, match="cannot be drawn: latents are wrong"):
        decoder.decode(ids(1, 2), [0], steps=2)


@pytest.mark.parametrize("wrong", [torch.full((1, 2, 2, 2), 64), torch.zeros(1, 2, 2, 2)])
def test_wrong_ids_are_refused(decoder: DiffusionVideoDecoder, wrong: torch.Tensor) -> None:
    with pytest.raises(InputError, match="cannot be drawn"):
        decoder.decode(wrong, [0], steps=2)


@pytest.mark.parametrize("guidance", [float("nan"), -1.0])
def test_a_guidance_out_of_range_is_refused(decoder: DiffusionVideoDecoder, guidance: float) -> None:
    with pytest.raises(InputError, match="cannot be drawn: guidance must be 0 or more, got"):
        decoder.decode(ids(1, 2), [0], steps=2, guidance=guidance)


def test_parts_that_do_not_belong_together_are_refused(decoder: DiffusionVideoDecoder) -> None:
    other = ContinuousVisualTokenizer(ContinuousTokenizerConfig(8, (1, 1, 1), 1, 4, latent_channels=5))
    with pytest.raises(ValueError, match="writes 4 channels, the continuous tokenizer has 5"):
        DiffusionVideoDecoder(decoder.model, other, 15.0)
    short = ContinuousVisualTokenizer(
        ContinuousTokenizerConfig(8, (1, 1, 1), 1, 4, latent_channels=4, statistics_frames=1)
    )
    with pytest.raises(ValueError, match="window is 2 latent frames, the continuous tokenizer has statistics of 1"):
        DiffusionVideoDecoder(decoder.model, short, 15.0)
