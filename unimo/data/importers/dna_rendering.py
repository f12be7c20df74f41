"""DNA-Rendering's annotations `*_annots.smc` (HDF5): SMPL-X in the world of the rig, and 60 calibrated cameras.

In, as the project's own reader has it: SMPLx/{betas (T or 1, 10), fullpose (T, 55, 3), transl (T, 3), scale},
Camera_Parameter/CAMERA/{K (3, 3), RT (4, 4) camera to world}, attributes actor_id and gender. 15 frames/s.
Out: camera axes of camera 00 (world axes without cameras); the world's up axis, which is written nowhere, is taken from
the bodies. Checked on self-written files only. Needs the package `h5py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from unimo.data.importers.base import ImportedMotion, ImportOptions, Source, find_files, own_rate
from unimo.data.importers.bodies import gender_of, inverse, smplx_motion, to_y_up, turned, with_camera
from unimo.data.importers.fields import flat, numbers, same_length
from unimo.errors import InputError, MissingAssetError

FPS = 15.0
CAMERA = "00"
# numbers in one array; ten minutes have a tenth of it
_LARGEST = 1 << 24


def find(source: Path) -> list[Source]:
    """The annotations of a folder, or one file."""
    return find_files(source, "*_annots.smc", "*_annots.smc of DNA-Rendering")


def read(source: Source, options: ImportOptions) -> Iterator[ImportedMotion]:
    """The one motion of a file."""
    fps = own_rate(options, FPS, "DNA-Rendering")
    arrays, about = _arrays(source.path)
    transl = numbers(arrays["transl"], "transl", (None, 3))
    pose = arrays["fullpose"]
    pose = numbers(pose.reshape(len(pose), -1) if pose.ndim == 3 else pose, "fullpose", (None, 165))
    betas = numbers(arrays["betas"], "betas", (None, None))
    frames = same_length(transl=transl, fullpose=pose)
    betas = betas if len(betas) == frames else np.repeat(betas[:1], frames, axis=0)
    extras = {"source": "dna-rendering", "source_model": "smplx", "source_gender": about["gender"]}
    world = smplx_motion(pose, betas, transl, fps, about["gender"], axes="world", extras=extras)
    rotation, up = to_y_up(world)
    motion = turned(world, rotation)
    if "RT" in arrays:
        cam2world = numbers(arrays["RT"], "RT", (4, 4))
        cam2world[:3] = rotation @ cam2world[:3]
        world2cam = inverse(np.repeat(cam2world[None], frames, axis=0))
        motion = with_camera(motion, world2cam, numbers(arrays["K"], "K", (3, 3)))
    name = source.path.stem.removesuffix("_annots")
    scale = float(flat(arrays["scale"], "scale", 1)[0])
    notes = {"betas": np.round(betas.mean(0), 5).tolist(), "up": up, "scale": scale}
    yield ImportedMotion(
        name,
        f"dna_{about['actor'] or name.split('_')[0]}",
        motion,
        np.arange(frames),
        f"{name}.smc camera {CAMERA}" if "RT" in arrays else None,
        gender=about["gender"],
        notes=notes,
    )


def _arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    try:
        import h5py  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingAssetError("DNA-Rendering's files are HDF5", fix='pip install "unimo[importers]"') from error
    try:
        with h5py.File(path, "r") as file:
            body: Any = file["SMPLx"]
            cameras: Any = file.get("Camera_Parameter", {})
            arrays = {key: _array(body, key) for key in ("betas", "fullpose", "transl")}
            arrays["scale"] = _array(body, "scale") if "scale" in body else np.ones(1)
            if CAMERA in cameras:
                arrays |= {key: _array(cameras[CAMERA], key) for key in ("K", "RT")}
            gender, actor = file.attrs.get("gender"), file.attrs.get("actor_id", "")
    except (OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise InputError(f"it cannot be read ({error})", str(path), "give an *_annots.smc, fetched whole") from error
    # all bodies are of a gender: betas of one that is not named are not the neutral body's
    gender = "unknown" if gender is None else gender_of(gender)
    return arrays, {"gender": gender, "actor": _text(actor)}


def _array(group: Any, key: str) -> np.ndarray:
    data = group[key]
    if data.size > _LARGEST:
        raise InputError(f"{key} claims {data.size} numbers", fix="fetch the file anew")
    return np.asarray(data[()])


def _text(value: Any) -> str:
    item = np.asarray(value).reshape(-1)[0]
    return item.decode("latin1") if isinstance(item, bytes) else str(item)
