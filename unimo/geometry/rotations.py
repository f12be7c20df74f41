"""Rotations as tensors: axis-angle, 3x3 matrices and the continuous 6-D form.

In and out: torch tensors with any leading dimensions; axis-angle (...,3) in radians, matrices (...,3,3) acting on
column vectors, 6-D (...,6) = first column of the matrix followed by its second column. All conversions are
differentiable and come from `roma`.
"""

from __future__ import annotations

import roma
import torch
from torch import Tensor


def axis_angle_to_matrix(axis_angle: Tensor) -> Tensor:
    """Axis-angle (...,3) in radians to rotation matrices (...,3,3)."""
    return roma.rotvec_to_rotmat(axis_angle)


def matrix_to_axis_angle(matrix: Tensor) -> Tensor:
    """Rotation matrices (...,3,3) to axis-angle (...,3) in radians, angle in [0, pi]."""
    return roma.rotmat_to_rotvec(matrix)


def matrix_to_sixd(matrix: Tensor) -> Tensor:
    """Rotation matrices (...,3,3) to 6-D (...,6): the first two columns, concatenated."""
    return torch.cat([matrix[..., :, 0], matrix[..., :, 1]], dim=-1)


def sixd_to_matrix(sixd: Tensor) -> Tensor:
    """6-D (...,6) to rotation matrices (...,3,3) by Gram-Schmidt; the two columns need not be orthonormal.

    Args:
        sixd: (...,6), first column then second column. The two must not be parallel or zero.
    """
    return roma.special_gramschmidt(torch.stack([sixd[..., :3], sixd[..., 3:]], dim=-1))


def nearest_rotation(matrix: Tensor) -> Tensor:
    """The rotation (...,3,3) nearest to any 3x3 matrices (...,3,3), by singular value decomposition."""
    return roma.special_procrustes(matrix)  # pyright: ignore[reportReturnType]


def rotation_between(source: Tensor, target: Tensor) -> Tensor:
    """Shortest rotation (...,3,3) that turns the direction of `source` (...,3) into that of `target` (...,3).

    For opposite directions, where the shortest rotation is not unique, a half turn about an axis at right angles to
    `source` is given.
    """
    a = torch.nn.functional.normalize(source, dim=-1)
    b = torch.nn.functional.normalize(target, dim=-1)
    a, b = torch.broadcast_tensors(a, b)
    # The least aligned coordinate axis gives a perpendicular that never vanishes.
    spare = torch.nn.functional.one_hot(a.abs().argmin(dim=-1), 3).to(a)
    perpendicular = torch.nn.functional.normalize(torch.linalg.cross(a, spare), dim=-1)
    cosine = (a * b).sum(-1, keepdim=True)
    imaginary = torch.where(cosine < -1 + 1e-7, perpendicular, torch.linalg.cross(a, b))
    real = torch.where(cosine < -1 + 1e-7, torch.zeros_like(cosine), 1 + cosine)
    return roma.unitquat_to_rotmat(roma.quat_normalize(torch.cat([imaginary, real], dim=-1)))
