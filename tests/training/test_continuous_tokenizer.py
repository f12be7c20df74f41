"""The continuous tokenizer's task on made-up clips: learning, noise on latents, statistics of latents."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.visual_tokenizer.test_training import FakePack
from unimo.media.pixels import to_video
from unimo.training.config import OptimizationConfig
from unimo.training.continuous_tokenizer import (
    ContinuousDataConfig,
    ContinuousTokenizerTask,
    ContinuousTokenizerTrainingConfig,
    measure_statistics,
)
from visual_tokenizer import ContinuousTokenizerConfig, haar_patch

CONFIG = ContinuousTokenizerTrainingConfig(
    model=ContinuousTokenizerConfig(
        channels=8, channel_multipliers=(1, 1, 2), num_res_blocks=1, z_channels=4, latent_channels=4,
        statistics_frames=3,
    ),
    optimization=OptimizationConfig(steps=10, batch_size=4, learning_rate=1e-3),
    data=ContinuousDataConfig(crop=48),
)  # fmt: skip


def _task(config: ContinuousTokenizerTrainingConfig = CONFIG) -> ContinuousTokenizerTask:
    return ContinuousTokenizerTask(config, FakePack(), FakePack())  # type: ignore[arg-type]


def test_loss_falls_and_pictures_get_closer() -> None:
    task = _task()
    before = task.validate(task.model)
    optimizer = torch.optim.AdamW(task.model.parameters(), lr=1e-3)
    for step in range(40):
        loss, numbers = task.loss(task.batch(step))
        assert {"l1", "l2"} <= set(numbers)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert task.validate(task.model)["psnr_db"] > before["psnr_db"] + 1


def test_noise_reaches_the_decoder_and_not_the_latents() -> None:
    task = _task()
    coefficients = haar_patch(task.batch(0)["video"])
    with torch.no_grad():
        plain, latents = task.shipped.reconstruct_coefficients(coefficients)
        noisy, same = task.shipped.reconstruct_coefficients(coefficients, noise=0.5)
        little, _ = task.shipped.reconstruct_coefficients(coefficients, noise=0.005)
    assert torch.equal(latents, same)
    assert (noisy - plain).abs().mean() > 10 * (little - plain).abs().mean() > 0


def test_normalised_latents_have_mean_0_and_deviation_1() -> None:
    task, pack = _task(), FakePack()
    measure_statistics(task.shipped, pack, clips=6, batch_size=4)  # type: ignore[arg-type]
    with torch.no_grad():
        latents = task.shipped.encode(to_video(pack.frames))
    normal = task.shipped.normalize(latents)
    assert torch.allclose(normal.mean((0, 3, 4)), torch.zeros(4, 2), atol=1e-3)
    assert torch.allclose(normal.std((0, 3, 4), correction=0), torch.ones(4, 2), atol=1e-3)
    assert torch.allclose(task.shipped.denormalize(normal), latents, atol=1e-4)
    # clips of two latent frames; the third gets the statistics of the second
    assert torch.equal(task.shipped.latents_mean[:, 2], task.shipped.latents_mean[:, 1])
    with pytest.raises(ValueError, match="statistics of 3 latent frames, not of 4"):
        task.shipped.normalize(torch.zeros(1, 4, 4, 2, 2))


def test_lpips_without_its_weights_is_refused() -> None:
    with pytest.raises(ValueError, match="lpips"):
        replace(CONFIG.data, lpips_weight=1.0)
