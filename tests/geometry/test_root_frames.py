"""The camera of two root descriptions, and the upright camera: inverses, axes and the reference's numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import roma
import torch

from unimo.geometry.root_frames import camera_to_gravity_view, world_to_camera_of_roots
from unimo.motion.frames import transform_root

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures" / "metrics" / "smplx_world_to_camera.npz"


@pytest.fixture
def data() -> dict[str, torch.Tensor]:
    with np.load(FIXTURE, allow_pickle=False) as archive:
        return {key: torch.from_numpy(np.array(archive[key])) for key in archive.files}


def test_the_camera_comes_back_from_the_roots_it_made(data) -> None:
    camera, pelvis = data["in_T_w2c"], data["in_pelvis_rest"]
    turn, shift = camera[:, :3, :3], camera[:, :3, 3]
    orient, transl = data["in_global_orient_w"], data["in_transl_w"]
    moved = transform_root(orient.numpy(), transl.numpy(), turn.numpy(), shift.numpy(), pelvis.numpy())
    seen_orient, seen_transl = (torch.from_numpy(part) for part in moved)
    torch.testing.assert_close(world_to_camera_of_roots(orient, transl, seen_orient, seen_transl, pelvis), camera)
    wrong = world_to_camera_of_roots(orient, transl, seen_orient, seen_transl, torch.zeros(3))
    assert (wrong - camera)[:, :3, 3].norm(dim=-1).max() > 0.1


def test_the_gravity_view_is_upright_and_looks_where_the_camera_looks() -> None:
    cameras = roma.random_rotmat(50, dtype=torch.float64)
    view = camera_to_gravity_view(cameras)
    torch.testing.assert_close(view @ view.transpose(-1, -2), torch.eye(3).double().expand(50, 3, 3))
    torch.testing.assert_close(torch.linalg.det(view), torch.ones(50).double())
    down = (view @ cameras @ torch.tensor([0.0, -1, 0]).double()[:, None])[..., 0]
    torch.testing.assert_close(down, torch.tensor([0.0, 1, 0]).double().expand(50, 3))
    forward = view[..., 2]  # the optical axis in the view
    assert forward[:, 0].abs().max() < 1e-12 and forward[:, 2].min() > 0


def test_the_gravity_view_ignores_the_heading_of_the_camera() -> None:
    camera = roma.random_rotmat(dtype=torch.float64)
    heading = roma.rotvec_to_rotmat(torch.tensor([0, 0.8, 0], dtype=torch.float64))
    torch.testing.assert_close(camera_to_gravity_view(camera @ heading), camera_to_gravity_view(camera))
    z_up = roma.rotvec_to_rotmat(torch.tensor([-np.pi / 2, 0, 0], dtype=torch.float64))  # takes z to y
    view = camera_to_gravity_view(camera @ z_up, gravity=(0, 0, -1))
    torch.testing.assert_close(view, camera_to_gravity_view(camera))


def test_a_camera_that_looks_along_gravity_keeps_its_own_x() -> None:
    down = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, -1, 0]])
    view = camera_to_gravity_view(torch.stack([down, torch.diag(torch.tensor([1.0, -1, -1]))]))
    assert view[0].tolist() == [[1, 0, 0], [0, 0, 1], [0, -1, 0]]
    assert view[1].tolist() == torch.eye(3).tolist()
