"""Optical flow of known movements, what is found to be invalid, and the loss that reads it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from unimo.training.flow import estimate_flow, flow_consistency, valid_flow, warp

SIDE = 64


def texture(seed: int = 0, side: int = 96) -> torch.Tensor:
    """(1, 3, side, side) random detail of several sizes."""
    generator = torch.Generator().manual_seed(seed)
    parts = [torch.rand(1, 3, side // size, side // size, generator=generator) - 0.5 for size in (2, 4, 8, 16)]
    whole = sum(F.interpolate(part, (side, side), mode="bicubic") for part in parts)
    return whole / whole.abs().max()  # type: ignore[union-attr]


def shifted(x: int, y: int, seed: int = 0) -> torch.Tensor:
    """A view of one texture, whose content has moved right by x and down by y pixels."""
    return texture(seed)[..., 16 - y : 16 - y + SIDE, 16 - x : 16 - x + SIDE]


def both_ways(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    there = estimate_flow(first, second)
    return there, valid_flow(first, second, there, estimate_flow(second, first))[0]


@pytest.mark.parametrize(("x", "y"), [(0, 0), (1, 0), (0, -1), (2, 1), (-3, 2), (3, 3), (-7, 4)])
def test_shifts_are_found(x: int, y: int) -> None:
    flow, valid = both_ways(shifted(0, 0), shifted(x, y))
    errors = (flow[0] - torch.tensor([x, y]).view(2, 1, 1)).square().sum(0).sqrt()
    assert errors[valid].max() < 0.1 and errors[8:-8, 8:-8].max() < 0.1
    assert valid.float().mean() > 0.78


def test_pixels_that_leave_the_picture_are_invalid() -> None:
    _, valid = both_ways(shifted(0, 0), shifted(3, 0))
    assert not valid[:, -3:].any() and valid[:, 8:-8].float().mean() > 0.95


def test_pixels_that_are_covered_are_invalid() -> None:
    background, person = texture(1)[..., :SIDE, :SIDE], texture(2)[..., :24, :24]
    first, second = background.clone(), background.clone()
    first[..., 20:44, 16:40], second[..., 20:44, 19:43] = person, person
    flow, valid = both_ways(first, second)
    covered = valid[22:42, 40:43]
    assert covered.float().mean() < 0.15
    assert valid[26:38, 22:34].all() and (flow[0, 0, 26:38, 22:34] - 3).abs().max() < 0.3
    assert valid[:, :8].all() and flow[..., :8].abs().max() < 0.05


def test_a_changed_colour_is_invalid() -> None:
    first = shifted(0, 0)
    second = shifted(1, 0).clone()
    second[..., 30:36, 30:36] = 1 - second[..., 30:36, 30:36]
    assert not both_ways(first, second)[1][31:34, 31:34].any()


def test_flat_pictures_have_no_flow() -> None:
    flat = torch.full((1, 3, 48, 40), 0.3)
    assert estimate_flow(flat, flat).abs().max() < 1e-6


def test_warping_undoes_a_shift() -> None:
    flow = torch.tensor([2.0, -1.0]).view(1, 2, 1, 1).expand(1, 2, SIDE, SIDE)
    warped = warp(shifted(2, -1), flow)
    torch.testing.assert_close(warped[..., 1:, :-2], shifted(0, 0)[..., 1:, :-2], atol=1e-5, rtol=0)


def test_pictures_of_a_batch_do_not_mix() -> None:
    first = torch.cat([shifted(0, 0), shifted(0, 0, 3)])
    second = torch.cat([shifted(2, 0), shifted(0, -1, 3)])
    both = estimate_flow(first, second)
    torch.testing.assert_close(both[:1], estimate_flow(first[:1], second[:1]), atol=1e-4, rtol=0)
    assert (both[1, 1, 8:-8, 8:-8] + 1).abs().max() < 0.1


def moving(frames: int = 5) -> torch.Tensor:
    return torch.stack([shifted(2 * frame - 4, frame - 2) for frame in range(frames)], dim=2)


def test_the_real_clip_and_a_constant_error_cost_nothing() -> None:
    real = moving()
    assert flow_consistency(real, real) == 0
    assert flow_consistency(real + 0.3, real) < 1e-6
    assert flow_consistency(real[:, :, :1], real[:, :, :1]) == 0


def test_flicker_costs_its_amplitude_and_a_frozen_picture_costs_more_than_movement() -> None:
    real = moving()
    flicker = 0.2 * torch.tensor([1.0, -1, 1, -1, 1]).view(1, 1, 5, 1, 1)
    assert float(flow_consistency(real + flicker, real)) == pytest.approx(0.4, abs=0.02)
    frozen = real[:, :, :1].expand_as(real)
    assert flow_consistency(frozen, real) > 0.1


def test_a_step_along_the_gradient_calms_a_clip() -> None:
    real = moving()
    noise = torch.randn(real.shape, generator=torch.Generator().manual_seed(0))
    ours = (real + 0.1 * noise).requires_grad_()
    loss = flow_consistency(ours, real)
    (slope,) = torch.autograd.grad(loss, ours)
    assert torch.isfinite(slope).all() and slope.abs().sum() > 0
    calmer = flow_consistency((ours - 0.03 * slope.sign()).detach(), real)
    assert calmer < 0.85 * loss
