"""AMASS `*_poses.npz` (SMPL-H) and `*_stageii.npz` (SMPL-X), read by `unimo.motion.npz`.

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
    notes = motion.extras or {}
    gender = gender_of(notes.get("source_gender", ""))
    if motion.body == "smplx" and gender != "neutral":
        motion = at_pelvis(replace(motion, betas=np.zeros(NUM_BETAS)), pelvis(motion))
    yield ImportedMotion(source.path.stem, source.about["subject"], motion, gender=gender)


def _is_motion(path: Path) -> bool:
    return not (path.stem.endswith("_stagei") or path.stem == "shape" or path.stem.endswith("_shape"))


def _subject(path: Path, root: Path) -> str:
    folders = (root.name, *path.relative_to(root).parent.parts)
    return "_".join(folders[-2:])
