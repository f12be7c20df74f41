"""The pinhole camera: where known points land."""

from __future__ import annotations

import pytest
import torch

from unimo.geometry.cameras import default_focal, intrinsics_matrix, project


def test_point_on_the_axis_lands_on_the_principal_point_and_y_points_down() -> None:
    intrinsics = torch.as_tensor(intrinsics_matrix(100.0, 64.0, 48.0))
    points = torch.tensor([[0.0, 0.0, 2.0], [1.0, 0.5, 2.0]])
    assert torch.allclose(project(points, intrinsics), torch.tensor([[64.0, 48.0], [114.0, 73.0]]))


def test_every_frame_may_have_a_camera_of_its_own() -> None:
    points = torch.rand(3, 5, 3) + torch.tensor([0.0, 0.0, 2.0])
    focal = torch.tensor([50.0, 80.0, 90.0])[:, None, None]
    cameras = torch.stack([torch.as_tensor(intrinsics_matrix(float(f), 10.0, 20.0)) for f in focal])[:, None]
    expected = focal * points[..., :2] / points[..., 2:] + torch.tensor([10.0, 20.0])
    assert torch.allclose(project(points, cameras), expected, atol=1e-4)


@pytest.mark.parametrize("focal", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_focal_length_is_refused(focal: float) -> None:
    with pytest.raises(ValueError, match="focal length"):
        intrinsics_matrix(focal, 1.0, 1.0)


def test_default_focal_is_the_diagonal() -> None:
    assert default_focal(300, 400) == 500.0
