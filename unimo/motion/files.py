"""A user's motion files: which there are in files, folders and zips, whose they are, and the motion in each.

In: paths. Out: `MotionFile`s; `read()` gives a `Motion` in world axes (y up) of the open body at the file's own rate.
BVH is retargeted once and kept in the user's cache: the key holds the file's hash and the versions of the retargeting
and of the body, so that a changed file or a changed method is retargeted anew. npz is read anew each time. An
`index.csv` beside the files may say in words what they show.
"""

from __future__ import annotations

import csv
import hashlib
import logging
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from io import BytesIO, StringIO
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np

from unimo.assets import cache_dir
from unimo.body.build_open import BUILD_VERSION
from unimo.errors import InputError
from unimo.motion.bvh import parse_bvh
from unimo.motion.frames import camera_to_world, rest_pelvis_of, with_one_shape
from unimo.motion.motion import NUM_BETAS, Motion
from unimo.motion.npz import load_motion, save_motion, smplx_rest_pelvis
from unimo.motion.retarget import RETARGET_VERSION, retarget

logger = logging.getLogger(__name__)

SUFFIXES = (".bvh", ".npz")
INDEX_NAME = "index.csv"
# a motion of hours takes a hundredth of this
_LARGEST = 4 << 30
KINDS = "AMASS *_stageii.npz or *_poses.npz, UniMo's motion.npz, or BVH of the CMU skeleton"


@dataclass(frozen=True)
class MotionFile:
    """A file on disk (member None) or in a zip."""

    path: Path
    member: str | None = None

    def __str__(self) -> str:
        return str(self.path / self.member if self.member else self.path)

    @property
    def suffix(self) -> str:
        """Such as ".bvh" or ".npz", lower case."""
        return Path(self.member or self.path).suffix.lower()

    @property
    def name(self) -> str:
        """The name without suffix; an npz has its folder before it, because AMASS repeats names in every folder."""
        stem = Path(self.member or self.path).stem
        return f"{self.subject}/{stem}" if self.suffix == ".npz" else stem

    @property
    def subject(self) -> str:
        """Who moves: the name of an npz file's folder, or what a BVH file's name says (`subject_of`)."""
        if self.suffix != ".npz":
            return subject_of(self.name)
        if self.member is None:
            return self.path.parent.resolve().name
        return Path(self.member).parent.name or self.path.stem

    @property
    def text(self) -> str:
        """What the motion shows, from the row of its name in an `index.csv`; empty when there is none.

        The index lies in the file's folder; for a file in a zip in the same folder of the zip, at the zip's top, or
        beside the zip.
        """
        stem = Path(self.member or self.path).stem
        places: list[tuple[Path, str | None]] = [(self.path.with_name(INDEX_NAME), None)]
        if self.member is not None:
            inside = dict.fromkeys((str(PurePosixPath(self.member).with_name(INDEX_NAME)), INDEX_NAME))
            places = [*((self.path, member) for member in inside), *places]
        indices = (_descriptions(*place, _changed(place[0])) for place in places)
        return next((index[stem] for index in indices if stem in index), "")

    def open(self) -> BinaryIO:
        """The content, which can be searched."""
        if self.member is None:
            return self.path.open("rb")
        with zipfile.ZipFile(self.path) as archive:
            if archive.getinfo(self.member).file_size > _LARGEST:
                raise InputError(f"it would be larger than {_LARGEST >> 30} GiB unpacked", str(self))
            return BytesIO(archive.read(self.member))

    def read(self) -> Motion:
        """The motion in world axes, of the open body; its betas are zero unless the file's are of the open body.

        Raises:
            InputError: the file is no motion, damaged, pickled, or of a skeleton that is not known.
        """
        if self.suffix == ".zip":
            raise InputError("a damaged .zip file", str(self), "copy or fetch it anew")
        try:
            with self.open() as content:
                if self.suffix == ".npz":
                    return camera_to_world(of_open_body(load_motion(content)))
                return _retargeted(content.read(), str(self))
        except UnicodeDecodeError as error:
            raise InputError("it is not text", str(self)) from error
        # RuntimeError: a zip with a password
        except (OSError, zipfile.BadZipFile, zlib.error, LZMAError, RuntimeError, MemoryError) as error:
            raise InputError(f"it cannot be read ({error})", str(self)) from error
        except ValueError as error:  # such as an axis that turns twice
            raise InputError(f"it holds no motion that can be used: {error}", str(self)) from error


def subject_of(name: str) -> str:
    """The subject in a BVH's name: "cmu_35_01" and "35_01" give "35"; a name of one part is its own subject."""
    parts = name.split("_")
    if parts[0].lower() == "cmu" and len(parts) > 1:
        parts = parts[1:]
    return parts[0]


def find_files(sources: Sequence[str | Path]) -> list[MotionFile]:
    """The motion files of files, folders (searched to any depth, zips in them too) and zips, sorted in each source.

    A zip that cannot be opened is listed too: reading it gives the reason.

    Raises:
        InputError: a source does not exist or is of another kind, or there is no motion file in any of them.
    """
    there = [file for source in sources for file in sorted(_files(Path(source)), key=lambda file: str(file))]
    files = [file for file in there if file.suffix in (*SUFFIXES, ".zip")]
    if not files:
        found = f"only {count_kinds(there)}" if there else "they are empty" if len(sources) > 1 else "it is empty"
        raise InputError(f"there is no .npz or .bvh file here: {found}", ", ".join(map(str, sources)), f"give {KINDS}")
    return files


def count_kinds(files: Iterable[MotionFile]) -> str:
    """Such as "3 .npz, 1 .txt"."""
    counts = Counter(file.suffix or "without suffix" for file in files)
    return ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common(6))


def _files(source: Path) -> list[MotionFile]:
    if source.is_dir():
        return [file for path in source.rglob("*") if path.is_file() for file in _members(path)]
    if not source.exists():
        raise InputError("there is no such motion file or folder", str(source.absolute()), "check the path")
    if source.suffix.lower() not in (*SUFFIXES, ".zip"):
        raise InputError("motions must be .npz or .bvh files, folders or zips of them", str(source))
    return _members(source)


def _members(path: Path) -> list[MotionFile]:
    """The files in a zip; any other file, and a zip that cannot be opened, as it is."""
    if path.suffix.lower() == ".zip" and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return [MotionFile(path, member) for member in archive.namelist() if not member.endswith("/")]
    return [MotionFile(path)]


def _changed(path: Path) -> int:
    return path.stat().st_mtime_ns if path.is_file() else 0


@lru_cache(maxsize=64)
def _descriptions(path: Path, member: str | None, changed: int) -> dict[str, str]:
    """Name of a clip to its description, from an index file; empty without one, or without the two columns.

    `changed` is when the file at `path` last was, so that a changed index is read anew.
    """
    try:
        if member is None:
            content = path.read_bytes()
        else:
            with zipfile.ZipFile(path) as archive:
                content = archive.read(member)
    except (OSError, KeyError, zipfile.BadZipFile, zlib.error, LZMAError, RuntimeError):
        return {}
    rows = csv.DictReader(StringIO(content.decode("utf-8-sig", errors="replace"), newline=""), skipinitialspace=True)
    try:
        named = {(row.get("clip") or "").strip(): " ".join((row.get("description") or "").split()) for row in rows}
    except csv.Error as error:
        logger.warning("%s is not used: %s", path / member if member else path, error)
        return {}
    return {name: text for name, text in named.items() if name and text}


def of_open_body(motion: Motion) -> Motion:
    """The motion on the open body; the pelvis keeps its path, and so transl, which lacks J0, does not."""
    if motion.body == "open":
        return with_one_shape(motion)
    moved = replace(motion, body="open", betas=np.zeros(NUM_BETAS))
    return replace(moved, transl=motion.transl + smplx_rest_pelvis(motion) - rest_pelvis_of(moved))


def _retargeted(content: bytes, where: str) -> Motion:
    """The motion of a BVH, from the cache or made now."""
    key = hashlib.sha256(content).hexdigest()[:24]
    path = cache_dir() / "retargeted" / f"{key}_r{RETARGET_VERSION}_b{BUILD_VERSION}.npz"
    if path.is_file():
        try:
            return load_motion(path)
        except (InputError, OSError) as error:
            logger.warning("retargeting anew: %s", error)
    motion = retarget(parse_bvh(content.decode("utf-8-sig"), where))
    save_motion(path, motion)
    return motion
