"""The camera between two descriptions of one body's root, and the camera turned upright (GVHMR's gravity view).

In and out: torch tensors with any leading dimensions, metres, axis-angle in radians, matrices acting on columns.
Camera axes are OpenCV's (x right, y down, z forward).
"""

from __future__ import annotations

import torch
from torch import Tensor

from unimo.geometry.rotations import axis_angle_to_matrix


def world_to_camera_of_roots(
    orient_world: Tensor, transl_world: Tensor, orient_camera: Tensor, transl_camera: Tensor, rest_pelvis: Tensor
) -> Tensor:
    """The camera that sees a body of known world root at a known camera root; it undoes a change of frame.

    R = R_c R_wᵀ and t = (transl_c + J0) − R (transl_w + J0): SMPL-X turns about the rest pelvis J0, so leaving it out
    of either side moves the camera (source: GVHMR).

    Args:
        orient_world, orient_camera: (...,3) axis-angle of the same root.
        transl_world, transl_camera: (...,3) metres, SMPL-X `transl`.
        rest_pelvis: (...,3) or (3,) J0(betas), metres.

    Returns:
        (...,4,4) world to camera.
    """
    rotation = axis_angle_to_matrix(orient_camera) @ axis_angle_to_matrix(orient_world).transpose(-1, -2)
    turned = (rotation @ (transl_world + rest_pelvis)[..., None])[..., 0]
    offset = transl_camera + rest_pelvis - turned
    upper = torch.cat([rotation, offset[..., None]], dim=-1)
    lower = upper.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*upper.shape[:-2], 1, 4)
    return torch.cat([upper, lower], dim=-2)


def camera_to_gravity_view(world2cam_rotation: Tensor, gravity: tuple[float, float, float] = (0, -1, 0)) -> Tensor:
    """Turns camera axes so that y points along gravity and the view stays in the plane of y and z (GVHMR's "gv").

    y is gravity seen by the camera, x is across gravity and the optical axis, z completes them. A camera that looks
    straight along gravity has no such x: its own x axis is taken.

    Args:
        world2cam_rotation: (...,3,3).
        gravity: unit direction of gravity in the world; (0, -1, 0) in a world whose y points up.

    Returns:
        (...,3,3), camera to gravity view.
    """
    y = world2cam_rotation @ world2cam_rotation.new_tensor(gravity)
    forward, right = (y.new_tensor(axis).expand_as(y) for axis in ((0.0, 0.0, 1.0), (1.0, 0.0, 0.0)))
    across = torch.linalg.cross(y, forward)
    length = across.norm(dim=-1, keepdim=True)
    x = torch.where(length < 1e-5, right, across / length)
    return torch.stack([x, y, torch.linalg.cross(x, y)], dim=-2)
