"""Windows of real data sets as clips: the importers' motions beside the user's own copy of the pictures.

In: the folder of 3DPW, RICH or Human4DiT, a bundle's settings. Out: a folder of clips in the cache: windows of the
bundle's length and rate (pictures the nearest in time, motions interpolated), squares with the principal point in their
middle and the true focal length, one person. Numbers on them are not the field's: bodies are the bundle's, see
docs/evaluation.md.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from unimo import __version__
from unimo.assets import cache_dir
from unimo.bundle import BundleSettings
from unimo.data.importers import importer
from unimo.data.importers.base import ImportedMotion, ImportOptions, Source, stretches
from unimo.data.importers.bodies import at_pelvis, pelvis
from unimo.data.importers.ledger import stamp_of
from unimo.errors import InputError
from unimo.evaluation.datasets import Progress, made_by_one
from unimo.evaluation.datasets_pictures import CentredSquare, ImageFolder, Pictures, VideoFile, find_images, write_clip
from unimo.files import write_text
from unimo.motion.motion import NUM_BETAS, Motion

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RealSet:
    """What is known of a data set.

    Attributes:
        annotations: folders of annotations under the data set's folder; the first that exists is read.
        truth: what its motions are.
        field: the field's protocol, which is not what is measured here.
        where: what must lie in the folder.
    """

    annotations: tuple[str, ...]
    truth: str
    field: str
    where: str


REAL = {
    "3dpw": RealSet(
        ("sequenceFiles/test", "sequenceFiles", "."),
        "SMPL fitted to IMUs and pictures; here its rotations on the bundle's body of mean shape",
        "14 LSP joints by a regressor on SMPL's vertices, hips' middle at the origin; gendered true bodies",
        "sequenceFiles/ and imageFiles/",
    ),
    "rich": RealSet(
        ("bodies/test", "bodies", "."),
        "SMPL-X fitted to scans; here its rotations on the bundle's body of mean shape",
        "24 joints of SMPL by its regressor, hips' middle at the origin; gendered true bodies",
        "bodies/, images/ (folders SEQUENCE/cam_00), scan_calibration/ and, for the world, multicam2world/",
    ),
    "human4dit": RealSet(
        (".",),
        "PHALP's estimate of SMPL, not a measurement, at a distance that is not metric",
        "none is published with it",
        "the CSV, its .pkl files and the videos under the names of the clips (CLIP.mp4)",
    ),
}


@dataclass(frozen=True)
class _Window:
    """One clip to be: its name, the motion at the bundle's rate, and the numbers of its pictures."""

    name: str
    subject: str
    motion: Motion
    pictures: np.ndarray
    place: ImportedMotion


def real_clips(
    name: str, data: Path, settings: BundleSettings, count: int | None = None, progress: Progress | None = None
) -> tuple[Path, dict[str, Any]]:
    """The folder of a data set's clips, made now where the cache does not hold it, and what a report says of it.

    Args:
        name: a key of `REAL`.
        data: the user's copy.
        settings: of the bundle.
        count: so many windows, spread evenly over the set; None takes all.
        progress: called with a stage, done and total.

    Raises:
        InputError: no annotations, no pictures, or no window that fits.
    """
    known, reader = REAL[name], importer(name)
    source = next(path for path in (data / part for part in known.annotations) if path.exists())
    units = reader.find(source)
    asked = {"version": __version__, "data": str(data.resolve()), "count": count, "settings": _settings(settings)}
    asked["stamps"] = [[unit.key, *stamp_of(unit.path)] for unit in units]
    digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:12]
    folder = cache_dir() / "evaluation" / name / digest
    record = folder / "dataset.json"
    if not record.is_file():
        with made_by_one(folder.parent):
            if not record.is_file():  # another run may have made it meanwhile
                windows, about = _chosen(name, units, source, data, settings, count)
                _write(folder, windows, data, settings, about, progress)
    return folder, json.loads(record.read_text(encoding="utf-8"))


def _chosen(
    name: str, units: Sequence[Source], source: Path, data: Path, settings: BundleSettings, count: int | None
) -> tuple[list[_Window], dict[str, Any]]:
    """The windows that become clips, and the record of the set.

    Raises:
        InputError: there is none.
    """
    known, (windows, left_out) = REAL[name], _windows(name, units, data, settings)
    if not windows:
        what = f"{name} has no window of {settings.frames} frames that can be used: {_reasons(left_out)}"
        raise InputError(what, str(source), f"give a folder with {known.where}")
    about = {
        "name": name, "truth": known.truth, "field_protocol_not_followed": known.field, "windows": len(windows),
        "left_out": dict(left_out),
    }  # fmt: skip
    if count is not None:
        rows = np.linspace(0, len(windows) - 1, min(count, len(windows))).round().astype(int)
        windows = [windows[row] for row in np.unique(rows)]
    return windows, about


def _windows(
    name: str, units: Sequence[Source], data: Path, settings: BundleSettings
) -> tuple[list[_Window], Counter[str]]:
    """Every window that can be used, and how many stretches or windows were left out, by reason."""
    windows: list[_Window] = []
    left_out: Counter[str] = Counter()
    options = ImportOptions(video=data if name == "human4dit" else None)
    for unit in units:
        try:
            people = list(importer(name).read(unit, options))
        except InputError as error:
            left_out[error.what] += 1
            continue
        crowd = _crowd(people)
        for imported in people:
            if imported.motion.axes != "camera" or imported.motion.intrinsics is None:
                left_out["no camera with intrinsics"] += 1
            elif imported.frames is None:
                left_out["no frame numbers"] += 1
            else:
                usable = np.array([int(frame) not in crowd for frame in imported.frames])
                if not usable.all():
                    left_out["stretches with more than one person"] += 1
                if imported.valid is not None:
                    usable &= imported.valid
                windows += _cut(imported, usable, settings)
    return windows, left_out


def _crowd(people: Sequence[ImportedMotion]) -> set[int]:
    """Pictures in which more than one person is annotated."""
    seen = Counter(int(frame) for each in people if each.frames is not None for frame in each.frames)
    return {frame for frame, times in seen.items() if times > 1}


def _cut(imported: ImportedMotion, usable: np.ndarray, settings: BundleSettings) -> Iterator[_Window]:
    """Windows one after another, without overlap, of the runs of usable rows."""
    motion, frames = imported.motion, imported.frames
    assert frames is not None
    span = (settings.frames - 1) * motion.fps / settings.fps
    rows = np.flatnonzero(usable)
    for run in stretches(rows) if len(rows) else []:
        first, last = int(rows[run.start]), int(rows[run.stop - 1])
        start = float(first)
        while start + span <= last + 1e-6:
            positions = np.minimum(start + np.arange(settings.frames) * (motion.fps / settings.fps), len(motion) - 1)
            cut = on_body(motion.at(positions, settings.fps), settings.body)
            pictures = frames[np.floor(positions + 0.5).astype(int).clip(first, last)]
            yield _Window(f"{imported.name}_{int(pictures[0]):06d}", imported.subject, cut, pictures, imported)
            start = float(np.ceil(start + span + 1e-6))


def on_body(motion: Motion, body: str) -> Motion:
    """The motion on a body: betas of another body become zeros, and the pelvis keeps its path."""
    if motion.body == body:
        return motion
    return at_pelvis(replace(motion, body=body, betas=np.zeros(NUM_BETAS)), pelvis(motion))


def _write(
    folder: Path,
    windows: Sequence[_Window],
    data: Path,
    settings: BundleSettings,
    about: dict[str, Any],
    progress: Progress | None,
) -> None:
    """Writes clips, `manifest.jsonl` and at last `dataset.json`."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "clips").mkdir(parents=True)
    lines, opened = [], {}
    for index, window in enumerate(windows):
        key = str(window.place.video)
        if key not in opened:
            opened = {key: _pictures(window.place, data)}  # one at a time: windows of a sequence stand together
        frames = opened[key].read(window.pictures)
        assert window.motion.intrinsics is not None
        square = CentredSquare.of(*frames.shape[1:3], window.motion.intrinsics, settings.side)
        name = f"{index:06d}"
        write_clip(folder / "clips" / name, square.apply(frames), window.motion, square.intrinsics)
        lines.append({"name": name, "subject": window.subject, "source": window.name, "fps": settings.fps})
        if progress:
            progress("reading pictures", index + 1, len(windows))
    (folder / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    write_text(folder / "dataset.json", json.dumps(about) + "\n")


def _pictures(place: ImportedMotion, data: Path) -> Pictures:
    """Where the pictures of a motion are.

    Raises:
        InputError: they are not there.
    """
    assert place.video is not None
    if Path(place.video).is_file():
        return VideoFile(Path(place.video))
    return ImageFolder(find_images(data, place.video))


def _settings(settings: BundleSettings) -> list[Any]:
    return [settings.frames, settings.fps, settings.side, settings.body]


def _reasons(left_out: Counter[str]) -> str:
    return "; ".join(f"{reason} ({times})" for reason, times in left_out.most_common(3)) or "all are too short"
