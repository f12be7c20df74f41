"""Changes of frame for a `Motion`: camera ↔ world, any rigid map, and the left-right mirror.

SMPL-X turns a body about its rest pelvis J0(betas), so pelvis = transl + J0 and a rigid map x → R x + t gives
global_orient' = R global_orient and transl' = R (transl + J0) + t - J0. Leaving J0 out costs about 0.7 m.
Camera axes: x right, y down, z forward. World axes: y up. Metres, radians; computed in float64.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from unimo.body import load_body
from unimo.body.names import MIRRORED
from unimo.body.regions import REGION
from unimo.errors import InputError
from unimo.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from unimo.motion.motion import Motion

if TYPE_CHECKING:
    from unimo.body import BodyModel

# turns camera axes (y down, z forward) of a level camera into world axes (y up)
LEVEL_CAMERA = np.diag([1.0, -1.0, -1.0])
MIRROR = np.array([-1.0, 1.0, 1.0])


def transform_root(
    global_orient: np.ndarray, transl: np.ndarray, rotation: np.ndarray, offset: np.ndarray, rest_pelvis: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Maps the root of a body by x → rotation x + offset.

    Args:
        global_orient: (T, 3) axis-angle.
        transl: (T, 3) metres.
        rotation: (T, 3, 3) or (3, 3).
        offset: (T, 3) or (3,) metres.
        rest_pelvis: (T, 3) or (3,) J0(betas), metres.

    Returns:
        global_orient (T, 3) and transl (T, 3) after the map, float64.
    """
    rotation = np.broadcast_to(np.asarray(rotation, dtype=np.float64), (len(transl), 3, 3))
    orient = axis_angle_to_matrix(torch.from_numpy(np.asarray(global_orient, dtype=np.float64)))
    turned = matrix_to_axis_angle(torch.from_numpy(rotation.copy()) @ orient).numpy()
    pelvis = np.asarray(transl, dtype=np.float64) + rest_pelvis
    return turned, np.einsum("tij,tj->ti", rotation, pelvis) + offset - rest_pelvis


def transform(motion: Motion, rotation: np.ndarray, offset: np.ndarray, rest_pelvis: np.ndarray, axes: str) -> Motion:
    """Returns the motion after x → rotation x + offset, labelled with the new `axes`; cam2world is kept as it is.

    Args:
        motion: T frames.
        rotation: (T, 3, 3) or (3, 3).
        offset: (T, 3) or (3,) metres.
        rest_pelvis: (T, 3) or (3,) J0(betas), see `rest_pelvis_of`.
        axes: the frame the result is in, "camera" or "world".
    """
    global_orient, transl = transform_root(motion.global_orient, motion.transl, rotation, offset, rest_pelvis)
    return replace(motion, global_orient=global_orient, transl=transl, axes=axes)


def rest_pelvis_of(motion: Motion, body: BodyModel | None = None) -> np.ndarray:
    """Returns J0(betas) of every frame, (T, 3) metres; `body` defaults to the body the motion names.

    Raises:
        MissingAssetError: the motion is of the licensed body and its file is not on this machine.
    """
    with torch.no_grad():
        return _body_of(motion, body).rest_pelvis(torch.from_numpy(motion.betas)).cpu().numpy().astype(np.float64)


def pelvis_positions(motion: Motion, body: BodyModel | None = None) -> np.ndarray:
    """Returns the pelvis of every frame, (T, 3) metres, in the frame of the motion."""
    return motion.transl + rest_pelvis_of(motion, body)


def joint_positions(motion: Motion, body: BodyModel | None = None) -> np.ndarray:
    """Returns the 22 body joints of every frame, (T, 22, 3) metres, in the frame of the motion."""
    with torch.no_grad():
        joints = _body_of(motion, body).joints(
            torch.from_numpy(motion.rotations()), torch.from_numpy(motion.betas), torch.from_numpy(motion.transl)
        )
    return joints.cpu().numpy()


def points_to_world(points: np.ndarray, cam2world: np.ndarray) -> np.ndarray:
    """Points of camera axes in world axes.

    Args:
        points: (T, N, 3) metres.
        cam2world: (T, 4, 4).

    Returns:
        (T, N, 3) metres.
    """
    return np.einsum("tij,tnj->tni", cam2world[:, :3, :3], points) + cam2world[:, None, :3, 3]


def foot_heights(motion: Motion, body: BodyModel | None = None) -> np.ndarray:
    """Returns the lowest point of the feet's skin in every frame, (T,) metres, in the y-up world of the motion."""
    model = _body_of(motion, body)
    feet = torch.from_numpy(np.flatnonzero(model.vertex_regions() == REGION["foot"]))
    parts = (torch.from_numpy(values) for values in (motion.rotations(), motion.betas, motion.transl))
    with torch.no_grad():
        chunks = zip(*(part.split(256) for part in parts), strict=True)
        return torch.cat([model.vertices(*chunk, index=feet)[..., 1].amin(1) for chunk in chunks]).cpu().numpy()


def with_one_shape(motion: Motion, body: BodyModel | None = None) -> Motion:
    """Returns the motion with the clip's mean betas in every frame; the pelvis keeps its path (transl may not)."""
    constant = motion.with_constant_betas()
    return replace(constant, transl=pelvis_positions(motion, body) - rest_pelvis_of(constant, body))


def camera_to_world(motion: Motion, body: BodyModel | None = None) -> Motion:
    """Returns the motion in world axes (y up); a motion already in them is returned as it is.

    Without `cam2world` the camera is taken as level and still: (x, y, z) → (x, -y, -z), the lowest point of the feet in
    the clip at y = 0. The camera so assumed is stored as `cam2world`, and `extras["world_is_assumed"]` is True.

    Args:
        motion: T frames.
        body: the body of the motion; None loads the one it names.
    """
    if motion.axes == "world":
        return motion
    rest_pelvis = rest_pelvis_of(motion, body)
    if motion.cam2world is not None:
        return transform(motion, motion.cam2world[:, :3, :3], motion.cam2world[:, :3, 3], rest_pelvis, "world")
    turned = transform(motion, LEVEL_CAMERA, np.zeros(3), rest_pelvis, "world")
    floor = float(foot_heights(turned, body).min())
    camera = np.eye(4)
    camera[:3, :3] = LEVEL_CAMERA
    camera[1, 3] = -floor
    return replace(
        turned,
        transl=turned.transl - np.array([0.0, floor, 0.0]),
        cam2world=np.repeat(camera[None], len(motion), axis=0),
        extras={**(motion.extras or {}), "world_is_assumed": True},
    )


def world_to_camera(motion: Motion, body: BodyModel | None = None) -> Motion:
    """Returns the motion in camera axes; a motion already in them is returned as it is.

    Args:
        motion: T frames with `cam2world`.
        body: the body of the motion; None loads the one it names.

    Raises:
        InputError: the motion has no `cam2world`.
    """
    if motion.axes == "camera":
        return motion
    if motion.cam2world is None:
        raise InputError(
            "a world motion without cam2world cannot be put into a camera", fix="store cam2world (T, 4, 4)"
        )
    rotation = motion.cam2world[:, :3, :3].astype(np.float64).transpose(0, 2, 1)
    offset = -np.einsum("tij,tj->ti", rotation, motion.cam2world[:, :3, 3].astype(np.float64))
    return transform(motion, rotation, offset, rest_pelvis_of(motion, body), "camera")


def mirror_axis_angles(pose: np.ndarray) -> np.ndarray:
    """The pose (…,22,3) in a mirror (x → −x): limbs change sides."""
    # a rotation is by an axial vector: the mirror keeps its x and negates its y and z
    return pose[..., MIRRORED, :] * -MIRROR


def mirror(motion: Motion, body: BodyModel | None = None, width: float | None = None) -> Motion:
    """Returns the left-right mirror image: x is negated in the frame of the motion and the limbs change sides.

    A camera motion so mirrored belongs to its video flipped left to right. The mirror is exact for a body whose
    skeleton is symmetric; the open body is so to half a millimetre, the licensed one roughly.

    Args:
        motion: T frames.
        body: the body of the motion; None loads the one it names.
        width: picture width in pixels, to mirror the principal point; None keeps it (it is at the centre).
    """
    pose = mirror_axis_angles(motion.axis_angles())
    rest_pelvis = rest_pelvis_of(motion, body)
    cam2world = motion.cam2world
    if cam2world is not None:
        flip = np.diag([*MIRROR, 1.0])
        cam2world = flip @ cam2world @ flip
    intrinsics = motion.intrinsics
    if intrinsics is not None and width is not None:
        intrinsics = intrinsics.copy()
        intrinsics[0, 2] = width - intrinsics[0, 2]
    return replace(
        motion,
        body_pose=pose[:, 1:],
        global_orient=pose[:, 0],
        transl=(motion.transl + rest_pelvis) * MIRROR - rest_pelvis,
        cam2world=cam2world,
        intrinsics=intrinsics,
    )


def _body_of(motion: Motion, body: BodyModel | None) -> BodyModel:
    if body is None:
        return load_body(motion.body)
    if body.name != motion.body:
        raise InputError(f"the motion is of the body {motion.body!r}, not {body.name!r}", fix="load the body it names")
    return body
