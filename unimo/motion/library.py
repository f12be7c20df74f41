"""A library of motions made from mocap files: retargeted once, kept in the user's cache.

In: BVH files, folders or zips of them. Out: `NamedMotion`s (world frame, y up, floor at y = 0, open body, zero betas)
at the files' own frame rate. The cache key holds the file's hash and the versions of the retargeting and of the body,
so that a changed file or a changed method is retargeted anew. A clip that cannot be used is listed with its reason.
"""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from unimo.assets import cache_dir
from unimo.body import JOINT_NAMES, LIMB_JOINTS, load_body
from unimo.body.build_open import BUILD_VERSION
from unimo.errors import InputError
from unimo.motion.bvh import parse_bvh
from unimo.motion.ground import standing_soles
from unimo.motion.motion import Motion
from unimo.motion.npz import load_motion, save_motion
from unimo.motion.retarget import RETARGET_VERSION, retarget, retarget_errors

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class NamedMotion:
    """One clip: its file's name without suffix, the subject who performed it, and the motion."""

    name: str
    subject: str
    motion: Motion


@dataclass(frozen=True)
class _File:
    """A BVH file on disk (member None) or in a zip."""

    path: Path
    member: str | None = None

    @property
    def name(self) -> str:
        return Path(self.member or self.path).stem

    def read(self) -> bytes:
        if self.member is None:
            return self.path.read_bytes()
        with zipfile.ZipFile(self.path) as archive:
            return archive.read(self.member)


def subject_of(name: str) -> str:
    """The subject in a clip's name: "cmu_35_01" and "35_01" give "35"; a name of one part is its own subject."""
    parts = name.split("_")
    if parts[0].lower() == "cmu" and len(parts) > 1:
        parts = parts[1:]
    return parts[0]


def _bvh_files(source: Path) -> list[_File]:
    """BVH files of a file, a folder (searched to any depth) or a zip, in the order of their names."""
    if source.is_dir():
        files = [_File(path) for path in source.rglob("*") if path.suffix.lower() == ".bvh"]
        if not files:
            archives = sorted(source.glob("*.zip"))
            return [file for archive in archives for file in _bvh_files(archive)]
    elif not source.is_file():
        raise InputError("no such mocap file or folder", where=str(source))
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            files = [_File(source, member) for member in archive.namelist() if member.lower().endswith(".bvh")]
    elif source.suffix.lower() == ".bvh":
        files = [_File(source)]
    else:
        raise InputError("mocap must be a .bvh file, a folder or a zip of them", where=str(source))
    return sorted(files, key=lambda file: file.member or str(file.path))


def _retargeted(file: _File) -> tuple[Motion | None, str]:
    """The clip's motion, from the cache or made now; or None and the reason why not."""
    try:
        content = file.read()
        key = hashlib.sha256(content).hexdigest()[:24]
        path = cache_dir() / "retargeted" / f"{key}_r{RETARGET_VERSION}_b{BUILD_VERSION}.npz"
        if (kept := _kept(path)) is not None:
            return kept, ""
        motion = retarget(parse_bvh(content.decode("utf-8-sig"), f"{file.path} {file.member or ''}".strip()))
        save_motion(path, motion)
        return motion, ""
    except UnicodeDecodeError:
        return None, "it is not text"
    except (InputError, OSError, zipfile.BadZipFile) as error:
        return None, str(error)
    except ValueError as error:  # such as an axis that turns twice
        return None, f"it is no BVH that can be retargeted: {error}"


def _kept(path: Path) -> Motion | None:
    """The motion in the cache; None when there is none, or it is damaged."""
    if not path.is_file():
        return None
    try:
        return load_motion(path)
    except (InputError, OSError) as error:
        logger.warning("retargeting anew: %s", error)
        return None


def _one_thread() -> None:
    torch.set_num_threads(1)


def _all_retargeted(files: Sequence[_File], workers: int, progress: Progress) -> Iterator[tuple[Motion | None, str]]:
    load_body("open").low_poly(1000)  # built here once, before workers would each build it
    if workers <= 1:
        for done, file in enumerate(files, 1):
            yield _retargeted(file)
            progress(done, len(files))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        for done, result in enumerate(pool.map(_retargeted, files), 1):
            yield result
            progress(done, len(files))


class MotionLibrary(Sequence[NamedMotion]):
    """Motions in a fixed order.

    Attributes:
        skipped: (name, reason) of clips that were asked for and could not be used.
    """

    def __init__(self, motions: Sequence[NamedMotion], skipped: Sequence[tuple[str, str]] = ()) -> None:
        self._motions, self.skipped = tuple(motions), tuple(skipped)

    def __len__(self) -> int:
        return len(self._motions)

    def __getitem__(self, index):  # type: ignore[override]
        return self._motions[index]

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subjects, sorted."""
        return tuple(sorted({motion.subject for motion in self._motions}))

    @property
    def seconds(self) -> float:
        """Length of all motions together."""
        return sum(len(named.motion) / named.motion.fps for named in self._motions)

    @classmethod
    def from_mocap(
        cls,
        sources: Sequence[str | Path],
        subjects: set[str] | None = None,
        workers: int = 1,
        progress: Progress = lambda done, total: None,
    ) -> MotionLibrary:
        """Retargets mocap clips to the open body, or takes them from the cache.

        Args:
            sources: BVH files, folders of them (or of zips), or zips.
            subjects: only clips of these subjects (`subject_of` the file's name); all when None.
            workers: processes; 1 works in this process.
            progress: called with (clips done, clips in all).

        Raises:
            InputError: a source does not exist or is no mocap, a subject is not there, or no clip is left to use.
        """
        files = [file for source in sources for file in _bvh_files(Path(source))]
        known = {subject_of(file.name) for file in files}
        if missing := sorted((subjects or set()) - known):
            raise InputError(
                f"the mocap has no subject {', '.join(missing)}",
                where=", ".join(str(source) for source in sources),
                fix=f"subjects out of: {', '.join(sorted(known)) or 'none'}",
            )
        files = [file for file in files if subjects is None or subject_of(file.name) in subjects]
        motions, skipped = [], []
        for file, (motion, reason) in zip(files, _all_retargeted(files, workers, progress), strict=True):
            if motion is None:
                logger.warning("mocap clip %s is left out: %s", file.name, reason)
                skipped.append((file.name, reason))
            else:
                motions.append(NamedMotion(file.name, subject_of(file.name), motion))
        if not motions:
            raise InputError(
                "no mocap clip can be used" + (f"; the first reason: {skipped[0][1]}" if skipped else ""),
                where=", ".join(str(source) for source in sources),
                fix="give BVH files of the CMU skeleton, and subjects that occur in their names",
            )
        return cls(motions, skipped)


def retarget_report(
    sources: Sequence[str | Path], subjects: set[str] | None = None, walking: Sequence[str] = ()
) -> dict[str, float | dict[str, float]]:
    """How near the fitted bodies come to the mocap, for the clips that can be retargeted.

    Args:
        sources: as for `MotionLibrary.from_mocap`.
        subjects: only clips of these subjects; all when None.
        walking: names of clips in which the soles of standing feet are measured against the floor.

    Returns:
        `limb_mm` and `all_mm` (mean distance of 14 limb joints and of all 22 to the targets of the fit), the same with
        `_literal` (targets that take every bone's direction from the file), `per_joint_mm`, `frames`, `clips`; with
        `walking`, `sole_mm` (mean distance of standing soles from the floor) and `sole_within_20_mm` (share).

    Raises:
        InputError: a source is missing, or one of its clips is no BVH of a known skeleton.
    """
    errors, literal, soles = [], [], []
    body = load_body("open")
    for file in (file for source in sources for file in _bvh_files(Path(source))):
        if subjects is not None and subject_of(file.name) not in subjects:
            continue
        bvh = parse_bvh(file.read().decode("utf-8-sig"), file.name)
        errors.append(retarget_errors(bvh, body))
        literal.append(retarget_errors(bvh, body, literal=True))
        if file.name in walking:
            motion = retarget(bvh, body)
            rotations, transl = torch.as_tensor(motion.rotations()), torch.as_tensor(motion.transl)
            soles.append(standing_soles(rotations, transl, motion.fps, body).abs().numpy())
    if not errors:
        raise InputError("no mocap clip to report on", where=", ".join(str(source) for source in sources))
    fitted, measured = 1e3 * np.concatenate(errors), 1e3 * np.concatenate(literal)
    limbs = list(LIMB_JOINTS)
    report: dict[str, float | dict[str, float]] = {
        "clips": float(len(errors)),
        "frames": float(len(fitted)),
        "limb_mm": float(fitted[:, limbs].mean()),
        "all_mm": float(fitted.mean()),
        "limb_literal_mm": float(measured[:, limbs].mean()),
        "all_literal_mm": float(measured.mean()),
        "per_joint_mm": {name: float(x) for name, x in zip(JOINT_NAMES, fitted.mean(0), strict=True)},
    }
    if soles:
        heights = 1e3 * np.concatenate(soles)
        report |= {"sole_mm": float(heights.mean()), "sole_within_20_mm": float((heights <= 20).mean())}
    return report
