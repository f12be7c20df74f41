"""`motion.npz`: a `Motion` under AMASS's keys plus ours, and plain AMASS files read into a `Motion`.

AMASS keys: poses (T, 165) = global 3, body 63, jaw 3, eyes 6, hands 90 (zeros: hands flat, jaw closed), root_orient,
pose_body, trans, betas (10,) or, when they change over time, (T, 10), mocap_frame_rate, gender, surface_model_type.
Ours: unimo_format, fps, axes, body, cam2world, intrinsics, extras (JSON). Axis-angle in radians, metres, in the frame
`axes` names. Files without `axes` are plain AMASS, z up, and are turned to y up. Nothing is ever pickled or unpickled.
"""

from __future__ import annotations

import functools
import json
import logging
import zipfile
import zlib
from collections.abc import Mapping
from lzma import LZMAError
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from unimo.body import load_body
from unimo.errors import InputError, MissingAssetError
from unimo.files import atomic_write
from unimo.motion.frames import rest_pelvis_of, transform_root
from unimo.motion.motion import AXES, BODIES, NUM_BETAS, Motion

log = logging.getLogger(__name__)

FORMAT_VERSION = 1
RATE_KEYS = ("fps", "mocap_frame_rate", "mocap_framerate")
KNOWN_KEYS = {"poses", "root_orient", "pose_body", "trans", "betas", "gender", "surface_model_type", *RATE_KEYS}
KNOWN_KEYS |= {"unimo_format", "axes", "body", "cam2world", "intrinsics", "extras"}
# what numpy and zipfile raise on a file that is broken, or claims to be larger than the memory
_DAMAGED = (
    ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, LZMAError, RuntimeError, MemoryError,
)  # fmt: skip
SMPLX_POSE = 165
_SHAPE_FIX = "one clip of one person, in the layout of AMASS or docs/formats.md"
# width of `poses`: SMPL without and with hands' roots, SMPL-H, SMPL-X; all start with root 3 and 21 body joints
POSE_WIDTHS = (66, 72, 156, SMPLX_POSE)
Z_UP_TO_Y_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
# rest pelvis of the neutral mean shapes, for files whose own body model is not on this machine
SMPLH_REST_PELVIS = np.array([-0.0018, -0.2233, 0.0282])
SMPLX_REST_PELVIS = np.array([0.003, -0.351, 0.012])


def save_motion(path: str | Path, motion: Motion) -> None:
    """Writes a motion; the file appears whole or not at all.

    Raises:
        InputError: `extras` cannot be written as JSON.
    """
    frames = len(motion)
    pose_body = motion.body_pose.reshape(frames, -1)
    poses = np.zeros((frames, SMPLX_POSE), dtype=np.float32)
    poses[:, :3], poses[:, 3:66] = motion.global_orient, pose_body
    constant = bool((motion.betas == motion.betas[:1]).all())
    arrays: dict[str, Any] = {
        "poses": poses,
        "root_orient": motion.global_orient,
        "pose_body": pose_body,
        "trans": motion.transl,
        "betas": motion.betas[0] if constant else motion.betas,
        "num_betas": np.int64(NUM_BETAS),
        "gender": np.str_("neutral"),
        "surface_model_type": np.str_("smplx"),
        "mocap_frame_rate": np.float64(motion.fps),
        "mocap_time_length": np.float64(frames / motion.fps),
        "unimo_format": np.int64(FORMAT_VERSION),
        "fps": np.float64(motion.fps),
        "axes": np.str_(motion.axes),
        "body": np.str_(motion.body),
    }
    if motion.cam2world is not None:
        arrays["cam2world"] = motion.cam2world
    if motion.intrinsics is not None:
        arrays["intrinsics"] = motion.intrinsics
    if motion.extras:
        try:
            arrays["extras"] = np.str_(json.dumps(motion.extras, allow_nan=False, sort_keys=True))
        except (TypeError, ValueError) as error:
            raise InputError(f"extras of the motion cannot be written as JSON: {error}", where=str(path)) from error
    with atomic_write(path) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, **arrays)


def load_motion(file: str | Path | BinaryIO) -> Motion:
    """Reads a path or an open file: a file of `save_motion`, or a plain AMASS file (SMPL-X, SMPL-H or SMPL).

    A plain AMASS file becomes a world motion (y up). SMPL-X betas are kept, for the body "smplx"; those of SMPL and
    SMPL-H belong to neither of our bodies and become zeros of the open body, whose pelvis then follows the same path.
    Poses of hands, jaw and eyes are dropped.

    Raises:
        InputError: the file is missing, damaged, pickled, of another kind, or holds wrong shapes or values.
    """
    source = Path(file) if isinstance(file, str | Path) else file
    where = str(file) if isinstance(source, Path) else None
    arrays = _read_arrays(source, where)
    try:
        if "axes" in arrays:
            return _our_motion(arrays)
        return _amass_motion(arrays)
    except InputError as error:
        raise InputError(error.what, where=error.where or where, fix=error.fix) from error


def _read_arrays(source: Path | BinaryIO, where: str | None) -> dict[str, np.ndarray]:
    """Reads the keys we know; others (markers, labels, ...) are never opened."""
    if isinstance(source, Path) and not source.is_file():
        raise InputError("no motion file here", where=where, fix="give the path of a .npz file")
    if not zipfile.is_zipfile(source):
        raise InputError(_no_npz(source), where=where, fix="give a whole .npz file of plain arrays")
    if not isinstance(source, Path):
        source.seek(0)  # the check has moved it
    key = None
    arrays = {}
    try:
        with np.load(source, allow_pickle=False) as file:
            for key in sorted(KNOWN_KEYS & set(file.files)):
                arrays[key] = file[key]
    except _DAMAGED as error:
        if "allow_pickle" in str(error):
            what = f"{key} holds pickled Python objects, which are never opened: they can run code"
            fix = "save plain arrays: np.savez(path, **{name: np.asarray(value, dtype=np.float32)})"
            raise InputError(what, where=where, fix=fix) from error
        raise InputError(f"a damaged .npz file ({error})", where=where, fix="copy or export it anew") from error
    return arrays


def _our_motion(arrays: Mapping[str, np.ndarray]) -> Motion:
    version = int(_scalar(arrays, "unimo_format", FORMAT_VERSION))
    if version > FORMAT_VERSION:
        raise InputError(f"motion format {version} is newer than this program", fix="update unimo")
    axes, body = _text(arrays, "axes", ""), _text(arrays, "body", "smplx")
    if axes not in AXES or body not in BODIES:
        raise InputError(
            f"axes {axes!r} or body {body!r} is unknown", fix=f"axes: {', '.join(AXES)}; body: {', '.join(BODIES)}"
        )
    extras = None
    if "extras" in arrays:
        try:
            extras = json.loads(_text(arrays, "extras", "{}"))
        except json.JSONDecodeError as error:
            raise InputError("extras is not JSON", fix="store a JSON object as text") from error
    return Motion(
        **_parameters(arrays),
        fps=_frame_rate(arrays),
        axes=axes,
        body=body,
        cam2world=arrays.get("cam2world"),
        intrinsics=arrays.get("intrinsics"),
        extras=extras,
    )


def _amass_motion(arrays: Mapping[str, np.ndarray]) -> Motion:
    fields = _parameters(arrays)
    model = _text(arrays, "surface_model_type", "smplx" if _pose_width(arrays) == SMPLX_POSE else "smplh")
    extras: dict[str, Any] = {"source": "amass", "source_model": model, "source_gender": _text(arrays, "gender", "")}
    # AMASS also writes "smplx_locked_head"
    is_smplx = model.startswith("smplx")
    if not is_smplx:
        fields["betas"] = np.zeros(NUM_BETAS, dtype=np.float32)
    motion = Motion(
        **fields, fps=_frame_rate(arrays), axes="world", body="smplx" if is_smplx else "open", extras=extras
    )
    # source and target differ for SMPL-H: the pelvis turns about the rest pelvis of the file's own body
    if is_smplx:
        source = target = smplx_rest_pelvis(motion)
    else:
        source, target = SMPLH_REST_PELVIS, rest_pelvis_of(motion, load_body("open"))
    global_orient, transl = transform_root(motion.global_orient, motion.transl, Z_UP_TO_Y_UP, np.zeros(3), source)
    return Motion(
        motion.body_pose,
        motion.betas,
        global_orient,
        transl + source - target,
        fps=motion.fps,
        axes="world",
        body=motion.body,
        extras=extras,
    )


def smplx_rest_pelvis(motion: Motion) -> np.ndarray:
    """J0 of an SMPL-X motion in metres: (T, 3) by the licensed body, or (3,) of its mean shape when that is not here.

    The mean is off by centimetres, the same in every frame of one shape.
    """
    try:
        return rest_pelvis_of(motion)
    except MissingAssetError:
        _warn_of_the_mean()
        return SMPLX_REST_PELVIS


def _no_npz(source: Path | BinaryIO) -> str:
    """Why a file that is no zip is no .npz."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            start = file.read(2)
    else:
        source.seek(0)
        start = source.read(2)
    if start == b"PK":
        return "this .npz file is cut off"
    return "not a .npz file (pickled files are never opened: they can run code)"


@functools.cache
def _warn_of_the_mean() -> None:
    """Once a process: a folder of AMASS has thousands of files."""
    log.info("the licensed SMPL-X body is not here: its mean rest pelvis is used, centimetres may be off")


def _check_agreement(poses: np.ndarray, root: np.ndarray, body: np.ndarray) -> None:
    """Refuses a file whose two ways to say the pose differ, or where one of them holds no number."""
    both = (root, body)
    if poses.ndim == 2 and all(part.ndim == 2 and len(part) == len(poses) for part in both):
        said = np.concatenate(both, axis=1)
        if said.shape[1] == 66 <= poses.shape[1] and not np.allclose(poses[:, :66], said, atol=1e-4):
            what = "poses differs from root_orient and pose_body, or holds a value that is NaN"
            raise InputError(what, fix="remove the keys that are wrong")


def _parameters(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the four parameter arrays of a motion from AMASS keys."""
    if "trans" not in arrays or not ("poses" in arrays or {"root_orient", "pose_body"} <= set(arrays)):
        raise InputError(
            "not a motion: `trans` with `poses`, or with `root_orient` and `pose_body`, is needed",
            fix="an AMASS *_poses.npz or *_stageii.npz, or a motion.npz of unimo (not *_stagei.npz or shape.npz)",
        )
    if "root_orient" in arrays and "pose_body" in arrays:
        root, body = arrays["root_orient"], arrays["pose_body"]
    else:
        poses = arrays["poses"]
        if poses.ndim != 2 or poses.shape[1] not in POSE_WIDTHS:
            widths = ", ".join(map(str, POSE_WIDTHS))
            raise InputError(f"poses has shape {poses.shape}, expected (T, n) with n one of {widths}", fix=_SHAPE_FIX)
        root, body = poses[:, :3], poses[:, 3:66]
    if {"poses", "root_orient", "pose_body"} <= set(arrays):
        _check_agreement(arrays["poses"], root, body)
    if body.ndim != 2 or body.shape[1] != 63:
        raise InputError(f"pose_body has shape {body.shape}, expected (T, 63)", fix=_SHAPE_FIX)
    betas = arrays.get("betas", np.zeros(NUM_BETAS, dtype=np.float32))
    if betas.ndim not in (1, 2) or betas.shape[-1] < NUM_BETAS:
        wanted = f"({NUM_BETAS},) or more, or (T, {NUM_BETAS})"
        raise InputError(f"betas has shape {betas.shape}, expected {wanted}", fix=_SHAPE_FIX)
    return {
        "body_pose": body.reshape(len(body), 21, 3),
        "betas": betas[..., :NUM_BETAS],
        "global_orient": root,
        "transl": arrays["trans"],
    }


def _frame_rate(arrays: Mapping[str, np.ndarray]) -> float:
    rates = {key: float(_scalar(arrays, key, np.nan)) for key in RATE_KEYS if key in arrays}
    if not rates:
        raise InputError("the file does not say its frame rate", fix="store mocap_frame_rate (frames per second)")
    if max(rates.values()) - min(rates.values()) > 1e-3:
        listed = ", ".join(f"{key} = {rate:g}" for key, rate in rates.items())
        raise InputError(f"the file names two frame rates: {listed}", fix="keep the true one; resample, never relabel")
    return next(iter(rates.values()))


def _pose_width(arrays: Mapping[str, np.ndarray]) -> int:
    return arrays["poses"].shape[-1] if "poses" in arrays else SMPLX_POSE


def _scalar(arrays: Mapping[str, np.ndarray], key: str, default: float) -> float:
    value = np.asarray(arrays.get(key, default))
    if value.size != 1 or value.dtype.kind not in "iuf":
        raise InputError(f"{key} is not one number")
    return value.reshape(()).item()


def _text(arrays: Mapping[str, np.ndarray], key: str, default: str) -> str:
    value = np.asarray(arrays.get(key, default))
    if value.size != 1 or value.dtype.kind not in "US":
        raise InputError(f"{key} is not a text")
    item = value.reshape(()).item()
    return item.decode("utf-8", errors="replace") if isinstance(item, bytes) else str(item)
