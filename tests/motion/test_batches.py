"""Clips in batches: the same features as one clip at a time, its camera and its mirror image."""

from __future__ import annotations

import numpy as np
import torch

from unimo.motion.batches import canonical_features, mirror_features, uncanonical_translation
from unimo.motion.canonical import square_intrinsics, to_canonical
from unimo.motion.features import from_features, motion_to_features
from unimo.motion.frames import mirror, rest_pelvis_of

NAMES = ("body_pose", "betas", "global_orient", "transl")
FOCAL = (90.0, 200.0)


def clips(make_motion):
    betas = np.random.default_rng(0).normal(size=(2, 10))
    motions = [make_motion(6, betas=row) for row in betas]
    arrays = {name: np.stack([getattr(motion, name) for motion in motions]) for name in NAMES}
    return motions, arrays, np.stack([square_intrinsics(focal, 128) for focal in FOCAL])


def test_batches_have_the_features_of_single_clips_in_the_canonical_camera(make_motion):
    motions, arrays, intrinsics = clips(make_motion)
    features = canonical_features(arrays, intrinsics, 128, 1.2)
    for motion, focal, row in zip(motions, FOCAL, features, strict=True):
        single = to_canonical(motion, focal, 128, 1.2, rest_pelvis_of(motion))
        torch.testing.assert_close(row, motion_to_features(single), atol=1e-5, rtol=0)


def test_the_translation_comes_back_into_the_clips_own_cameras(make_motion):
    _, arrays, intrinsics = clips(make_motion)
    transl = from_features(canonical_features(arrays, intrinsics, 128, 1.2))["transl"]
    back = uncanonical_translation(transl, torch.from_numpy(arrays["betas"]), intrinsics, 128, 1.2)
    np.testing.assert_allclose(back, arrays["transl"], atol=1e-5)


def test_mirrored_features_are_those_of_the_mirrored_motion(make_motion):
    motion = make_motion(6, betas=np.zeros(10))
    mirrored = mirror_features(motion_to_features(motion))
    # the pelvis of the open body is within half a millimetre of its plane of symmetry
    torch.testing.assert_close(mirrored, motion_to_features(mirror(motion)), atol=1e-3, rtol=0)
    torch.testing.assert_close(mirror_features(mirrored), motion_to_features(motion), atol=1e-5, rtol=0)
