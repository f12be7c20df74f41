"""The wavelets against diffusers' own and against the reference fixture's rules."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_cosmos import CosmosPatchEmbed3d, CosmosUnpatcher3d

from visual_tokenizer.haar import haar_patch, haar_unpatch


@pytest.mark.parametrize("frames", [1, 5, 17])
def test_equal_to_diffusers_and_invertible(frames: int) -> None:
    video = torch.rand(2, 3, frames, 16, 24) * 2 - 1
    coefficients = haar_patch(video)
    assert coefficients.shape == (2, 192, 1 + frames // 4, 4, 6)
    torch.testing.assert_close(coefficients, CosmosPatchEmbed3d(4)(video), atol=1e-6, rtol=0)
    noise = torch.randn_like(coefficients)
    torch.testing.assert_close(haar_unpatch(noise), CosmosUnpatcher3d(4)(noise), atol=1e-4, rtol=0)
    torch.testing.assert_close(haar_unpatch(coefficients), video, atol=1e-5, rtol=0)


def test_first_coefficient_is_the_mean_and_energy_is_kept() -> None:
    block = torch.rand(1, 1, 5, 4, 4)[:, :, 1:]
    coefficients = haar_patch(torch.cat([block[:, :, :1], block], dim=2))[0, :, 1, 0, 0]
    torch.testing.assert_close(coefficients[0], block.mean())
    torch.testing.assert_close(coefficients.square().sum(), block.square().mean())
