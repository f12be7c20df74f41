"""The 145 features: layout, exact inverse, differentiability."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from unimo.motion.batches import mirror_features
from unimo.motion.features import (
    FEATURE_SLICES,
    features_to_motion,
    from_features,
    motion_to_features,
    rotation_form,
    rotations_to_features,
    to_features,
    with_rotation_form,
)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.sampled_from([(), (2,), (2, 3)]))
def test_features_have_an_exact_inverse(seed, frames, lead):
    generator = torch.Generator().manual_seed(seed)
    pose = torch.randn(*lead, frames, 21, 3, generator=generator) * 1.5
    orient = torch.randn(*lead, frames, 3, generator=generator) * 2
    betas = torch.randn(*lead, frames, 10, generator=generator)
    transl = torch.randn(*lead, frames, 3, generator=generator) * 3
    features = to_features(pose, betas, orient, transl)
    assert features.shape == (*lead, frames, 145)
    parts = from_features(features)
    expected = Rotation.from_rotvec(torch.cat([orient[..., None, :], pose], -2).reshape(-1, 3).numpy()).as_matrix()
    np.testing.assert_allclose(parts["rotations"].reshape(-1, 3, 3), expected, atol=1e-5)
    assert torch.equal(parts["betas"], betas)
    torch.testing.assert_close(parts["transl"], transl, atol=1e-5, rtol=0)
    again = rotations_to_features(parts["rotations"], parts["betas"], parts["transl"])
    torch.testing.assert_close(again, features, atol=1e-5, rtol=0)


FORMS = {"sixd": 145, "matrix": 211, "axis_angle": 79}


def random_motion(seed: int, frames: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    pose = torch.randn(2, frames, 21, 3, generator=generator)
    orient, betas = torch.randn(2, frames, 3, generator=generator), torch.randn(2, frames, 10, generator=generator)
    return to_features(pose, betas, orient, 3 * torch.randn(2, frames, 3, generator=generator))


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 2, 17]), st.sampled_from(["random", "mirrored", "static"]))
def test_every_form_of_rotations_comes_back(form, seed, frames, kind):
    features = random_motion(seed, frames)
    if kind == "mirrored":
        features = mirror_features(features)
    if kind == "static":
        still = from_features(features[:, :1].expand(-1, frames, -1))
        features = rotations_to_features(
            still["rotations"], still["betas"], still["transl"][:, :1].repeat(1, frames, 1)
        )
        assert not features[:, 1:, FEATURE_SLICES["translation"]].any()
    written = with_rotation_form(features, form)
    assert written.shape == (2, frames, FORMS[form]) and rotation_form(FORMS[form]) == form
    parts = from_features(written)
    again = rotations_to_features(parts["rotations"], parts["betas"], parts["transl"], form)
    torch.testing.assert_close(again, written, atol=1e-5, rtol=0)
    torch.testing.assert_close(with_rotation_form(again, "sixd"), features, atol=1e-5, rtol=0)


def test_a_mirror_image_of_a_mirror_image_is_the_motion():
    features = random_motion(3, 5)
    torch.testing.assert_close(mirror_features(mirror_features(features)), features, atol=1e-5, rtol=0)
    assert (mirror_features(features) - features).abs().max() > 0.1


def test_matrices_become_rotations_unless_told_to_stay():
    written = with_rotation_form(random_motion(4, 2), "matrix") + 0.1
    rotations = from_features(written)["rotations"]
    torch.testing.assert_close(rotations @ rotations.mT, torch.eye(3).expand_as(rotations), atol=1e-5, rtol=0)
    assert torch.equal(from_features(written, project=False)["rotations"][:, :, 1:].flatten(-3), written[..., :189])


def test_the_layout_is_the_documented_one():
    pose, orient = torch.zeros(3, 21, 3), torch.zeros(3, 3)
    pose[1, 0, 2] = np.pi / 2
    orient[2, 0] = np.pi / 2
    transl = torch.tensor([[1.0, 2, 3], [1, 2, 4], [0, 2, 4]])
    features = to_features(pose, torch.arange(10.0).repeat(3, 1), orient, transl)
    covered = sorted(range(145), key=int)
    assert [i for part in FEATURE_SLICES.values() for i in range(145)[part]] == covered
    # first column, then second column
    torch.testing.assert_close(features[1, :6], torch.tensor([0.0, 1, 0, -1, 0, 0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        features[2, FEATURE_SLICES["orientation"]], torch.tensor([1.0, 0, 0, 0, 0, 1]), atol=1e-6, rtol=0
    )
    assert features[0, FEATURE_SLICES["shape"]].tolist() == list(range(10))
    assert features[:, FEATURE_SLICES["translation"]].tolist() == [[1, 2, 3], [0, 0, 1], [-1, 0, 0]]


def test_gradients_are_finite_at_the_rest_pose_and_through_the_inverse():
    pose = torch.zeros(4, 21, 3, requires_grad=True)
    to_features(pose, torch.zeros(4, 10), torch.zeros(4, 3), torch.zeros(4, 3)).square().sum().backward()
    assert pose.grad is not None and pose.grad.isfinite().all()
    features = torch.randn(2, 4, 145, requires_grad=True)
    sum(part.sum() for part in from_features(features).values()).backward()
    assert features.grad is not None and features.grad.isfinite().all() and features.grad.abs().sum() > 0


def test_a_motion_survives_a_long_clip(make_motion):
    motion = make_motion(2000)
    again = features_to_motion(motion_to_features(motion), 30, axes=motion.axes)
    np.testing.assert_allclose(again.rotations(), motion.rotations(), atol=1e-5)
    np.testing.assert_allclose(again.transl, motion.transl, atol=2e-5)
    np.testing.assert_allclose(again.betas, motion.betas, atol=1e-6)


def test_a_wrong_width_is_refused():
    with pytest.raises(ValueError, match="expected 145 or 211 or 79 features a frame, got 144"):
        from_features(torch.zeros(3, 144))
