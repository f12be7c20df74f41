"""BEDLAM's npz of a scene: SMPL-X of everyone in every picture, with the camera.

In, one row for each person in each picture: imgname (SEQUENCE/SEQUENCE_FRAME.png), pose_cam (N, 165), shape (N, 10 or
11), trans_cam (N, 3), cam_int (N, 3, 3), cam_ext (N, 4, 4), sub. The translation in the camera is trans_cam +
cam_ext[:, :3, 3]. Shapes are the neutral body's whatever `gender` says; the eleventh is left out. Frame numbers rise by
1 in the 30 fps release and by 5 in the 6 fps release: the rate follows from them.
Pictures of "closeup" scenes lie on their side: turned by 90 degrees clockwise they fit these labels, which are upright.
Out: camera axes, one motion a stretch of rows; the world is y up but turns with a camera that pans, and its origin is
each person's own.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from unimo.data.importers.base import ImportedMotion, ImportOptions, Source, find_files, own_rate
from unimo.data.importers.bodies import inverse, smplx_motion
from unimo.data.importers.fields import numbers
from unimo.errors import InputError
from unimo.motion.frames import LEVEL_CAMERA

VIDEO_FPS = 30.0
_PARTS = ("imgname", "pose_cam", "shape", "trans_cam", "cam_int", "cam_ext")
_FRAME = re.compile(r"(.+)_(\d+)\.\w+$")
_DAMAGED = (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, RuntimeError, MemoryError)
# a camera whose focal length varies by more than this share zooms
_ZOOMS = 1e-3


def find(source: Path) -> list[Source]:
    """The scenes of a folder, or one file."""
    return find_files(source, "*.npz", "scene of BEDLAM (.npz)")


def read(source: Source, options: ImportOptions) -> Iterator[ImportedMotion]:
    """Every person's stretches, in the order of the file."""
    arrays = _arrays(source.path)
    sequences, frames = _pictures(arrays["imgname"])
    people = np.asarray(arrays["sub"], str) if "sub" in arrays else np.array([""] * len(frames))
    step = _step(sequences, people, frames)
    fps = own_rate(options, VIDEO_FPS / step, f"frames of {source.path.name} are {step} apart, so it")
    for rows in _tracks(sequences, people, frames, step):
        yield _track(arrays, rows, source.path.stem, str(sequences[rows][0]), str(people[rows][0]), frames[rows], fps)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    key = "it"
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [key for key in _PARTS if key not in file.files]
            if missing:
                raise InputError(f"it has no {', '.join(missing)}", str(path), "give a processed npz of BEDLAM")
            arrays = {}
            for key in (*_PARTS, "sub"):
                if key in file.files:
                    arrays[key] = file[key]
    except _DAMAGED as error:
        what = f"{key} cannot be read ({error})"
        raise InputError(what, str(path), "copy or fetch the file anew; pickled arrays are never opened") from error
    texts = [arrays[key] for key in ("imgname", "sub") if key in arrays]
    count = len(texts[0]) if texts[0].ndim == 1 else 0
    if any(text.shape != (count,) or text.dtype.kind not in "US" for text in texts):
        raise InputError("imgname or sub is not a list of texts, one a row", str(path), "fetch the file anew")
    shapes = {"pose_cam": (count, 165), "shape": (count, None), "trans_cam": (count, 3)}
    for key, shape in {**shapes, "cam_int": (count, 3, 3), "cam_ext": (count, 4, 4)}.items():
        arrays[key] = numbers(arrays[key], key, shape)
    return arrays


def _pictures(names: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sequence and frame number of every row."""
    matches = [_FRAME.match(name.decode() if isinstance(name, bytes) else str(name)) for name in names]
    if not matches or None in matches:
        raise InputError("imgname is not SEQUENCE/SEQUENCE_FRAME.png", fix="give a processed npz of BEDLAM")
    found = [(match[1].split("/")[-1], int(match[2])) for match in matches if match]
    return np.array([sequence for sequence, _ in found]), np.array([frame for _, frame in found])


def _step(sequences: np.ndarray, people: np.ndarray, frames: np.ndarray) -> int:
    """How far frame numbers are apart, within a person's rows: the most frequent distance."""
    same = (sequences[1:] == sequences[:-1]) & (people[1:] == people[:-1])
    apart = np.diff(frames)[same]
    apart = apart[apart > 0]
    if not len(apart):
        raise InputError("no person has two frames in a row, so there is no motion", fix="leave the file out")
    return int(np.bincount(apart).argmax())


def _tracks(sequences: np.ndarray, people: np.ndarray, frames: np.ndarray, step: int) -> list[slice]:
    """Rows of one person in one sequence, `step` frames apart."""
    new = (sequences[1:] != sequences[:-1]) | (people[1:] != people[:-1]) | (np.diff(frames) != step)
    edges = [0, *(np.flatnonzero(new) + 1), len(frames)]
    return [slice(int(first), int(last)) for first, last in zip(edges[:-1], edges[1:], strict=True)]


def _track(
    arrays: dict[str, np.ndarray], rows: slice, scene: str, sequence: str, person: str, frames: np.ndarray, fps: float
) -> ImportedMotion:
    world2cam, focal = arrays["cam_ext"][rows], arrays["cam_int"][rows][:, 0, 0]
    extras = {"source": "bedlam", "source_model": "smplx"}
    motion = smplx_motion(
        arrays["pose_cam"][rows],
        arrays["shape"][rows],
        arrays["trans_cam"][rows] + world2cam[:, :3, 3],
        fps,
        axes="camera",
        extras=extras,
    )
    motion = replace(motion, cam2world=_cam2world(world2cam))
    notes: dict[str, Any] = {"world_turns_with_the_camera": True}
    if np.ptp(focal) > _ZOOMS * focal[0]:
        notes["focal"] = np.round(focal, 2).tolist()
    else:
        motion = replace(motion, intrinsics=arrays["cam_int"][rows][0])
    if "closeup" in scene:
        notes["rotate_pictures"] = "90 degrees clockwise"
    subject = f"bedlam_{person}" if person else f"bedlam_{scene}_{sequence}"
    return ImportedMotion(
        f"{scene}_{sequence}_{person}_f{frames[0]:06d}", subject, motion, frames, f"{scene}/png/{sequence}", notes=notes
    )


def _cam2world(world2cam: np.ndarray) -> np.ndarray:
    """BEDLAM's world is y down; its last column is that of homogeneous coordinates."""
    poses = inverse(world2cam)
    poses[:, :3] = LEVEL_CAMERA @ poses[:, :3]
    return poses
