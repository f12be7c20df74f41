"""`Motion`: one person's SMPL-X parameters over time, in metres and radians, in the frame that `axes` names.

Axes: "camera" is OpenCV (x right, y down, z forward), "world" is y up. Frame i is at time i / fps.
`transl` is not the pelvis: pelvis = transl + J0(betas), see `unimo.motion.frames`.
Everything is checked once, at construction; a `Motion` that exists is well formed. Hands are flat and the jaw closed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import roma
import torch

from unimo.errors import InputError
from unimo.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle

AXES = ("camera", "world")
BODIES = ("open", "smplx")
NUM_BETAS = 10
NUM_BODY_JOINTS = 21


@dataclass(frozen=True, eq=False)
class Motion:
    """SMPL-X motion of one person; float32 arrays, T frames.

    Attributes:
        body_pose: (T, 21, 3) axis-angle of the body joints, parent-relative, radians.
        betas: (T, 10) shape coefficients of the body `body`; a single (10,) row is repeated.
        global_orient: (T, 3) axis-angle of the root in the frame `axes`.
        transl: (T, 3) SMPL-X translation in metres.
        fps: frames per second, > 0.
        axes: "camera" or "world".
        body: "open" or "smplx": the body that `betas` belong to.
        cam2world: optional (T, 4, 4) rigid camera pose per frame, x_world = cam2world @ x_camera.
        intrinsics: optional (3, 3) pinhole matrix in pixels.
        extras: optional small notes that travel with the motion, such as `world_is_assumed`.

    Raises:
        InputError: a wrong shape, a value that is not finite, fps <= 0, an unknown axes or body name.
    """

    body_pose: np.ndarray
    betas: np.ndarray
    global_orient: np.ndarray
    transl: np.ndarray
    fps: float
    axes: str = "camera"
    body: str = "open"
    cam2world: np.ndarray | None = None
    intrinsics: np.ndarray | None = None
    extras: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        def set_field(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)  # the dataclass is frozen

        transl = _checked("transl", self.transl, (None, 3))
        frames = len(transl)
        if frames == 0:
            raise InputError("a motion needs at least one frame, this one has none")
        betas = np.asarray(self.betas)
        if betas.ndim == 1:
            betas = np.repeat(betas[None], frames, axis=0)
        set_field("transl", transl)
        set_field("betas", _checked("betas", betas, (frames, NUM_BETAS)))
        set_field("body_pose", _checked("body_pose", self.body_pose, (frames, NUM_BODY_JOINTS, 3)))
        set_field("global_orient", _checked("global_orient", self.global_orient, (frames, 3)))
        set_field("fps", _checked_fps(self.fps))
        if self.axes not in AXES:
            raise InputError(f"unknown axes {self.axes!r}", fix=f"one of {', '.join(AXES)}")
        if self.body not in BODIES:
            raise InputError(f"unknown body {self.body!r}", fix=f"one of {', '.join(BODIES)}")
        if self.cam2world is not None:
            cam2world = _checked("cam2world", self.cam2world, (frames, 4, 4))
            _check_rigid(cam2world)
            set_field("cam2world", cam2world)
        if self.intrinsics is not None:
            intrinsics = _checked("intrinsics", self.intrinsics, (3, 3))
            if intrinsics[0, 0] <= 0 or intrinsics[1, 1] <= 0:
                raise InputError("the focal lengths in intrinsics must be positive", fix="give pixels, not millimetres")
            set_field("intrinsics", intrinsics)
        if self.extras is not None and not isinstance(self.extras, Mapping):
            raise InputError(f"extras must be a dictionary, not {type(self.extras).__name__}")

    def __len__(self) -> int:
        return len(self.transl)

    def __getitem__(self, frames: slice) -> Motion:
        """Returns the frames of a slice; a step of n keeps every n-th frame and divides fps by n.

        Raises:
            InputError: not a slice, a step below 1, or no frame left.
        """
        if not isinstance(frames, slice):
            raise InputError(f"a motion is cut with a slice, not with {type(frames).__name__}", fix="motion[i : i + 1]")
        step = 1 if frames.step is None else frames.step
        if step < 1:
            raise InputError(f"a motion cannot be cut with step {step}", fix="a step of 1 or more")
        if len(range(*frames.indices(len(self)))) == 0:
            raise InputError(f"the slice {frames.start}:{frames.stop} holds none of the {len(self)} frames")
        return replace(
            self,
            body_pose=self.body_pose[frames],
            betas=self.betas[frames],
            global_orient=self.global_orient[frames],
            transl=self.transl[frames],
            fps=self.fps / step,
            cam2world=None if self.cam2world is None else self.cam2world[frames],
        )

    @property
    def duration(self) -> float:
        """Seconds from the first frame to the last."""
        return (len(self) - 1) / self.fps

    @classmethod
    def from_rotations(
        cls, rotations: np.ndarray, betas: np.ndarray, transl: np.ndarray, fps: float, **fields: Any
    ) -> Motion:
        """Builds a motion from matrices.

        Args:
            rotations: (T, 22, 3, 3) rotation matrices, joint 0 the global orientation.
            betas: (T, 10) or (10,).
            transl: (T, 3) metres.
            fps: frames per second.
            **fields: the other fields of `Motion`.
        """
        rotations = _checked("rotations", rotations, (None, NUM_BODY_JOINTS + 1, 3, 3))
        axis_angle = matrix_to_axis_angle(torch.from_numpy(rotations).double()).numpy()
        return cls(
            body_pose=axis_angle[:, 1:], betas=betas, global_orient=axis_angle[:, 0], transl=transl, fps=fps, **fields
        )

    def axis_angles(self) -> np.ndarray:
        """Returns (T, 22, 3) axis-angle, joint 0 the global orientation."""
        return np.concatenate([self.global_orient[:, None], self.body_pose], axis=1)

    def rotations(self) -> np.ndarray:
        """Returns (T, 22, 3, 3) rotation matrices, joint 0 the global orientation."""
        return axis_angle_to_matrix(torch.from_numpy(self.axis_angles()).double()).float().numpy()

    def with_constant_betas(self) -> Motion:
        """Returns the motion with its shape replaced by the mean over the clip."""
        return replace(self, betas=np.repeat(self.betas.mean(axis=0, keepdims=True), len(self), axis=0))

    def resample(self, fps: float) -> Motion:
        """Returns the motion at another frame rate: slerp for rotations, linear for the rest.

        The first frame stays; the result covers no time after the last frame of the source.

        Raises:
            InputError: fps is not a positive number.
        """
        fps = _checked_fps(fps)
        # the tolerance keeps the last frame when the ratio is a whole number up to rounding
        count = int(np.floor(self.duration * fps + 1e-6)) + 1
        return self.at(np.minimum(np.arange(count) * (self.fps / fps), len(self) - 1), fps)

    def at(self, positions: np.ndarray, fps: float) -> Motion:
        """The motion at frame positions between its own: slerp for rotations, linear for the rest.

        Args:
            positions: (N,) fractional frame numbers, 0 to len - 1.
            fps: rate of the result, which is taken as it is.
        """
        first = np.minimum(positions.astype(np.int64), max(len(self) - 2, 0))
        second = np.minimum(first + 1, len(self) - 1)
        weight = positions - first

        def linear(values: np.ndarray) -> np.ndarray:
            shaped = weight.reshape(-1, *[1] * (values.ndim - 1))
            return values[first] * (1 - shaped) + values[second] * shaped

        cam2world = None
        if self.cam2world is not None:
            cam2world = linear(self.cam2world)
            turn = matrix_to_axis_angle(torch.from_numpy(self.cam2world[:, :3, :3]).double()).numpy()
            turn = slerp(turn[first], turn[second], weight)
            cam2world[:, :3, :3] = axis_angle_to_matrix(torch.from_numpy(turn)).numpy()
        pose = self.axis_angles()
        pose = slerp(pose[first], pose[second], weight[:, None])
        return replace(
            self,
            body_pose=pose[:, 1:],
            betas=linear(self.betas),
            global_orient=pose[:, 0],
            transl=linear(self.transl),
            fps=fps,
            cam2world=cam2world,
        )


def slerp(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Interpolates axis-angle rotations along the shortest arc.

    Args:
        first: (..., 3) axis-angle at weight 0.
        second: (..., 3) axis-angle at weight 1.
        weight: broadcasts to (...).

    Returns:
        (..., 3) float64 axis-angle.
    """
    start = roma.rotvec_to_unitquat(torch.from_numpy(np.asarray(first, dtype=np.float64)))
    end = roma.rotvec_to_unitquat(torch.from_numpy(np.asarray(second, dtype=np.float64)))
    turn = roma.unitquat_to_rotvec(roma.quat_product(roma.quat_conjugation(start), end))
    step = roma.rotvec_to_unitquat(turn * torch.from_numpy(np.asarray(weight, dtype=np.float64))[..., None])
    return roma.unitquat_to_rotvec(roma.quat_product(start, step)).numpy()


def _checked(name: str, values: Any, shape: tuple[int | None, ...]) -> np.ndarray:
    """Returns `values` as a contiguous float32 array of `shape` (None is any size)."""
    try:
        array = np.ascontiguousarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} is not an array of numbers") from error
    fits = array.ndim == len(shape) and all(want in (None, size) for want, size in zip(shape, array.shape, strict=True))
    if not fits:
        wanted = ", ".join("T" if size is None else str(size) for size in shape)
        what = f"{name} has shape {array.shape}, expected ({wanted})"
        raise InputError(what, fix="one clip of one person, T frames in every array")
    finite = np.isfinite(array)
    if not finite.all():
        frame = f" (first at frame {np.argwhere(~finite)[0, 0]})" if shape[0] != 3 else ""
        raise InputError(f"{name} holds a value that is NaN or infinite{frame}", fix="cut or repair those frames")
    return array


def _checked_fps(fps: Any) -> float:
    try:
        value = float(fps)
    except (TypeError, ValueError) as error:
        raise InputError(f"fps must be a number, not {fps!r}") from error
    if not np.isfinite(value) or value <= 0:
        raise InputError(f"fps must be a positive number, not {value:g}")
    return value


def _check_rigid(transforms: np.ndarray) -> None:
    rotation = transforms[:, :3, :3].astype(np.float64)
    identity = np.abs(rotation @ rotation.transpose(0, 2, 1) - np.eye(3)).max() < 1e-3
    last_row = np.abs(transforms[:, 3] - np.array([0, 0, 0, 1])).max() < 1e-5
    if not (identity and last_row and (np.linalg.det(rotation) > 0).all()):
        raise InputError(
            "cam2world is not a rigid transform (rotation with determinant +1, last row 0 0 0 1)",
            fix="give x_world = cam2world @ x_camera, without scale or mirroring",
        )
