"""Errors of alpha mattes: known numbers, scales, and what each must and must not see."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unimo.metrics.matting import (
    connectivity_error_per_1000,
    dtssd_x100,
    gradient_error_per_1000,
    mad_x1000,
    mse_x1000,
)


def low_resolution_gradient(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return gradient_error_per_1000(predicted, target, stretch=True)


def gradient(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return gradient_error_per_1000(predicted, target, stretch=False)


MEASURES = [mad_x1000, mse_x1000, dtssd_x100, low_resolution_gradient, gradient, connectivity_error_per_1000]


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    """A soft disc that moves, and a noisy guess, (2, 4, 24, 28)."""
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(28.0), indexing="ij")
    frames = [torch.sigmoid(7 - torch.hypot(x - 9 - 2 * t, y - 11)) for t in range(4)]
    target = torch.stack([torch.stack(frames), torch.stack(frames).flip(-1)])
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(0))
    return (target + 0.1 * noise).clamp(0, 1), target


def test_known_numbers() -> None:
    target = torch.zeros(3, 4, 5)
    predicted = target.clone()
    predicted[1] = 0.5
    assert mad_x1000(predicted, target).tolist() == [0, 500, 0]
    assert mse_x1000(predicted, target).tolist() == [0, 250, 0]
    # up, then down; the first frame counts as 0
    assert dtssd_x100(predicted, target).tolist() == [0, 50, 50]
    # a constant has no edge
    assert gradient(predicted, target).tolist() == pytest.approx([0, 0, 0], abs=1e-20)


def test_gradient_of_a_slope_is_the_filter_s_response() -> None:
    slope = (torch.arange(60.0) / 100).expand(40, 60)[None]
    place = torch.arange(-4, 5, dtype=torch.float64)
    gaussian = torch.exp(-(place**2) / (2 * 1.4**2))
    weights = torch.outer(gaussian, place * gaussian)
    response = float((weights * place).sum() / weights.norm()) / 100
    inside = gradient(slope, torch.zeros_like(slope)) * 1000
    # at the border the repeated edge flattens the slope
    assert 52 * 40 * response**2 < float(inside) < 60 * 40 * response**2
    upright = gradient(slope.transpose(-1, -2), torch.zeros_like(slope).transpose(-1, -2)) * 1000
    assert float(upright) == pytest.approx(float(inside))


@pytest.mark.parametrize("measure", MEASURES)
def test_equal_mattes_cost_nothing_and_more_noise_costs_more(measure, pair) -> None:
    ours, true = pair
    assert measure(true, true).abs().max() == 0
    half = true + 0.5 * (ours - true)
    assert 0 < measure(half, true).sum() < measure(ours, true).sum()


@pytest.mark.parametrize("measure", MEASURES)
def test_sides_may_be_exchanged_mirrored_and_batched(measure, pair) -> None:
    ours, true = pair
    values = measure(ours, true)
    assert values.shape == (2, 4)
    torch.testing.assert_close(measure(true, ours), values)
    torch.testing.assert_close(measure(ours.flip(-1), true.flip(-1)), values)
    torch.testing.assert_close(measure(ours.transpose(-1, -2), true.transpose(-1, -2)), values)
    torch.testing.assert_close(measure(ours[1], true[1]), values[1])


def test_scale_of_both_mattes() -> None:
    true = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0)).double()
    ours = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(1)).double()
    for measure, power in ((mad_x1000, 1), (mse_x1000, 2), (dtssd_x100, 1), (gradient, 2)):
        torch.testing.assert_close(measure(ours / 2, true / 2), measure(ours, true) / 2**power)
    # stretched to 0..1 first, scale and offset of either side vanish
    torch.testing.assert_close(low_resolution_gradient(ours / 2 + 0.3, true), low_resolution_gradient(ours, true))
    assert (gradient(ours / 2 + 0.3, true) - gradient(ours, true)).abs().min() > 1e-4


def test_a_steady_error_does_not_flicker(pair) -> None:
    ours, true = pair
    offset = 0.2 * torch.rand(24, 28, generator=torch.Generator().manual_seed(2))
    assert dtssd_x100(true + offset, true).abs().max() < 1e-4
    assert mad_x1000(true + offset, true).min() > 50
    torch.testing.assert_close(dtssd_x100(ours.flip(1), true.flip(1))[:, 1:], dtssd_x100(ours, true)[:, 1:].flip(1))


def test_a_constant_frame_stretches_to_nothing() -> None:
    constant, slope = torch.full((1, 12, 12), 0.7), (torch.arange(12.0) / 11).expand(1, 12, 12)
    torch.testing.assert_close(low_resolution_gradient(constant, slope), gradient(torch.zeros_like(slope), slope))


def test_connectivity_sees_what_hangs_together() -> None:
    """Two blobs of 9 and 4 pixels: losing the small one and losing as many pixels of the large one differ."""
    true = torch.zeros(8, 12)
    true[1:4, 1:4] = true[5:7, 8:10] = 1
    values = connectivity_error_per_1000(true, true)
    assert float(values) == 0
    ours = true.clone()
    ours[5:7, 8:10] = 0
    # the small blob lies off the source at every threshold: its level is 0, ours has nothing there
    assert float(connectivity_error_per_1000(ours, true)) == pytest.approx(4 / 1000)
    # a bridge of one corner does not connect, four neighbours do
    corner = torch.zeros(1, 4, 4)
    corner[0, 0, 0] = corner[0, 1, 1] = 1
    side = torch.zeros(1, 4, 4)
    side[0, 0, 0] = side[0, 0, 1] = 1
    softer = connectivity_error_per_1000(0.5 * corner, corner), connectivity_error_per_1000(0.5 * side, side)
    # in the source both alphas reach 0.5: 1 - 0.5 away from there; the other corner starts from 0
    assert [float(value) * 1000 for value in softer] == pytest.approx([0.5 + 0.5, 0.5 + 0.5])
    # differences under 0.15 of a level are forgiven
    plate = torch.full((1, 4, 4), 0.6)
    assert float(connectivity_error_per_1000(plate + 0.04, plate)) == 0
    assert float(connectivity_error_per_1000(plate + 0.2, plate) * 1000) == pytest.approx(16 * 0.2, rel=1e-5)


def test_alphas_at_a_threshold_belong_to_it() -> None:
    """153/255 is 0.6 in single precision, and just below 6 · 0.1 in double."""
    bytes_ = np.full((1, 4, 4), 153, np.uint8)
    single, double = (torch.from_numpy(bytes_.astype(kind) / kind(255)) for kind in (np.float32, np.float64))
    other = torch.full((1, 4, 4), 0.76)
    assert connectivity_error_per_1000(other, single) == connectivity_error_per_1000(other.double(), double)
    assert float(connectivity_error_per_1000(other, single)) == pytest.approx(16 * 0.16 / 1000, rel=1e-5)


@pytest.mark.parametrize("measure", MEASURES)
def test_mattes_of_other_shapes_are_refused(measure, pair) -> None:
    ours, true = pair
    with pytest.raises(ValueError, match="of one shape"):
        measure(ours[:, :1], true)
    with pytest.raises(ValueError, match="T, H, W"):
        dtssd_x100(ours[0, 0], true[0, 0])
