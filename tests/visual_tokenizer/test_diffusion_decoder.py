"""The diffusion decoder's network: shapes, errors, the part of text, preconditioning, training."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import yaml
from diffusers.schedulers.scheduling_edm_euler import EDMEulerScheduler

from visual_tokenizer import (
    DiffusionDecoder,
    DiffusionDecoderConfig,
    initialize_diffusion_decoder,
    rename_diffusion_decoder_keys,
)

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "diffusion_decoder"
TINY = DiffusionDecoderConfig(
    num_blocks=2, num_heads=2, head_dim=16, latent_channels=4, num_ids=30, token_dim=6, text_dim=10,
    adaln_lora_dim=8, max_size=(16, 32, 32),
)  # fmt: skip
IDS, LATENTS = (2, 3, 2, 3), (2, 4, 3, 4, 6)


def _model(**changes: object) -> DiffusionDecoder:
    torch.manual_seed(0)
    return DiffusionDecoder(dataclasses.replace(TINY, **changes)).eval()  # pyright: ignore[reportArgumentType]


def _shipped(name: str) -> DiffusionDecoderConfig:
    return DiffusionDecoderConfig(**yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["model"])


def _inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(30, IDS, generator=generator), torch.randn(LATENTS, generator=generator)


def test_every_id_and_the_noise_level_reach_the_output() -> None:
    model = _model()
    ids, latents = _inputs()
    other = ids.clone()
    other[0, 1, 0, 0] = (other[0, 1, 0, 0] + 1) % 30
    with torch.no_grad():
        plain = model(latents, torch.zeros(2), ids)
        assert plain.shape == LATENTS
        assert not torch.allclose(model(latents, torch.zeros(2), other)[0], plain[0])
        assert torch.allclose(model(latents, torch.zeros(2), other)[1], plain[1])
        assert not torch.allclose(model(latents, torch.ones(2), ids), plain)
        assert not torch.allclose(model(latents, torch.zeros(2), ids, fps=12.0), plain)
        torch.testing.assert_close(model(latents, torch.zeros(2), ids, fps=24.0), plain)


def test_text_zeros_equal_a_decoder_without_cross_attention_exactly() -> None:
    with_text, without = _model(), _model(text_dim=None)
    kept = {key: value for key, value in with_text.state_dict().items() if key in without.state_dict()}
    without.load_state_dict(kept, strict=True)
    ids, latents = _inputs()
    with torch.no_grad():
        expected = with_text(latents, torch.zeros(2), ids, torch.zeros(2, 5, 10))
        assert torch.equal(without(latents, torch.zeros(2), ids), expected)
        assert torch.equal(with_text(latents, torch.zeros(2), ids), expected)
        assert not torch.allclose(with_text(latents, torch.zeros(2), ids, torch.ones(2, 5, 10)), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_text_is_rounded_to_the_type_of_the_weights(dtype: torch.dtype) -> None:
    model, (ids, latents) = _model().to(dtype), _inputs()
    text = torch.randn(2, 5, 10, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        output = model(latents, torch.zeros(2), ids, text)
        assert output.dtype == dtype
        assert torch.equal(output, model(latents, torch.zeros(2), ids, text.to(dtype)))
        assert not torch.allclose(output, model(latents, torch.zeros(2), ids))


def test_the_token_condition_is_bilinear_within_a_frame() -> None:
    model = _model(token_dim=1)
    with torch.no_grad():
        model.token_embedder.weight.copy_(torch.arange(30.0)[:, None])
        condition = model.condition(torch.tensor([[[[0, 4]], [[8, 8]]]]))
    assert condition.shape == (1, 1, 2, 2, 4)
    assert condition[0, 0, 0].tolist() == [[0, 1, 3, 4]] * 2
    assert condition[0, 0, 1].tolist() == [[8, 8, 8, 8]] * 2


def test_denoise_is_preconditioned_as_the_scheduler_does() -> None:
    model = _model()
    ids, latents = _inputs()
    scheduler = EDMEulerScheduler(sigma_min=0.02, sigma_max=80.0, sigma_data=0.5)
    sigma = torch.tensor([0.3, 20.0])
    with torch.no_grad():
        denoised = model.denoise(latents, sigma, ids)
        for index, level in enumerate(sigma):
            own = slice(index, index + 1)
            time = scheduler.precondition_noise(level)[None]
            output = model(scheduler.precondition_inputs(latents[own], level), time, ids[own])
            expected = scheduler.precondition_outputs(latents[own], output, level)
            torch.testing.assert_close(denoised[own], expected, atol=1e-5, rtol=0)


def test_a_fresh_decoder_estimates_the_skip_term_and_the_weight_evens_all_levels() -> None:
    model = _model()
    initialize_diffusion_decoder(model)
    ids, latents = _inputs()
    sigma = torch.tensor([0.05, 10.0])
    state, denoised, weight = model.denoise_noised(latents, ids, sigma, torch.ones(LATENTS))
    torch.testing.assert_close(state, 0.5 * latents)
    for index, level in enumerate(sigma.tolist()):
        skip = 0.25 / (level**2 + 0.25)
        torch.testing.assert_close(denoised[index], skip * (state[index] + level))
        assert weight[index].item() == pytest.approx((level**2 + 0.25) / (0.5 * level) ** 2)


def _loss(model: DiffusionDecoder, ids: torch.Tensor, latents: torch.Tensor, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise, sigma = torch.randn(LATENTS, generator=generator), torch.randn(2, generator=generator).exp()
    state, denoised, weight = model.denoise_noised(latents, ids, sigma, noise)
    assert denoised.dtype == torch.float32
    return (weight * (denoised - state).square()).mean()


def test_training_lowers_the_loss_of_one_batch() -> None:
    model = _model(text_dim=None, num_blocks=1).train()
    initialize_diffusion_decoder(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        loss = _loss(model, *_inputs(), 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert losses[-1] < 0.5 * losses[0]


def test_gradients_in_bfloat16_autocast_point_where_those_of_float32_do() -> None:
    model = _model(text_dim=None)
    gradients = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = _loss(model, *_inputs(), 0)
        gradients.append(torch.autograd.grad(loss, list(model.parameters())))
    for exact, rounded in zip(*gradients, strict=True):
        assert torch.cosine_similarity(exact.flatten(), rounded.flatten(), dim=0) > 0.98


def test_unused_weights_are_left_out_and_unknown_ones_refused() -> None:
    one = torch.zeros(1)
    state = {"net.pos_embedder.seq": one, "logvar.0.freqs": one, "net.blocks.block3.blocks.2.block.layer1.weight": one}
    assert list(rename_diffusion_decoder_keys(state)) == ["transformer.transformer_blocks.3.ff.net.0.proj.weight"]
    with pytest.raises(ValueError, match="no weight called blocks.block0.blocks.3.x"):
        rename_diffusion_decoder_keys({"net.blocks.block0.blocks.3.x": one})


def test_shipped_sizes() -> None:
    mini = sum(weight.numel() for weight in DiffusionDecoder(_shipped("mini")).parameters())
    assert 4_000_000 < mini and 2 * mini + 100_000 < 15_000_000  # one file of at most 15 MB in float16
    assert sum(weight.numel() for weight in DiffusionDecoder(_shipped("debug")).parameters()) < 50_000
    with torch.device("meta"):
        base = DiffusionDecoder(_shipped("base"))
    nvidia = DiffusionDecoderConfig()  # its window is NVIDIA's; ours, trained anew, sees the bundle's 65 frames at once
    assert dataclasses.replace(_shipped("base"), window=nvidia.window) == nvidia and _shipped("base").window == 9
    shapes = {key: tuple(value.shape) for key, value in base.state_dict().items()}
    assert shapes["token_embedder.weight"] == (64000, 32)
    assert shapes["transformer.patch_embed.proj.weight"] == (4096, 196)
    assert shapes["transformer.time_embed.t_embedder.linear_2.weight"] == (3 * 4096, 4096)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"head_dim": 10}, "head_dim must be even and at least 12, got 10"),
        ({"overlap": 8}, "overlap must be at least 1 and below window 8, got 8"),
        ({"text_dim": 0}, "text_dim must be at least 1"),
        ({"patch_size": (2, 2, 2)}, "patch_size must be 1 in time"),
        ({"max_size": (8, 8)}, "max_size must have three numbers"),
        ({"sigma_data": 0.0}, "must be positive"),
    ],
)
def test_refused_sizes(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **changes)


@pytest.mark.parametrize(
    "ids, latents, text, message",
    [
        ((2, 3, 4), LATENTS, None, r"ids must be \(B, K, h, w\), got \(2, 3, 4\)"),
        (IDS, (2, 4, 3, 4, 4), None, r"must be \(2, 4, 3, 4, 6\), got \(2, 4, 3, 4, 4\)"),
        ((1, 17, 2, 2), (1, 4, 17, 4, 4), None, r"\(17, 4, 4\) must be multiples of .* and at most \(16, 32, 32\)"),
        (IDS, LATENTS, (2, 5, 9), r"text must be \(2, 'M', 10\), got \(2, 5, 9\)"),
    ],
)
def test_refused_inputs(ids: tuple, latents: tuple, text: tuple | None, message: str) -> None:
    zeros = None if text is None else torch.zeros(text)
    with pytest.raises(ValueError, match=message):
        _model()(
            torch.zeros(latents), torch.zeros(len(torch.zeros(latents))), torch.zeros(ids, dtype=torch.long), zeros
        )


def test_refused_values() -> None:
    model, (ids, latents) = _model(), _inputs()
    with pytest.raises(ValueError, match=r"ids must lie in 0\.\.29, got 30\.\.30"):
        model.condition(torch.full(IDS, 30))
    with pytest.raises(ValueError, match="ids must be integers, got torch.float32"):
        model.condition(ids.float())
    with pytest.raises(ValueError, match=r"sigma must be \(2,\) positive numbers, got \(3,\)"):
        model.denoise(latents, torch.ones(3), ids)
    with pytest.raises(ValueError, match=r"sigma must be \(2,\) positive numbers"):
        model.denoise(latents, torch.tensor([1.0, 0.0]), ids)
    with pytest.raises(ValueError, match=r"time must be \(2,\), one number a sample, got \(\)"):
        model(latents, torch.tensor(0.0), ids)
    with pytest.raises(ValueError, match="fps must be positive, got 0"):
        model(latents, torch.zeros(2), ids, fps=0)
    with pytest.raises(ValueError, match=r"noise must be \(2, 4, 3, 4, 6\) as latents, got \(1,\)"):
        model.denoise_noised(latents, ids, torch.ones(2), torch.zeros(1))
    with pytest.raises(ValueError, match="this decoder has no text"):
        _model(text_dim=None)(latents, torch.zeros(2), ids, torch.zeros(2, 5, 10))
