"""Alignment: a known transform is found again, whatever the batch shape; reflections are not used."""

from __future__ import annotations

import pytest
import roma
import torch

from unimo.geometry.alignment import procrustes, umeyama


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_known_similarity_is_found(batch: tuple[int, ...]) -> None:
    source = torch.randn(*batch, 3, 3, dtype=torch.float64)  # three points: (3,3) must not be taken for a matrix
    rotation = roma.random_rotmat(batch, dtype=torch.float64) if batch else roma.random_rotmat(dtype=torch.float64)
    offset = torch.randn(*batch, 1, 3, dtype=torch.float64)
    target = 1.7 * source @ rotation.transpose(-1, -2) + offset
    found, translation, scale = umeyama(source, target)
    assert torch.allclose(found, rotation, atol=1e-8)
    assert torch.allclose(translation, offset[..., 0, :], atol=1e-8)
    assert torch.allclose(scale, torch.full(batch, 1.7, dtype=torch.float64))
    assert torch.allclose(procrustes(source, target), target, atol=1e-8)


def test_mirror_image_is_not_matched() -> None:
    source = torch.randn(10, 3, dtype=torch.float64)
    mirrored = source * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    rotation, _, _ = umeyama(source, mirrored)
    assert torch.linalg.det(rotation).item() == pytest.approx(1.0)
    assert (procrustes(source, mirrored) - mirrored).norm() > 0.1


def test_points_of_no_weight_do_not_count() -> None:
    source = torch.randn(8, 3, dtype=torch.float64)
    target = source + 1.0
    target[0] += 100.0
    weights = torch.ones(8, dtype=torch.float64)
    weights[0] = 0
    moved = procrustes(source, target, weights, with_scale=False)
    assert torch.allclose(moved[1:], target[1:], atol=1e-8)


def test_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="two point sets"):
        umeyama(torch.zeros(4, 3), torch.zeros(5, 3))
