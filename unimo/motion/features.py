"""Motion ↔ the 145 features a frame that the motion tokenizer reads.

Layout: `body pose 6D 126 | betas 10 | global orient 6D 6 | translation 3`. 6-D is the first two columns of the
rotation matrix, concatenated. Translation is SMPL-X `transl` in metres: row 0 absolute, later rows the difference to
the previous frame, undone by a prefix sum. Torch, differentiable, any leading dimensions before (T, D); radians.
For the paper's table 6 rotations may also be whole matrices (D = 211, row by row) or axis-angle (D = 79, angle at most
π); the width tells which, so whatever reads features reads all three.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from unimo.geometry.rotations import (
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    matrix_to_sixd,
    nearest_rotation,
    sixd_to_matrix,
)
from unimo.motion.motion import Motion

RotationForm = Literal["sixd", "matrix", "axis_angle"]
_ROTATION_DIMS: dict[RotationForm, int] = {"sixd": 6, "matrix": 9, "axis_angle": 3}


def feature_slices(form: RotationForm = "sixd") -> dict[str, slice]:
    """The channels of each group, in order: pose, shape, orientation, translation."""
    size, start, slices = _ROTATION_DIMS[form], 0, {}
    for name, width in (("pose", 21 * size), ("shape", 10), ("orientation", size), ("translation", 3)):
        slices[name] = slice(start, start + width)
        start += width
    return slices


FEATURE_SLICES = feature_slices()
NUM_FEATURES = FEATURE_SLICES["translation"].stop
_FORMS: dict[int, RotationForm] = {feature_slices(form)["translation"].stop: form for form in _ROTATION_DIMS}


def rotation_form(width: int) -> RotationForm:
    """The form of rotations in features of this width D.

    Raises:
        ValueError: no form has this width.
    """
    if width not in _FORMS:
        raise ValueError(f"expected {' or '.join(map(str, _FORMS))} features a frame, got {width}")
    return _FORMS[width]


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


def rotations_to_features(rotations: Tensor, betas: Tensor, transl: Tensor, form: RotationForm = "sixd") -> Tensor:
    """Turns rotation matrices, shape and translation into features.

    Args:
        rotations: (..., T, 22, 3, 3), joint 0 the global orientation.
        betas: (..., T, 10).
        transl: (..., T, 3) metres, absolute.
        form: how rotations are written.

    Returns:
        (..., T, D) features, D = 145 for "sixd".
    """
    if form == "sixd":
        written = matrix_to_sixd(rotations)
    elif form == "matrix":
        written = rotations.flatten(-2)
    else:
        written = matrix_to_axis_angle(rotations)
    steps = torch.cat([transl[..., :1, :], transl[..., 1:, :] - transl[..., :-1, :]], dim=-2)
    return torch.cat([written[..., 1:, :].flatten(-2), betas, written[..., 0, :], steps], dim=-1)


def from_features(features: Tensor, project: bool = True) -> dict[str, Tensor]:
    """Inverse of `to_features`; 6-D values and matrices that are no rotation are made one.

    Args:
        features: (..., T, D), D as `rotation_form` knows it.
        project: False leaves matrices (D = 211) as they are, for training: decomposing each is slow.

    Returns:
        `rotations` (..., T, 22, 3, 3) with joint 0 the global orientation, `betas` (..., T, 10), `transl` (..., T, 3).

    Raises:
        ValueError: no form of rotations has this many channels.
    """
    form = rotation_form(features.shape[-1])
    slices = feature_slices(form)
    written = torch.cat([features[..., slices["orientation"]], features[..., slices["pose"]]], dim=-1)
    written = written.unflatten(-1, (-1, _ROTATION_DIMS[form]))
    if form == "sixd":
        rotations = sixd_to_matrix(written)
    elif form == "matrix":
        rotations = written.unflatten(-1, (3, 3))
        rotations = nearest_rotation(rotations) if project else rotations
    else:
        rotations = axis_angle_to_matrix(written)
    return {
        "rotations": rotations,
        "betas": features[..., slices["shape"]],
        "transl": features[..., slices["translation"]].cumsum(dim=-2),
    }


def with_rotation_form(features: Tensor, form: RotationForm) -> Tensor:
    """The same motion with rotations written in another form: (..., T, D) → (..., T, D')."""
    if rotation_form(features.shape[-1]) == form:
        return features
    parts = from_features(features)
    return rotations_to_features(parts["rotations"], parts["betas"], parts["transl"], form)


def motion_to_features(motion: Motion, form: RotationForm = "sixd") -> Tensor:
    """Returns the (T, D) float32 features of a motion, in the frame the motion is in."""
    rotations = torch.from_numpy(motion.rotations())
    return rotations_to_features(rotations, torch.from_numpy(motion.betas), torch.from_numpy(motion.transl), form)


def features_to_motion(features: Tensor | np.ndarray, fps: float, **fields: Any) -> Motion:
    """Builds a `Motion` from the features of one clip; betas stay per frame (see `Motion.with_constant_betas`).

    Args:
        features: (T, D).
        fps: frames per second.
        **fields: the other fields of `Motion` (axes, body, cam2world, intrinsics, extras).

    Raises:
        InputError: values that are not finite.
        ValueError: no form of rotations has this many channels.
    """
    parts = from_features(torch.as_tensor(features).detach().cpu().double())
    return Motion.from_rotations(
        parts["rotations"].numpy(), parts["betas"].numpy(), parts["transl"].numpy(), fps, **fields
    )
