"""Rotation forms: exact inverses, the layout of the 6-D form, and the shortest arc in its awkward corners."""

from __future__ import annotations

import pytest
import roma
import torch

from unimo.geometry.rotations import (
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    matrix_to_sixd,
    rotation_between,
    sixd_to_matrix,
)


def test_sixd_is_the_first_two_columns_concatenated() -> None:
    matrix = roma.random_rotmat(4)
    sixd = matrix_to_sixd(matrix)
    assert torch.equal(sixd[:, :3], matrix[:, :, 0])
    assert torch.equal(sixd[:, 3:], matrix[:, :, 1])


def test_forms_are_inverses_of_each_other() -> None:
    matrix = roma.random_rotmat((5, 7), dtype=torch.float64)
    assert torch.allclose(sixd_to_matrix(matrix_to_sixd(matrix)), matrix, atol=1e-12)
    assert torch.allclose(axis_angle_to_matrix(matrix_to_axis_angle(matrix)), matrix, atol=1e-12)


def test_sixd_of_skewed_columns_is_still_a_rotation() -> None:
    matrix = sixd_to_matrix(torch.randn(20, 6, dtype=torch.float64) * 3)
    assert torch.allclose(matrix @ matrix.transpose(-1, -2), torch.eye(3, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(torch.linalg.det(matrix), torch.ones(20, dtype=torch.float64))


@pytest.mark.parametrize("angle", [0.0, 1e-4, 1.0, 3.1, torch.pi])
def test_rotation_between_turns_one_direction_onto_the_other_by_the_least_angle(angle: float) -> None:
    source = torch.tensor([[2.0, 0.0, 0.0]], dtype=torch.float64)
    target = torch.tensor([[torch.cos(torch.tensor(angle)), 0.0, torch.sin(torch.tensor(angle))]], dtype=torch.float64)
    rotation = rotation_between(source, target)
    assert torch.allclose((rotation @ source[..., None])[..., 0], 2 * target, atol=1e-6)
    turned = roma.rotmat_geodesic_distance(rotation, torch.eye(3, dtype=torch.float64)[None]).item()
    assert turned == pytest.approx(angle, abs=1e-6)
