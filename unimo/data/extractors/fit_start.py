"""Where the body fit starts, in closed form and each frame on its own.

The trunk is laid through hips and shoulders, limbs along their landmarks with the least turn, the rest is the usual
pose. Then the pelvis is placed so that the points so posed fall onto the picture. Landmarks (T, N, 3) are those of
`landmark_map.USED` in metres, camera axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unimo.body import JOINT_NAMES
from unimo.body.names import PARENTS
from unimo.data.extractors.landmark_map import HIPS, LANDMARK_JOINTS, SHOULDERS, USED, LandmarkBody
from unimo.data.extractors.pose_prior import PosePrior
from unimo.geometry.alignment import umeyama
from unimo.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, rotation_between

_OF_JOINT = {joint: USED.index(landmark) for landmark, joint in LANDMARK_JOINTS.items()}
_LIMBS = tuple(
    (JOINT_NAMES.index(f"{side}_{upper}"), JOINT_NAMES.index(f"{side}_{lower}"))
    for side in ("left", "right")
    for upper, lower in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))
)
_NEAREST_M, _FURTHEST_M = 0.3, 100.0


@dataclass(frozen=True, eq=False)
class Start:
    """Attributes: root (T, 3, 3) rotation; body_pose (T, 21, 3) axis-angle; pelvis (T, 3) metres."""

    root: Tensor
    body_pose: Tensor
    pelvis: Tensor


@torch.no_grad()
def find_start(
    body: LandmarkBody, world: Tensor, image: Tensor, weight: Tensor, camera: Tensor, prior: PosePrior
) -> Start:
    """The start of the fit.

    Args:
        body: at betas 0.
        world: (T, N, 3) metres, camera axes, about the hips.
        image: (T, N, 2) pixels.
        weight: (T, N).
        camera: (3, 3) pixels.
        prior: whose mean pose stands where landmarks say nothing.
    """
    count, betas = len(world), torch.zeros(10)
    usual = axis_angle_to_matrix(prior.mean.reshape(1, 21, 3)).expand(count, -1, -1, -1)
    still = torch.cat([torch.eye(3).expand(count, 1, 3, 3), usual], 1)
    _, points = body.pose(still, betas, torch.zeros(count, 3))
    trunk = [USED.index(index) for index in (*HIPS, *SHOULDERS)]
    root = umeyama(points[:, trunk], world[:, trunk], with_scale=False)[0]
    rotations = torch.cat([root[:, None], usual], 1)
    turns = _global(rotations)
    limbs = dict(_LIMBS)
    for joint in range(1, len(PARENTS)):  # parents come first
        turns[:, joint] = turns[:, PARENTS[joint]] @ rotations[:, joint]
        if joint in limbs:
            child = limbs[joint]
            now = (turns[:, joint] @ (body.joints[child] - body.joints[joint])[:, None])[..., 0]
            wanted = world[:, _OF_JOINT[child]] - world[:, _OF_JOINT[joint]]
            turns[:, joint] = rotation_between(now, wanted) @ turns[:, joint]
    local = turns.clone()
    local[:, 1:] = turns[:, list(PARENTS[1:])].transpose(-1, -2) @ turns[:, 1:]
    _, points = body.pose(local, betas, torch.zeros(count, 3))
    return Start(root, matrix_to_axis_angle(local[:, 1:]), _place(points, image, weight, camera))


def _global(rotations: Tensor) -> Tensor:
    turns = rotations.clone()
    for joint in range(1, len(PARENTS)):
        turns[:, joint] = turns[:, PARENTS[joint]] @ rotations[:, joint]
    return turns


def _place(points: Tensor, image: Tensor, weight: Tensor, camera: Tensor) -> Tensor:
    """The shift (T, 3) that projects points (T, N, 3) nearest to pixels (T, N, 2): linear least squares.

    (X + a) f / (Z + c) + cx = u, times Z + c, is f a - (u - cx) c = (u - cx) Z - f X; likewise for v and b.
    """
    focal, centre = camera.diagonal()[:2], camera[:2, 2]
    away = (image - centre) / focal
    rows = torch.zeros(*points.shape[:2], 2, 3)
    rows[..., 0, 0] = rows[..., 1, 1] = 1
    rows[..., 2] = -away
    right = away * points[..., 2:] - points[..., :2]
    share = weight.sqrt()[..., None]
    a, b = (rows * share[..., None]).flatten(1, 2), (right * share).flatten(1)
    shift = torch.linalg.lstsq(a.double(), b.double()[..., None]).solution[..., 0].float()
    depth = shift[:, 2].clamp(_NEAREST_M, _FURTHEST_M)
    # a place behind the camera would never come back: keep the ray to the body at a depth ahead
    middle = (weight[..., None] * away).sum(1) / weight.sum(1, keepdim=True)
    ahead = torch.cat([middle * depth[:, None], depth[:, None]], 1)
    return torch.where((shift[:, 2] > _NEAREST_M)[:, None], shift, ahead)
