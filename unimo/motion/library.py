"""A library of motions out of a user's files: AMASS npz, UniMo's own npz, BVH.

In: files, folders or zips. Out: `NamedMotion`s (world frame, y up, open body) at the files' own frame rate. BVH is
retargeted once and put on the floor y = 0; npz keeps the floor of its file. A file that cannot be used is listed with
its reason.
"""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from unimo.body import JOINT_NAMES, LIMB_JOINTS, load_body
from unimo.errors import InputError
from unimo.motion.bvh import parse_bvh
from unimo.motion.files import KINDS, MotionFile, count_kinds, find_files
from unimo.motion.ground import standing_soles
from unimo.motion.motion import Motion
from unimo.motion.retarget import retarget, retarget_errors

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class NamedMotion:
    """One motion: its file's name (`MotionFile.name`), who performed it, the motion, and what it shows in words."""

    name: str
    subject: str
    motion: Motion
    text: str = ""


def _read(file: MotionFile) -> tuple[Motion | None, str]:
    """The motion of a file, or None and the reason why not."""
    try:
        return file.read(), ""
    except InputError as error:
        return None, error.what


def _one_thread() -> None:
    torch.set_num_threads(1)


def _read_all(files: Sequence[MotionFile], workers: int, progress: Progress) -> Iterator[tuple[Motion | None, str]]:
    load_body("open").low_poly(1000)  # built here once, before workers would each build it
    if workers <= 1:
        for done, file in enumerate(files, 1):
            yield _read(file)
            progress(done, len(files))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        for done, result in enumerate(pool.map(_read, files), 1):
            yield result
            progress(done, len(files))


class MotionLibrary(Sequence[NamedMotion]):
    """Motions in a fixed order.

    Attributes:
        skipped: (name, reason) of files that were asked for and could not be used.
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

    def at_least(self, seconds: float) -> MotionLibrary:
        """The motions that are at least so long; how many are not is logged.

        Raises:
            InputError: none is.
        """
        kept = [named for named in self if named.motion.duration >= seconds]
        if not kept:
            longest = max(self, key=lambda named: named.motion.duration)
            raise InputError(
                f"no motion is as long as a window needs ({seconds:.2f} s)",
                where=f"{len(self)} motions, the longest {longest.name} with {longest.motion.duration:.2f} s",
                fix="give longer motions",
            )
        if len(kept) < len(self):
            logger.info("%d of %d motions are shorter than %.2f s: left out", len(self) - len(kept), len(self), seconds)
        short = [(named.name, f"shorter than {seconds:.2f} s") for named in self if named.motion.duration < seconds]
        return MotionLibrary(kept, [*self.skipped, *short])

    @classmethod
    def from_files(
        cls,
        sources: Sequence[str | Path],
        subjects: set[str] | None = None,
        workers: int = 1,
        progress: Progress = lambda done, total: None,
    ) -> MotionLibrary:
        """Reads motions; BVH is retargeted to the open body, or taken from the cache.

        Args:
            sources: .npz and .bvh files, folders of them (zips in them too), or zips.
            subjects: only motions of these subjects (`MotionFile.subject`); all when None.
            workers: processes; 1 works in this process.
            progress: called with (files done, files in all).

        Raises:
            InputError: a source does not exist or holds no motion file, a subject is not there, or no motion is left.
        """
        files, where = find_files(sources), ", ".join(str(source) for source in sources)
        known = {file.subject for file in files}
        if missing := sorted((subjects or set()) - known):
            what = f"the motions have no subject {', '.join(missing)}"
            raise InputError(what, where, f"subjects out of: {', '.join(sorted(known))}")
        files = [file for file in files if subjects is None or file.subject in subjects]
        motions, skipped = [], []
        for file, (motion, reason) in zip(files, _read_all(files, workers, progress), strict=True):
            if motion is None:
                logger.warning("%s is left out: %s", file, reason)
                skipped.append((file.name, reason))
            else:
                motions.append(NamedMotion(file.name, file.subject, motion, file.text))
        if not motions:
            what = f"none of the files ({count_kinds(files)}) can be used; the first reason: {skipped[0][1]}"
            raise InputError(what, where, f"give {KINDS}")
        return cls(motions, skipped)


def retarget_report(
    sources: Sequence[str | Path], subjects: set[str] | None = None, walking: Sequence[str] = ()
) -> dict[str, float | dict[str, float]]:
    """How near the fitted bodies come to the mocap, for the clips that can be retargeted.

    Args:
        sources: BVH files, folders or zips of them.
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
    for file in find_files(sources):
        if file.suffix != ".bvh" or (subjects is not None and file.subject not in subjects):
            continue
        with file.open() as content:
            bvh = parse_bvh(content.read().decode("utf-8-sig"), file.name)
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
