"""AIST++ `motions/*.pkl`: SMPL (male) at 60 frames/s in a y-up world, and nine cameras.

In: smpl_poses (N, 72), smpl_scaling (1,), smpl_trans (N, 3). The poses live in a world `smpl_scaling` times larger
than metres: SMPL's translation is smpl_trans / smpl_scaling, and so is the cameras'. Also read where they lie beside
`motions`: ignore_list.txt (sequences passed over) and cameras/mapping.txt with cameras/SETTING.json (name, matrix,
rotation, translation). Out: camera axes of camera c01, or world axes without `cameras`. The subject is the dancer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from unimo.data.importers.base import ImportedMotion, ImportOptions, Source, find_files, own_rate
from unimo.data.importers.bodies import matrices_of, rigid, smpl_motion, with_camera
from unimo.data.importers.fields import flat, numbers, record_of, same_length
from unimo.data.unpickle import read_pickle
from unimo.errors import InputError

FPS = 60.0
CAMERA = "c01"


def find(source: Path) -> list[Source]:
    """The sequences of `motions/` or of the folder above it, or one file."""
    folder = source / "motions" if (source / "motions").is_dir() else source
    return find_files(folder, "*.pkl", "motion of AIST++ (.pkl)")


def read(source: Source, options: ImportOptions) -> Iterator[ImportedMotion]:
    """The one motion of a file."""
    fps, name, root = own_rate(options, FPS, "AIST++"), source.path.stem, source.path.resolve().parent.parent
    if name in _words(root / "ignore_list.txt"):
        raise InputError("it is in ignore_list.txt: AIST++ could not fit it", fix="leave it out")
    record = record_of(read_pickle(source.path), "the file", ("smpl_poses", "smpl_scaling", "smpl_trans"))
    pose = record["smpl_poses"]
    pose = pose.reshape(len(pose), -1) if isinstance(pose, np.ndarray) and pose.ndim == 3 else pose
    pose = numbers(pose, "smpl_poses", (None, 72))
    transl = numbers(record["smpl_trans"], "smpl_trans", (None, 3))
    scale = float(flat(record["smpl_scaling"], "smpl_scaling", 1)[0])
    same_length(smpl_poses=pose, smpl_trans=transl)
    if not (np.isfinite(scale) and scale > 0):
        raise InputError(f"smpl_scaling is {scale:g}", fix="fetch the file anew")
    extras = {"source": "aist", "source_model": "smpl", "source_gender": "male"}
    motion = smpl_motion(pose, transl / scale, fps, "male", axes="world", extras=extras)
    camera = _camera(root / "cameras", name)
    if camera is not None:
        rotation = matrices_of(numbers(camera["rotation"], "rotation", (3,)))[None]
        offset = numbers(camera["translation"], "translation", (3,))[None] / scale
        world2cam = np.repeat(rigid(rotation, offset), len(motion), axis=0)
        motion = with_camera(motion, world2cam, numbers(camera["matrix"], "matrix", (3, 3)))
    video = name.replace("cAll", CAMERA) + ".mp4" if camera is not None else None
    dancer = next((part for part in name.split("_") if part[:1] == "d" and part[1:].isdigit()), name)
    notes = {"scaling": scale, "distortions": camera.get("distortions") if camera else None}
    yield ImportedMotion(name, f"aist_{dancer}", motion, np.arange(len(motion)), video, gender="male", notes=notes)


def _words(path: Path) -> set[str]:
    return set(path.read_text(encoding="utf-8", errors="replace").split()) if path.is_file() else set()


def _camera(folder: Path, name: str) -> dict[str, Any] | None:
    """What the setting of a sequence says of camera c01, or None without the folder `cameras`."""
    mapping = folder / "mapping.txt"
    if not mapping.is_file():
        return None
    lines = (line.split() for line in mapping.read_text(encoding="utf-8", errors="replace").splitlines())
    settings = dict(line for line in lines if len(line) == 2)
    # the name is a file's, not a path's
    path = folder / f"{Path(settings.get(name, '')).name}.json"
    if name not in settings or not path.is_file():
        raise InputError(f"cameras/mapping.txt names no setting for {name}, or its .json is missing", str(folder))
    try:
        cameras = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise InputError(f"it is no JSON ({error})", str(path), "fetch it anew") from error
    keys = ("name", "rotation", "translation", "matrix")
    found = [record_of(camera, "a camera", keys) for camera in (cameras if isinstance(cameras, list) else [])]
    if not (chosen := [camera for camera in found if camera["name"] == CAMERA]):
        raise InputError(f"it has no camera {CAMERA}", str(path), "fetch it anew")
    return chosen[0]
