"""Sampling: against diffusers' plain loop, guidance, independence of the batch, errors."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from diffusers.schedulers.scheduling_edm_euler import EDMEulerScheduler
from torch import Tensor

from visual_tokenizer import DiffusionDecoder, DiffusionDecoderConfig, DiffusionSampler, draw_noise
from visual_tokenizer.diffusion_fast import FastTransformer, _can_pack, _Product
from visual_tokenizer.diffusion_sampler import decode_windows, noise_levels

TINY = DiffusionDecoderConfig(
    num_blocks=3, num_heads=2, head_dim=16, latent_channels=4, num_ids=30, token_dim=6, text_dim=10,
    adaln_lora_dim=8, max_size=(8, 32, 32), window=4, overlap=2,
)  # fmt: skip


def _model(**changes: object) -> DiffusionDecoder:
    torch.manual_seed(0)
    model = DiffusionDecoder(dataclasses.replace(TINY, **changes)).eval()  # pyright: ignore[reportArgumentType]
    for name, weight in model.named_parameters():
        if ".norm_" in name or name.endswith("time_embed.norm.weight"):  # ones would hide a mix-up
            torch.nn.init.uniform_(weight, -1.5, 1.5)
    return model


def _inputs(frames: int = 3, batch: int = 2) -> tuple[Tensor, Tensor]:
    generators = [torch.Generator().manual_seed(index) for index in range(batch)]
    ids = torch.randint(30, (batch, frames, 2, 3), generator=torch.Generator().manual_seed(7))
    return ids, draw_noise(generators, (4, frames, 4, 6))


@torch.no_grad()
def _plain(model: DiffusionDecoder, ids: Tensor, noise: Tensor, text: Tensor | None, guidance: float) -> Tensor:
    """Normalised latents from diffusers' scheduler and the model, both branches one after the other."""
    scheduler = EDMEulerScheduler(sigma_min=0.02, sigma_max=80.0, sigma_data=0.5)
    scheduler.set_timesteps(6)
    state = noise * scheduler.init_noise_sigma
    for time in scheduler.timesteps:
        scaled, times = scheduler.scale_model_input(state, time), time.expand(len(state))
        output = model(scaled, times, ids, text, fps=15.0)
        if guidance:
            output = output + guidance * (output - model(scaled, times, torch.zeros_like(ids), fps=15.0))
        state = scheduler.step(output, time, state, return_dict=False)[0]
    return state / 0.5


@pytest.mark.parametrize("guidance", [0.0, 1.8])
@pytest.mark.parametrize("text_dim", [None, 10])
def test_sampling_equals_the_plain_loop_of_diffusers(text_dim: int | None, guidance: float) -> None:
    model = _model(text_dim=text_dim)
    ids, noise = _inputs()
    text = None if text_dim is None else torch.randn(2, 5, text_dim, generator=torch.Generator().manual_seed(3))
    expected = _plain(model, ids, noise, text, guidance)
    sampled = DiffusionSampler(model).sample(ids, noise, text, fps=15.0, steps=6, guidance=guidance)
    assert expected.std() > 0.1
    torch.testing.assert_close(sampled, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype, error", [(torch.bfloat16, 2e-2), (torch.float16, 2.5e-3)])
def test_half_precision_samples_as_near_to_float32_as_the_plain_loop(dtype: torch.dtype, error: float) -> None:
    model = _model()
    ids, noise = _inputs()
    text = torch.randn(2, 5, 10, generator=torch.Generator().manual_seed(3))
    exact = _plain(model, ids, noise, text, 1.0)
    model.to(dtype)
    plain = _plain(model, ids, noise, text.to(dtype), 1.0).float()
    sampled = DiffusionSampler(model).sample(ids, noise, text.to(dtype), fps=15.0, steps=6, guidance=1.0)
    assert sampled.dtype == torch.float32
    assert (sampled - exact).square().mean() < 2 * (plain - exact).square().mean()
    assert (sampled - exact).std() < error * exact.std()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_text_of_another_floating_type_is_rounded_to_that_of_the_weights(dtype: torch.dtype) -> None:
    model, (ids, noise) = _model().to(dtype), _inputs()
    text = torch.randn(2, 5, 10, generator=torch.Generator().manual_seed(3))
    sampler = DiffusionSampler(model)
    assert torch.equal(sampler.sample(ids, noise, text, steps=2), sampler.sample(ids, noise, text.to(dtype), steps=2))


def test_autocast_is_off_while_sampling() -> None:
    model, (ids, noise) = _model(), _inputs()
    text = torch.randn(2, 5, 10, generator=torch.Generator().manual_seed(3))
    expected = DiffusionSampler(model).sample(ids, noise, text, steps=3)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(DiffusionSampler(model).sample(ids, noise, text, steps=3), expected)


@pytest.fixture
def fresh_probe() -> Iterator[None]:
    _can_pack.cache_clear()
    yield
    _can_pack.cache_clear()


def _fails(*arguments: object) -> Tensor:
    raise RuntimeError("could not create a primitive descriptor")


def _other_order(x: Tensor, *arguments: object) -> Tensor:
    return x.new_zeros(2, 16)


@pytest.mark.parametrize(
    "operations",
    [
        SimpleNamespace(),
        SimpleNamespace(_reorder_linear_weight=lambda weight: weight),
        SimpleNamespace(_reorder_linear_weight=_fails, _linear_pointwise=_fails),
        SimpleNamespace(_reorder_linear_weight=lambda weight: weight, _linear_pointwise=_other_order),
    ],
    ids=["none", "one", "failing", "wrong"],
)
def test_without_packed_products_sampling_is_the_same(
    operations: SimpleNamespace, fresh_probe: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, (ids, noise) = _model(text_dim=None), _inputs()
    expected = DiffusionSampler(model).sample(ids, noise, steps=4)
    _can_pack.cache_clear()
    monkeypatch.setattr(torch.ops, "mkldnn", operations)
    assert not _Product(torch.eye(3)).packed
    torch.testing.assert_close(DiffusionSampler(model).sample(ids, noise, steps=4), expected, atol=1e-4, rtol=0)


def test_packed_products_are_tried_once_even_in_autocast(fresh_probe: None) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        packed = _Product(torch.eye(3)).packed
    _can_pack.cache_clear()
    assert [_Product(torch.eye(3)).packed for _ in range(3)] == [packed] * 3
    assert _can_pack.cache_info().misses == 1


def test_without_guidance_the_unconditional_branch_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (ids, noise) = _model(text_dim=None), _inputs()
    rows: list[int] = []
    run = FastTransformer.__call__

    def spy(self: FastTransformer, *arguments: object) -> Tensor:
        output = run(self, *arguments)  # pyright: ignore[reportArgumentType]
        rows.append(len(output))
        return output

    monkeypatch.setattr(FastTransformer, "__call__", spy)
    sampler = DiffusionSampler(model)
    conditional = sampler.sample(ids, noise, steps=4, guidance=0)
    assert rows == [1] * 8
    assert not torch.allclose(sampler.sample(ids, noise, steps=4, guidance=1.8), conditional)
    assert rows[-1] == 2

    ids_above = ids.clamp_min(1)
    before = [sampler.sample(ids_above, noise, steps=4, guidance=guidance) for guidance in (0, 1.8)]
    with torch.no_grad():
        model.token_embedder.weight[0] = 100.0  # the unconditional row; no id of this clip
    after = [DiffusionSampler(model).sample(ids_above, noise, steps=4, guidance=guidance) for guidance in (0, 1.8)]
    assert torch.equal(before[0], after[0])
    assert not torch.allclose(before[1], after[1], atol=0.1)


def test_a_sample_does_not_depend_on_the_rest_of_its_batch() -> None:
    sampler = DiffusionSampler(_model(text_dim=None))
    ids, noise = _inputs(batch=3)
    together = sampler.sample(ids, noise, steps=4)
    assert torch.equal(sampler.sample(ids[[2, 0]], noise[[2, 0]], steps=4), together[[2, 0]])
    assert torch.equal(draw_noise([torch.Generator().manual_seed(1)], (4, 3, 4, 6))[0], noise[1])
    assert not torch.equal(together[0], together[1])


def test_long_clips_run_in_windows_with_shared_noise() -> None:
    sampler = DiffusionSampler(_model(text_dim=None))
    ids, noise = _inputs(frames=9)
    windows = sampler.sample_windows(ids, noise, steps=3)
    assert [start for start, _ in windows] == [0, 2, 4, 5]
    for start, latents in windows:
        part = slice(start, start + 4)
        assert torch.equal(latents, sampler.sample(ids[:, part], noise[:, :, part], steps=3))
    short = sampler.sample_windows(ids[:, :2], noise[:, :, :2], steps=3)
    assert len(short) == 1 and short[0][1].shape == (2, 4, 2, 4, 6)

    def decode(latents: Tensor) -> Tensor:  # a video whose colour is its window's mean
        return latents.mean((1, 2, 3, 4), keepdim=True).expand(-1, 3, 1 + 8 * (latents.shape[2] - 1), 5, 5)

    video = decode_windows(windows, decode)
    assert video.shape == (2, 3, 65, 5, 5)
    torch.testing.assert_close(video[:, 0, 0, 0, 0], windows[0][1].mean((1, 2, 3, 4)))
    torch.testing.assert_close(video[:, 0, -1, 0, 0], windows[-1][1].mean((1, 2, 3, 4)))


def test_progress_counts_every_step_of_every_sample_and_window() -> None:
    sampler = DiffusionSampler(_model(text_dim=None))
    ids, noise = _inputs(frames=6)
    told: list[tuple[int, int]] = []
    sampler.sample_windows(ids, noise, steps=3, progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 12) for done in range(1, 13)]


def test_noise_levels_are_those_of_the_scheduler() -> None:
    scheduler = EDMEulerScheduler(sigma_min=0.02, sigma_max=80.0, sigma_data=0.5)
    for steps in (2, 15):
        scheduler.set_timesteps(steps)
        torch.testing.assert_close(noise_levels(steps), scheduler.sigmas, atol=0, rtol=1e-7)


def test_refused_arguments() -> None:
    sampler, (ids, noise) = DiffusionSampler(_model(text_dim=None)), _inputs()
    with pytest.raises(ValueError, match="steps must be at least 2, got 1"):
        sampler.sample(ids, noise, steps=1)
    with pytest.raises(ValueError, match=r"must be \(2, 4, 3, 4, 6\), got \(2, 4, 3, 4, 4\)"):
        sampler.sample(ids, noise[..., :4])
    with pytest.raises(ValueError, match=r"ids must lie in 0\.\.29, got 30\.\.30"):
        sampler.sample(torch.full_like(ids, 30), noise)
    with pytest.raises(ValueError, match=r"at most \(8, 32, 32\)"):
        sampler.sample(*_inputs(frames=9))
