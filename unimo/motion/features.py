"""Motion ↔ the 145 features a frame that the motion tokenizer reads.

Layout: `body pose 6D 126 | betas 10 | global orient 6D 6 | translation 3`. 6-D is the first two columns of the
rotation matrix, concatenated. Translation is SMPL-X `transl` in metres: row 0 absolute, later rows the difference to
the previous frame, undone by a prefix sum. Torch, differentiable, any leading dimensions before (T, D); radians.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from unimo.geometry.rotations import axis_angle_to_matrix, matrix_to_sixd, sixd_to_matrix
from unimo.motion.motion import Motion

NUM_FEATURES = 145
FEATURE_SLICES = {
    "pose": slice(0, 126),
    "shape": slice(126, 136),
    "orientation": slice(136, 142),
    "translation": slice(142, 145),
}


def to_features(body_pose: Tensor, betas: Tensor, global_orient: Tensor, transl: Tensor) -> Tensor:
    """Turns SMPL-X parameters into features.

    Args:
        body_pose: (..., T, 21, 3) axis-angle.
        betas: (..., T, 10).
        global_orient: (..., T, 3) axis-angle.
        transl: (..., T, 3) metres, absolute.

    Returns:
        (..., T, 145) features.
    """
    axis_angle = torch.cat([global_orient[..., None, :], body_pose], dim=-2)
    return rotations_to_features(axis_angle_to_matrix(axis_angle), betas, transl)


def rotations_to_features(rotations: Tensor, betas: Tensor, transl: Tensor) -> Tensor:
    """Turns rotation matrices, shape and translation into features.

    Args:
        rotations: (..., T, 22, 3, 3), joint 0 the global orientation.
        betas: (..., T, 10).
        transl: (..., T, 3) metres, absolute.

    Returns:
        (..., T, 145) features.
    """
    sixd = matrix_to_sixd(rotations)
    steps = torch.cat([transl[..., :1, :], transl[..., 1:, :] - transl[..., :-1, :]], dim=-2)
    return torch.cat([sixd[..., 1:, :].flatten(-2), betas, sixd[..., 0, :], steps], dim=-1)


def from_features(features: Tensor) -> dict[str, Tensor]:
    """Inverse of `to_features`; 6-D values that are no rotation are made one by Gram-Schmidt.

    Args:
        features: (..., T, 145).

    Returns:
        `rotations` (..., T, 22, 3, 3) with joint 0 the global orientation, `betas` (..., T, 10), `transl` (..., T, 3).

    Raises:
        ValueError: the last dimension is not 145.
    """
    if features.shape[-1] != NUM_FEATURES:
        raise ValueError(f"expected {NUM_FEATURES} features a frame, got {features.shape[-1]}")
    sixd = torch.cat([features[..., FEATURE_SLICES["orientation"]], features[..., FEATURE_SLICES["pose"]]], dim=-1)
    return {
        "rotations": sixd_to_matrix(sixd.unflatten(-1, (-1, 6))),
        "betas": features[..., FEATURE_SLICES["shape"]],
        "transl": features[..., FEATURE_SLICES["translation"]].cumsum(dim=-2),
    }


def motion_to_features(motion: Motion) -> Tensor:
    """Returns the (T, 145) float32 features of a motion, in the frame the motion is in."""
    rotations = torch.from_numpy(motion.rotations())
    return rotations_to_features(rotations, torch.from_numpy(motion.betas), torch.from_numpy(motion.transl))


def features_to_motion(features: Tensor | np.ndarray, fps: float, **fields: Any) -> Motion:
    """Builds a `Motion` from the features of one clip; betas stay per frame (see `Motion.with_constant_betas`).

    Args:
        features: (T, 145).
        fps: frames per second.
        **fields: the other fields of `Motion` (axes, body, cam2world, intrinsics, extras).

    Raises:
        InputError: values that are not finite.
        ValueError: the last dimension is not 145.
    """
    parts = from_features(torch.as_tensor(features).detach().cpu().double())
    return Motion.from_rotations(
        parts["rotations"].numpy(), parts["betas"].numpy(), parts["transl"].numpy(), fps, **fields
    )
