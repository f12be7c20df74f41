"""RICH `bodies/SET/SEQUENCE/FRAME/SUBJECT.pkl`: SMPL-X of the first camera of the rig, one pickle a frame and person.

In: each pickle transl (1, 3), global_orient (1, 3), body_pose (1, 63), betas (1, 10); the folder of the frame is its
number. Also read where they lie beside `bodies` (or under resource/): gender.json, scan_calibration/SCENE/calibration/
000.xml and multicam2world/SCENE_multicam2world.json (rotation R, translation t, scale c of rows: world = c x R + t).
Out: camera axes of camera 0, one motion a stretch of frames; cam2world, y up, with multicam2world only, because the
ground is level in no axis of the rig. 30 frames/s.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from unimo.data.importers.base import ImportedMotion, ImportOptions, Source, own_rate, split_at_gaps
from unimo.data.importers.bodies import gender_of, rigid, smplx_motion, to_y_up
from unimo.data.importers.fields import flat, numbers, record_of
from unimo.data.unpickle import read_pickle
from unimo.errors import InputError
from unimo.motion.frames import transform
from unimo.motion.motion import Motion

FPS = 30.0
_PARTS = ("transl", "global_orient", "body_pose", "betas")
_LARGEST_XML = 1 << 20


def find(source: Path) -> list[Source]:
    """The sequences in a folder: folders of frames, each a number with `SUBJECT.pkl` in it."""
    if not source.is_dir():
        raise InputError("RICH is read from a folder, one pickle a frame", str(source), "give bodies/ or a sequence")
    frames = {path.parent for path in source.rglob("*.pkl") if path.parent.name.isdigit()}
    sequences = sorted({frame.parent for frame in frames})
    if not sequences:
        raise InputError("there is no SEQUENCE/FRAME/SUBJECT.pkl here", str(source), "give bodies/ of RICH")
    return [Source(path, path.relative_to(source).as_posix() if path != source else path.name) for path in sequences]


def read(source: Source, options: ImportOptions) -> Iterator[ImportedMotion]:
    """Every person's stretches."""
    fps = own_rate(options, FPS, "RICH")
    people: dict[str, list[tuple[int, Path]]] = defaultdict(list)
    for path in source.path.glob("*/*.pkl"):
        if path.parent.name.isdigit():
            people[path.stem].append((int(path.parent.name), path))
    sequence, scene = source.path.name, source.path.name.split("_")[0]
    genders = _genders(source.path)
    for person, files in sorted(people.items()):
        files.sort()
        said = genders.get(str(int(person)) if person.isdigit() else person)
        # all bodies of RICH are male or female, so an unknown one's betas are not the neutral body's either
        gender = "unknown" if said is None else gender_of(said)
        motion, betas = _motion([path for _, path in files], fps, gender)
        motion = replace(motion, intrinsics=_intrinsics(source.path, scene))
        motion, notes = _with_world(motion, source.path, scene)
        imported = ImportedMotion(
            f"{sequence}_{person}",
            f"rich_{person}",
            motion,
            np.array([frame for frame, _ in files]),
            f"images/{sequence}/cam_00",
            gender=gender,
            notes={"betas": betas, **notes},
        )
        yield from split_at_gaps(imported)


def _motion(files: list[Path], fps: float, gender: str) -> tuple[Motion, list[float]]:
    rows: dict[str, list[np.ndarray]] = {key: [] for key in _PARTS}
    widths = {"transl": 3, "global_orient": 3, "body_pose": 63, "betas": None}
    for path in files:
        try:
            record = record_of(read_pickle(path), "the frame", _PARTS)
            for key in _PARTS:
                rows[key].append(numbers(record[key], key, (1, widths[key]))[0])
        except InputError as error:
            raise InputError(error.what, str(path), error.fix) from error
    pose = np.concatenate([rows["global_orient"], rows["body_pose"]], axis=1)
    extras = {"source": "rich", "source_model": "smplx", "source_gender": gender}
    betas = numbers(rows["betas"], "betas", (len(files), None))
    motion = smplx_motion(pose, betas, np.array(rows["transl"]), fps, gender, axes="camera", extras=extras)
    return motion, np.round(betas.mean(0), 5).tolist()


def _beside(sequence: Path, name: str) -> Path | None:
    """A file of the data set, looked for from the sequence upwards."""
    places = (folder / part / name for folder in list(sequence.resolve().parents)[:4] for part in ("", "resource"))
    return next((path for path in places if path.is_file()), None)


def _genders(sequence: Path) -> dict[str, Any]:
    return _json(path) if (path := _beside(sequence, "gender.json")) else {}


def _with_world(motion: Motion, sequence: Path, scene: str) -> tuple[Motion, dict[str, Any]]:
    path = _beside(sequence, f"multicam2world/{scene}_multicam2world.json")
    if path is None:
        return motion, {"no_world": "multicam2world was not found"}
    record = record_of(_json(path), path.name, ("R", "t", "c"))
    scale = float(flat(record["c"], "c", 1)[0])
    if not scale > 0:
        raise InputError(f"its scale c is {scale:g}", str(path), "fetch it anew")
    # row vectors: x R is R^T x; divided by the scale the world is in metres again
    rotation = numbers(record["R"], "R", (3, 3)).T
    offset = flat(record["t"], "t", 3) / scale
    upright = transform(motion, rotation, offset, np.zeros(3), "world")
    turn, up = to_y_up(upright)
    pose = rigid((turn @ rotation)[None], (turn @ offset)[None])
    return replace(motion, cam2world=np.repeat(pose, len(motion), axis=0)), {"up": up}


def _intrinsics(sequence: Path, scene: str) -> np.ndarray | None:
    path = _beside(sequence, f"scan_calibration/{scene}/calibration/000.xml")
    if path is None:
        return None
    if path.stat().st_size > _LARGEST_XML:
        raise InputError("a calibration larger than a megabyte", str(path))
    try:
        text = ElementTree.fromstring(path.read_text()).findtext("./Intrinsics/data") or ""
        return numbers([float(word) for word in text.split()], "Intrinsics", (9,)).reshape(3, 3)
    except (ElementTree.ParseError, ValueError, UnicodeDecodeError) as error:
        raise InputError(f"a damaged calibration ({error})", str(path), "fetch it anew") from error


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise InputError(f"it is no JSON ({error})", str(path), "fetch it anew") from error
