"""SMPL and SMPL-X parameters of other projects as `Motion`s, with the pelvis where the source has it.

SMPL's 21 body joints after the root are SMPL-X's; its two hand joints are dropped. SMPL's betas are of another shape
space: the motion goes to the open body with zero betas, and the pelvis keeps its path. SMPL-X motions stay on SMPL-X;
betas of its male and female bodies, which are not the neutral body's, become zeros.
All bodies turn about their rest pelvis J0: pelvis = transl + J0. Metres, radians.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from unimo.body import load_body
from unimo.errors import InputError
from unimo.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, rotation_between
from unimo.motion.frames import rest_pelvis_of, transform
from unimo.motion.motion import NUM_BETAS, Motion
from unimo.motion.npz import SMPLH_REST_PELVIS, smplx_rest_pelvis

# J0 of SMPL's mean shapes in metres; with betas it moves by centimetres
SMPL_REST_PELVIS = {
    "neutral": SMPLH_REST_PELVIS,
    "male": np.array([-0.0022, -0.2408, 0.0286]),
    "female": np.array([-0.0009, -0.2114, 0.0278]),
}
GENDERS = {"m": "male", "f": "female", "n": "neutral", "male": "male", "female": "female", "neutral": "neutral"}
# cosine: the bodies' mean up must be this near to an axis of their world
_UPRIGHT = 0.7


def gender_of(value: Any) -> str:
    """One of male, female, neutral, out of what files say ("m", b"female", an array of one text); "" is neutral.

    Raises:
        InputError: it is another word, so nobody knows whose body the betas and the pelvis belong to.
    """
    item = np.asarray(value).reshape(-1)
    text = item[0] if item.size else ""
    text = (text.decode("latin1") if isinstance(text, bytes) else str(text)).strip() or "neutral"
    if text.lower() not in GENDERS:
        raise InputError(f"its gender is {text!r}, not male, female or neutral", fix="leave it out, or mend the file")
    return GENDERS[text.lower()]


def smpl_motion(pose: np.ndarray, transl: np.ndarray, fps: float, gender: str = "neutral", **fields: Any) -> Motion:
    """A motion of SMPL on the open body.

    Args:
        pose: (T, n) axis-angle, n at least 66: root and body joints first.
        transl: (T, 3) SMPL's translation.
        fps: frames per second.
        gender: of the SMPL body.
        **fields: further fields of `Motion`.
    """
    motion = Motion(
        pose[:, 3:66].reshape(len(pose), 21, 3), np.zeros(NUM_BETAS), pose[:, :3], transl, fps, body="open", **fields
    )
    return at_pelvis(motion, transl + SMPL_REST_PELVIS[gender])


def smplx_motion(
    pose: np.ndarray, betas: np.ndarray, transl: np.ndarray, fps: float, gender: str = "neutral", **fields: Any
) -> Motion:
    """A motion of SMPL-X; betas beyond the tenth, and those of a male or female body, are left out.

    Args:
        pose: (T, n) axis-angle, n at least 66: root and body joints first.
        betas: (n,) or (T, n) with n at least 10.
        transl: (T, 3) SMPL-X's translation.
        fps: frames per second.
        gender: of the SMPL-X body.
        **fields: further fields of `Motion`.
    """
    if betas.shape[-1] < NUM_BETAS:
        raise InputError(f"betas has shape {betas.shape}, expected {NUM_BETAS} or more in a row")
    shape = betas[..., :NUM_BETAS] if gender == "neutral" else np.zeros(NUM_BETAS)
    return Motion(pose[:, 3:66].reshape(len(pose), 21, 3), shape, pose[:, :3], transl, fps, body="smplx", **fields)


def rest_pelvis(motion: Motion) -> np.ndarray:
    """J0 of a motion, (T, 3) or (3,): of SMPL-X's mean shape where the licensed body is not on this machine."""
    return rest_pelvis_of(motion, load_body("open")) if motion.body == "open" else smplx_rest_pelvis(motion)


def pelvis(motion: Motion) -> np.ndarray:
    """(T, 3) metres, in the frame of the motion."""
    return motion.transl.astype(np.float64) + rest_pelvis(motion)


def at_pelvis(motion: Motion, path: np.ndarray) -> Motion:
    """The motion with its pelvis on a path (T, 3)."""
    return replace(motion, transl=path - rest_pelvis(motion))


def matrices_of(turns: np.ndarray) -> np.ndarray:
    """(..., 3, 3) float64 rotations of axis-angle (..., 3)."""
    return axis_angle_to_matrix(torch.from_numpy(np.asarray(turns, dtype=np.float64))).numpy()


def root_matrices(motion: Motion) -> np.ndarray:
    """(T, 3, 3) float64 root rotations."""
    return matrices_of(motion.global_orient)


def axis_angles(matrices: np.ndarray) -> np.ndarray:
    """(..., 3) axis-angle of rotation matrices (..., 3, 3).

    Raises:
        InputError: they are no rotations.
    """
    off = np.abs(matrices @ np.swapaxes(matrices, -1, -2) - np.eye(3)).max(initial=0)
    if not off < 1e-2 or not (np.linalg.det(matrices) > 0).all():
        raise InputError("a pose holds matrices that are no rotations", fix="fetch the file anew")
    return matrix_to_axis_angle(torch.from_numpy(np.ascontiguousarray(matrices, dtype=np.float64))).numpy()


def rigid(rotation: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """(T, 4, 4) of rotations (T, 3, 3) and offsets (T, 3)."""
    transforms = np.tile(np.eye(4), (len(rotation), 1, 1))
    transforms[:, :3, :3], transforms[:, :3, 3] = rotation, offset
    return transforms


def inverse(transforms: np.ndarray) -> np.ndarray:
    """The inverses of rigid transforms (T, 4, 4)."""
    rotation = transforms[:, :3, :3].transpose(0, 2, 1)
    return rigid(rotation, -np.einsum("tij,tj->ti", rotation, transforms[:, :3, 3]))


def with_camera(world: Motion, world2cam: np.ndarray, intrinsics: np.ndarray | None = None) -> Motion:
    """A world motion in the axes of its camera, by the J0 rule.

    Args:
        world: T frames, any world axes.
        world2cam: (T, 4, 4) x_camera = world2cam @ x_world, OpenCV.
        intrinsics: (3, 3) pixels.
    """
    moved = transform(world, world2cam[:, :3, :3], world2cam[:, :3, 3], rest_pelvis(world), "camera")
    return replace(moved, cam2world=inverse(world2cam), intrinsics=intrinsics)


def with_world(camera: Motion, world_orient: np.ndarray, world_pelvis: np.ndarray) -> Motion:
    """A camera motion with the `cam2world` that the same body's root in the world gives.

    Args:
        camera: T frames, camera axes.
        world_orient: (T, 3, 3) root rotations in the world, y up.
        world_pelvis: (T, 3) pelvis in the world.
    """
    rotation = world_orient @ root_matrices(camera).transpose(0, 2, 1)
    offset = world_pelvis - np.einsum("tij,tj->ti", rotation, pelvis(camera))
    return replace(camera, cam2world=rigid(rotation, offset))


def to_y_up(world: Motion) -> tuple[np.ndarray, str]:
    """The rotation (3, 3) that turns a world whose up axis is not known to y up, and the axis found, such as "-z".

    Up is the axis nearest to the mean direction of the bodies' own up, so people must be upright most of the time.

    Raises:
        InputError: no axis is near it.
    """
    mean = root_matrices(world)[:, :, 1].mean(0)
    axis = int(np.abs(mean).argmax())
    if abs(mean[axis]) < _UPRIGHT * float(np.linalg.norm(mean)) or abs(mean[axis]) < _UPRIGHT / 2:
        raise InputError("it cannot be told which axis of its world is up", fix="give a longer sequence")
    up = np.sign(mean[axis]) * np.eye(3)[axis]
    rotation = rotation_between(torch.from_numpy(up), torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)).numpy()
    return rotation, f"{'-' if mean[axis] < 0 else '+'}{'xyz'[axis]}"


def turned(world: Motion, rotation: np.ndarray) -> Motion:
    """A world motion after a rotation (3, 3) of the world, by the J0 rule."""
    return transform(world, rotation, np.zeros(3), rest_pelvis(world), "world")
