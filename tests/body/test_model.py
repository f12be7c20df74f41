"""The open body: a human in SMPL-X's zero pose whose kinematics are those of smplx."""

from __future__ import annotations

import numpy as np
import pytest
import roma
import torch

from unimo.body import JOINT_NAMES, LEFT_RIGHT, LIMB_JOINTS, BodyModel, load_body
from unimo.body.regions import REGION


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_body("open")


def _rest(body: BodyModel, betas: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    still = torch.eye(3).repeat(len(betas), 22, 1, 1)
    nowhere = torch.zeros(len(betas), 3)
    return body.vertices(still, betas, nowhere).numpy(), body.joints(still, betas, nowhere).numpy()


def _joint(joints: np.ndarray, name: str) -> np.ndarray:
    return joints[JOINT_NAMES.index(name)]


def test_zero_pose_is_that_of_smplx(body: BodyModel) -> None:
    vertices, joints = (x[0] for x in _rest(body, torch.zeros(1, 10)))
    assert 1.65 < np.ptp(vertices[:, 1]) < 1.75
    assert np.allclose(_joint(joints, "pelvis"), [0, -0.35, 0], atol=0.02)
    for side, sign in (("left", 1), ("right", -1)):
        wrist, shoulder = _joint(joints, f"{side}_wrist"), _joint(joints, f"{side}_shoulder")
        assert sign * (wrist - shoulder)[0] > 0.4
        assert np.abs(wrist - shoulder)[1:].max() < 0.005
        hip, ankle, toes = (_joint(joints, f"{side}_{part}") for part in ("hip", "ankle", "foot"))
        assert np.abs(hip - ankle)[[0, 2]].max() < 0.005
        assert (toes - ankle)[2] > 0.1
    for left, right in LEFT_RIGHT:
        assert np.allclose(joints[left], joints[right] * [-1, 1, 1], atol=0.002)


def test_nose_points_to_plus_z_and_hair_is_behind(body: BodyModel) -> None:
    vertices = _rest(body, torch.zeros(1, 10))[0][0]
    regions = body.vertex_regions()
    assert regions.shape == (body.num_vertices,) and regions.dtype == np.int8
    assert set(regions.tolist()) == set(REGION.values())
    face, hair = vertices[regions == REGION["face"]], vertices[regions == REGION["hair"]]
    assert face[:, 2].mean() - hair[:, 2].mean() > 0.08
    assert hair[:, 1].mean() > face[:, 1].mean()
    assert vertices[regions == REGION["foot"]][:, 1].max() < vertices[regions == REGION["thigh"]][:, 1].min()


@pytest.mark.filterwarnings("ignore")
def test_kinematics_and_skinning_equal_smplx(body: BodyModel) -> None:
    generator = torch.Generator().manual_seed(1)
    pose = torch.randn(3, 22, 3, generator=generator) * 0.6
    betas, transl = torch.randn(3, 10, generator=generator), torch.randn(3, 3, generator=generator)
    rotations = roma.rotvec_to_rotmat(pose)
    with torch.no_grad():
        expected = body.smplx(batch_size=3)(
            betas=betas, global_orient=pose[:, 0], body_pose=pose[:, 1:].flatten(1), transl=transl
        )
    assert (body.joints(rotations, betas, transl) - expected.joints[:, :22]).abs().max() < 1e-5
    vertices = body.vertices(rotations, betas, transl)
    assert (vertices - expected.vertices).abs().max() < 1e-5
    chosen = torch.tensor([5, 0, 7000])
    assert torch.allclose(body.vertices(rotations, betas, transl, index=chosen), vertices[:, chosen], atol=1e-6)


def test_pelvis_stands_at_translation_plus_rest_pelvis(body: BodyModel) -> None:
    betas, transl = torch.randn(4, 10), torch.randn(4, 3)
    joints = body.joints(roma.random_rotmat((4, 22)), betas, transl)
    assert torch.allclose(joints[:, 0], transl + body.rest_pelvis(betas), atol=1e-6)
    assert torch.allclose(body.rest_joints(betas)[:, 0], body.rest_pelvis(betas), atol=1e-6)


def test_joints_are_differentiable_in_pose_shape_and_place(body: BodyModel) -> None:
    rotations = roma.random_rotmat((2, 22)).requires_grad_()
    betas, transl = torch.zeros(2, 10, requires_grad=True), torch.zeros(2, 3, requires_grad=True)
    body.joints(rotations, betas, transl)[:, list(LIMB_JOINTS)].square().sum().backward()
    assert all(x.grad is not None and x.grad.abs().sum() > 0 for x in (rotations, betas, transl))


def test_stature_spreads_by_about_seven_centimetres_and_grows_with_the_first_beta(body: BodyModel) -> None:
    betas = torch.randn(300, 10, generator=torch.Generator().manual_seed(0))
    stature = np.array([np.ptp(_rest(body, row[None])[0][0][:, 1]) for row in betas[:60]])
    assert 0.04 < stature.std() < 0.10
    low, high = (np.ptp(_rest(body, torch.eye(10)[:1] * sign)[0][0][:, 1]) for sign in (-1, 1))
    assert high - low > 0.1


def test_low_poly_is_a_closed_subset_of_the_mesh(body: BodyModel) -> None:
    index, faces = body.low_poly(3000)
    assert len(faces) <= 3000 and len(np.unique(index)) == len(index) and index.max() < body.num_vertices
    assert set(np.unique(faces)) == set(range(len(index)))
    vertices = _rest(body, torch.zeros(1, 10))[0][0]
    assert np.allclose(np.ptp(vertices[index], axis=0), np.ptp(vertices, axis=0), atol=0.02)

    def volume(points: np.ndarray, triangles: np.ndarray) -> float:
        a, b, c = (points[triangles[:, i]] for i in range(3))
        return float((a * np.cross(b, c)).sum() / 6)

    assert volume(vertices[index], faces) == pytest.approx(volume(vertices, body.faces), rel=0.05)


def test_unknown_body_is_refused() -> None:
    with pytest.raises(ValueError, match="'open' or 'smplx'"):
        load_body("smpl")  # type: ignore[arg-type]
