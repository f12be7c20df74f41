"""3DPW `sequenceFiles/*/*.pkl`: SMPL of one or two people, with the camera of every frame.

In (a pickle of Python 2; keys may be bytes): sequence, poses[p] (F, 72), trans[p] (F, 3), betas[p] (10 or more),
genders[p] "m" or "f", cam_poses (F, 4, 4) world to camera, cam_intrinsics (3, 3), campose_valid[p] (F,). 30 frames/s;
row i is `imageFiles/SEQUENCE/image_%05d.jpg` of i (img_frame_ids points into the 60 Hz poses, not at pictures).
Out: camera axes with cam2world, the world turned to y up; frames whose camera is wrong are marked in `valid`, their
world motion is right. The file does not name people: train and test on the folders of those names.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from unimo.data.importers.base import ImportedMotion, ImportOptions, Source, find_files, own_rate
from unimo.data.importers.bodies import gender_of, rigid, smpl_motion, to_y_up, turned, with_camera
from unimo.data.importers.fields import numbers, record_of, same_length
from unimo.data.unpickle import read_pickle
from unimo.errors import InputError

FPS = 30.0
_PARTS = ("poses", "trans", "betas", "genders", "cam_poses", "cam_intrinsics", "campose_valid")


def find(source: Path) -> list[Source]:
    """The sequences of a folder, or one file."""
    return find_files(source, "*.pkl", "sequence of 3DPW")


def read(source: Source, options: ImportOptions) -> Iterator[ImportedMotion]:
    """One motion for each person of the sequence."""
    fps = own_rate(options, FPS, "3DPW")
    record = record_of(read_pickle(source.path), "the file", _PARTS)
    sequence = source.path.stem
    if not isinstance(record["poses"], list | tuple) or not record["poses"]:
        raise InputError("poses is not a list of people", fix="fetch the file anew")
    cameras = numbers(record["cam_poses"], "cam_poses", (None, 4, 4))
    usable = _usable(cameras)
    for person in range(len(record["poses"])):
        yield _person(record, sequence, person, cameras, usable, fps)


def _person(
    record: dict[str, Any], sequence: str, person: int, cameras: np.ndarray, usable: np.ndarray, fps: float
) -> ImportedMotion:
    pose = numbers(_of(record, "poses", person), "poses", (None, 72))
    transl = numbers(_of(record, "trans", person), "trans", (None, 3))
    valid = numbers(_of(record, "campose_valid", person), "campose_valid", (None,)) > 0
    same_length(poses=pose, trans=transl, cam_poses=cameras, campose_valid=valid)
    gender = gender_of(_of(record, "genders", person))
    betas = numbers(_of(record, "betas", person), "betas", (None,))[:10]
    extras = {"source": "3dpw", "source_model": "smpl", "source_gender": gender}
    world = smpl_motion(pose, transl, fps, gender, axes="world", extras=extras)
    rotation, up = to_y_up(world)
    world2cam = _held(cameras, usable)
    world2cam[:, :3, :3] = world2cam[:, :3, :3] @ rotation.T
    motion = with_camera(
        turned(world, rotation), world2cam, numbers(record["cam_intrinsics"], "cam_intrinsics", (3, 3))
    )
    return ImportedMotion(
        f"{sequence}_{person}",
        f"3dpw_{sequence}_{person}",
        motion,
        np.arange(len(motion)),
        f"imageFiles/{sequence}",
        valid & usable,
        gender,
        notes={"betas": np.round(betas, 5).tolist(), "up": up},
    )


def _of(record: dict[str, Any], key: str, person: int) -> Any:
    try:
        return record[key][person]
    except (LookupError, TypeError) as error:
        raise InputError(f"{key} has no person {person}", fix="fetch the file anew") from error


def _usable(cameras: np.ndarray) -> np.ndarray:
    """(F,) which camera poses are rigid transforms."""
    finite = np.isfinite(cameras).all((1, 2))
    rotation = np.where(finite.reshape(-1, 1, 1), cameras, 0)[:, :3, :3]
    turn = np.abs(rotation @ rotation.transpose(0, 2, 1) - np.eye(3)).max((1, 2)) < 1e-3
    return finite & turn & (np.linalg.det(rotation) > 0)


def _held(cameras: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """The cameras, with the last usable one in place of those that are not."""
    if not usable.any():
        raise InputError("no frame has a camera pose", fix="leave the sequence out")
    rows = np.maximum.accumulate(np.where(usable, np.arange(len(cameras)), int(usable.argmax())))
    return rigid(cameras[rows][:, :3, :3], cameras[rows][:, :3, 3])
