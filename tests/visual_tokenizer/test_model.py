"""Shapes, causality, gradients, errors and learning of the discrete visual tokenizer."""

from __future__ import annotations

import pytest
import torch

from visual_tokenizer import (
    DiscreteVisualTokenizer,
    VisualTokenizerConfig,
    block_weights,
    code_spread,
    haar_patch,
    initialize_for_training,
    wavelet_losses,
)
from visual_tokenizer.fsq import FSQ

TINY = VisualTokenizerConfig(channels=8, channel_multipliers=(1, 2, 2), num_res_blocks=1, fsq_levels=(8, 8, 8, 8))


@pytest.fixture(scope="module")
def model() -> DiscreteVisualTokenizer:
    torch.manual_seed(0)
    return DiscreteVisualTokenizer(TINY).eval()


@pytest.mark.parametrize("levels", [(8, 8, 8, 8), (7, 5, 5, 5, 5), (8, 8, 8, 5, 5, 5)])
def test_every_id_survives_the_round_trip(levels: tuple[int, ...]) -> None:
    fsq = FSQ(levels)
    ids = torch.arange(fsq.num_ids).unsqueeze(0)
    codes = fsq.codes(ids)
    assert codes.abs().max() == 1 and len(codes[0].T.unique(dim=0)) == fsq.num_ids
    # Codes are the quantiser's own fixed points: bounded values that round to them.
    steps = codes.movedim(1, -1) * (fsq.sizes // 2)
    digits = (steps.round().long() + fsq.sizes // 2) * fsq.basis
    assert torch.equal(digits.sum(-1), ids)
    # An inverse of the bound leads back to the same id through the whole quantiser.
    half_range = (fsq.sizes - 1) * 1.001 / 2
    offset = torch.where(fsq.sizes % 2 == 0, 0.5, 0.0)
    latents = torch.atanh((steps + offset) / half_range) - torch.atanh(offset / half_range)
    assert torch.equal(fsq(latents.movedim(-1, 1))[1], ids)


def test_fsq_stays_float32_inside_a_bfloat16_module() -> None:
    latents = torch.randn(2, 4, 500).bfloat16()
    expected = FSQ((8, 8, 8, 8))(latents.float())[1]
    assert torch.equal(FSQ((8, 8, 8, 8)).bfloat16()(latents)[1], expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(FSQ((8, 8, 8, 8))(latents)[1], expected)


@pytest.mark.parametrize(("frames", "latent_frames"), [(1, 1), (9, 2), (17, 3)])
def test_shapes(model: DiscreteVisualTokenizer, frames: int, latent_frames: int) -> None:
    video = torch.rand(2, 3, frames, 32, 48) * 2 - 1
    with torch.no_grad():
        reconstruction, ids = model(video)
        assert torch.equal(model.encode(video), ids)
        decoded = model.decode(ids)
    assert ids.shape == (2, latent_frames, 2, 3) and ids.dtype == torch.int64
    assert reconstruction.shape == decoded.shape == video.shape
    torch.testing.assert_close(decoded, reconstruction.clamp(-1, 1), atol=1e-5, rtol=0)
    assert 0 <= ids.min() and ids.max() < model.num_ids == 4096


def test_latents_do_not_see_later_frames(model: DiscreteVisualTokenizer) -> None:
    video = torch.rand(1, 3, 17, 32, 32) * 2 - 1
    changed = video.clone()
    changed[:, :, 9:] = torch.rand(1, 3, 8, 32, 32) * 2 - 1
    with torch.no_grad():
        whole, other = model.latents(video), model.latents(changed)
        first = model.latents(video[:, :, :1])
    torch.testing.assert_close(other[:, :, :2], whole[:, :, :2], atol=1e-6, rtol=0)
    torch.testing.assert_close(first, whole[:, :, :1], atol=1e-5, rtol=0)
    assert (other[:, :, 2] - whole[:, :, 2]).abs().max() > 1e-4


def test_gradient_reaches_the_first_layer() -> None:
    torch.manual_seed(0)
    model = DiscreteVisualTokenizer(TINY)
    video = torch.rand(1, 3, 9, 32, 32) * 2 - 1
    model(video)[0].square().mean().backward()
    gradient = model.encoder.conv_in.conv_s.weight.grad
    assert gradient is not None and gradient.abs().max() > 0


@pytest.mark.parametrize(
    ("video", "message"),
    [
        (torch.zeros(1, 3, 8, 32, 32), "1 \\+ 8k"),
        (torch.zeros(1, 3, 9, 32, 40), "multiples of 16"),
        (torch.zeros(1, 4, 9, 32, 32), "\\(B, 3, T, H, W\\)"),
        (torch.zeros(3, 9, 32, 32), "\\(B, 3, T, H, W\\)"),
        (torch.zeros(1, 3, 9, 32, 32, dtype=torch.uint8), "float in \\[-1, 1\\]"),
    ],
)
def test_bad_videos_are_refused(model: DiscreteVisualTokenizer, video: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model.encode(video)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (torch.zeros(1, 2, 2, dtype=torch.long), "\\(B, K, h, w\\)"),
        (torch.zeros(1, 1, 2, 2), "integers"),
        (torch.full((1, 1, 2, 2), 4096), "\\[0, 4096\\)"),
        (torch.full((1, 1, 2, 2), -1), "\\[0, 4096\\)"),
    ],
)
def test_bad_ids_are_refused(model: DiscreteVisualTokenizer, ids: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model.decode(ids)


@pytest.mark.parametrize(
    "change",
    [
        {"spatial_compression": 12},
        {"spatial_compression": 4, "temporal_compression": 4},
        {"temporal_compression": 16, "spatial_compression": 8},
        {"channel_multipliers": (1, 2)},
        {"fsq_levels": ()},
        {"fsq_levels": (8, 1)},
        {"channels": 0},
    ],
)
def test_impossible_sizes_are_refused(change: dict) -> None:
    with pytest.raises(ValueError):
        VisualTokenizerConfig(**change)


def test_base_is_cosmos_dv8x16x16() -> None:
    with torch.device("meta"):
        model = DiscreteVisualTokenizer(VisualTokenizerConfig())
    assert model.num_ids == 64000
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == 110.9


def test_weights_count_the_person_more() -> None:
    mask = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    mask[..., :8] = True
    weights = block_weights(mask, 4.0)
    assert weights.shape == (1, 1, 4, 4) and weights.mean() == pytest.approx(1)
    target = torch.zeros(1, 3, 1, 16, 16)
    on_person, elsewhere = target.clone(), target.clone()
    on_person[..., :8] = 0.5
    elsewhere[..., 8:] = 0.5
    inside = wavelet_losses(haar_patch(on_person), haar_patch(target), weights)
    outside = wavelet_losses(haar_patch(elsewhere), haar_patch(target), weights)
    assert inside["l2"] / outside["l2"] == pytest.approx(4) and inside["l1"] / outside["l1"] == pytest.approx(4)
    with pytest.raises(ValueError, match="weights must be"):
        wavelet_losses(haar_patch(target), haar_patch(target), weights[..., :2])


def test_squared_error_of_coefficients_is_that_of_pixels() -> None:
    video, other = torch.rand(2, 2, 3, 9, 16, 16)
    video[:, :, 0] = other[:, :, 0]  # the first frame's block holds it four times
    error = (video[:, :, 1:] - other[:, :, 1:]).square().mean() * 2 / 3  # blocks of zero error: 1 of 3
    losses = wavelet_losses(haar_patch(video), haar_patch(other))
    torch.testing.assert_close(losses["l2"], error)


def test_spread_is_lowest_for_uniform_independent_codes() -> None:
    torch.manual_seed(0)
    uniform = torch.atanh(torch.rand(4, 3, 8, 16, 16) * 2 - 1)
    best = code_spread(uniform)
    assert best < 1e-3
    assert code_spread(uniform * 0.2) > 100 * best and code_spread(uniform * 10) > 100 * best
    assert code_spread(uniform[:, :1].expand(-1, 3, -1, -1, -1)) > 100 * best


@pytest.mark.parametrize("start", ["plain", "inference mode first"])
def test_one_clip_is_learned_in_seconds(start: str) -> None:
    torch.manual_seed(0)
    model = DiscreteVisualTokenizer(TINY)
    if start == "inference mode first":
        with torch.inference_mode():
            model.encode(torch.zeros(1, 3, 1, 32, 32))
    initialize_for_training(model)
    ramp = torch.linspace(-0.8, 0.8, 32)
    video = torch.stack([ramp.expand(32, 32), ramp.unsqueeze(1).expand(32, 32), torch.zeros(32, 32)])
    video = video.unsqueeze(1).repeat(1, 9, 1, 1).unsqueeze(0)
    for frame in range(9):
        video[0, :, frame, 8:20, 4 + 2 * frame : 10 + 2 * frame] = torch.tensor([0.9, -0.9, 0.5])[:, None, None]
    target = haar_patch(video)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    before = (model(video)[0] - video).square().mean().item()
    for _ in range(60):
        coefficients, latents, _ = model.reconstruct_coefficients(target)
        losses = wavelet_losses(coefficients, target)
        optimizer.zero_grad()
        (0.1 * losses["l1"] + 4 * losses["l2"] + 0.1 * code_spread(latents)).backward()
        optimizer.step()
    assert (model(video)[0] - video).square().mean() < 0.55 * before


def test_training_starts_from_a_small_copy_of_the_video() -> None:
    torch.manual_seed(0)
    model = DiscreteVisualTokenizer(VisualTokenizerConfig(32, (1, 2, 4), 1, 16, fsq_levels=(8, 8, 8, 8)))
    initialize_for_training(model)
    cells = torch.randn(2, 1, 3, 4, 4) * torch.tensor([0.4, 0.15, 0.1])[:, None, None]
    video = cells.repeat_interleave(16, 3).repeat_interleave(16, 4).expand(-1, 9, -1, -1, -1).transpose(1, 2)
    video = video.clamp(-1, 1)
    with torch.no_grad():
        reconstruction, _ = model(video)
    assert (reconstruction - video).square().mean() < 0.25 * (video - video.mean()).square().mean()
    with pytest.raises(ValueError, match="8 channels"):
        initialize_for_training(DiscreteVisualTokenizer(VisualTokenizerConfig(4, (1, 2, 2), 1)))
