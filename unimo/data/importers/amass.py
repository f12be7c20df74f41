"""AMASS `*_poses.npz` (SMPL-H) and `*_stageii.npz` (SMPL-X), read by `unimo.motion.npz`.

Betas that are lost, those of SMPL-H and of male and female bodies, are in the notes as the file has them.
Both spellings of the frame rate are read. `*_stagei.npz` and `shape.npz`, which hold no motion, are passed over. World
axes, y up. The subject is the folder of the file with the folder above it ("CMU_01"), for numbers repeat in every set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from unimo.data.importers.base import ImportedMotion, ImportOptions, Source, find_files, own_rate
from unimo.data.importers.bodies import at_pelvis, gender_of, pelvis
from unimo.data.importers.fields import numbers
from unimo.errors import InputError
from unimo.motion.motion import NUM_BETAS
from unimo.motion.npz import load_motion


def find(source: Path) -> list[Source]:
    """The motions of a folder, or one file."""
    found = [each for each in find_files(source, "*.npz", "AMASS file") if _is_motion(each.path)]
    if not found:
        raise InputError("there are only *_stagei.npz and shape.npz here", str(source), "give *_poses or *_stageii.npz")
    root = source.resolve() if source.is_dir() else source.resolve().parent.parent
    return [replace(each, about={"subject": _subject(each.path.resolve(), root)}) for each in found]


def read(source: Source, options: ImportOptions) -> Iterator[ImportedMotion]:
    """The one motion of a file."""
    motion = load_motion(source.path)
    own_rate(options, motion.fps, source.path.name)
    gender = gender_of((motion.extras or {}).get("source_gender", ""))
    notes = {} if motion.body == "smplx" and gender == "neutral" else _lost_betas(source.path)
    if motion.body == "smplx" and gender != "neutral":
        motion = at_pelvis(replace(motion, betas=np.zeros(NUM_BETAS)), pelvis(motion))
    yield ImportedMotion(source.path.stem, source.about["subject"], motion, gender=gender, notes=notes)


def _lost_betas(path: Path) -> dict[str, list[float]]:
    """The betas of a file that has been read, all of them; their mean where they change over time."""
    with np.load(path, allow_pickle=False) as file:
        if "betas" not in file.files:
            return {}
        betas = numbers(file["betas"], "betas", (None,) * file["betas"].ndim)
    return {"betas": np.round(betas.reshape(-1, betas.shape[-1]).mean(0), 5).tolist()}


def _is_motion(path: Path) -> bool:
    return not (path.stem.endswith("_stagei") or path.stem == "shape" or path.stem.endswith("_shape"))


def _subject(path: Path, root: Path) -> str:
    folders = (root.name, *path.relative_to(root).parent.parts)
    return "_".join(folders[-2:])
