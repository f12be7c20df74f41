"""Makes `synthetic-val` in the user's cache and says whether it is the one that is defined.

In: CMU motion capture (BVH of the CMU skeleton at 30 frames/s: a zip or a folder), a bundle's settings. Out: a folder
of clips, and for the report whether the hash of motion and cameras is the committed one. Pixels are not in that hash:
they depend on the graphics driver, which the report names.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from unimo import __version__
from unimo.assets import cache_dir
from unimo.bundle import BundleSettings
from unimo.data.clips import clip_folders
from unimo.errors import InputError
from unimo.evaluation import datasets_synthetic_val as definition
from unimo.evaluation.datasets import Progress, made_by_one
from unimo.motion.library import MotionLibrary, NamedMotion
from unimo.motion.npz import load_motion
from unimo.synth.engine import generate_clips, library_digest
from unimo.synth.scene import SceneConfig

log = logging.getLogger(__name__)

_MANIFEST = "manifest.jsonl"
_WHERE = (
    "the CMU Graphics Lab Motion Capture Database (mocap.cs.cmu.edu, free for all uses), subjects "
    f"{' '.join(definition.SUBJECTS)}, as BVH of the CMU skeleton at 30 frames/s (docs/data.md): --data cmu_val.zip; "
    "or --clips DIR with clips of your own"
)


def synthetic_val(
    mocap: Path | None, settings: BundleSettings, workers: int = 2, progress: Progress | None = None
) -> tuple[Path, dict[str, Any]]:
    """The folder of the clips, rendered now where the cache does not hold them, and what a report says of them.

    Args:
        mocap: zip or folder with the motions of the definition, others may be in it; None takes what an earlier run has
            left in the cache.
        settings: of the bundle.
        workers: processes; the clips do not depend on them.
        progress: called with a stage, done and total.

    Raises:
        InputError: no motion capture, or none of the definition's motions in it.
        MissingAssetError: no renderer.
    """
    place = cache_dir() / "evaluation" / "synthetic-val" / _label(settings)
    wanted = definition.SHA256.get((settings.frames, float(settings.fps), settings.side, settings.body))
    if mocap is None:
        folder = _made_before(place, wanted)
    else:
        folder = _made_now(place, _library(mocap, workers, progress), settings, workers, progress)
    digest = clips_digest(folder, definition.CLIPS)
    about = {
        "name": "synthetic-val",
        "first_seed": definition.FIRST_SEED,
        "motion_and_cameras_sha256": digest,
        "matches_the_definition": None if wanted is None else digest == wanted,
    }
    if wanted is None:
        log.warning("no hash of synthetic-val is known for clips of %s", _label(settings))
    elif digest != wanted:
        log.warning(
            "motion and cameras of these clips are not those of synthetic-val (%s… instead of %s…): numbers on them "
            "compare with nobody else's; other motion capture, or a processor that rounds otherwise",
            digest[:12],
            wanted[:12],
        )
    return folder, about


def clips_digest(folder: str | Path, count: int) -> str:
    """SHA-256 over motion and cameras of the first clips of a folder, as float32 and in order.

    Of each clip: body_pose, betas, global_orient, transl in camera axes, cam2world, intrinsics.

    Raises:
        InputError: fewer clips, or a damaged file.
    """
    digest = hashlib.sha256()
    for path in clip_folders(Path(folder), count):
        motion = load_motion(path / "motion.npz")
        if motion.cam2world is None or motion.intrinsics is None:
            raise InputError("the clip's motion has no camera", str(path / "motion.npz"), "run unimo synth again")
        arrays = (motion.body_pose, motion.betas, motion.global_orient, motion.transl)
        for array in (*arrays, motion.cam2world, motion.intrinsics):
            digest.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
    return digest.hexdigest()


def _label(settings: BundleSettings) -> str:
    return f"{settings.frames}x{settings.fps:g}fps-{settings.side}px-{settings.body}"


def _made_now(
    place: Path, library: list[NamedMotion], settings: BundleSettings, workers: int, progress: Progress | None
) -> Path:
    """The set of these motions, rendered where the cache does not hold it whole."""
    config = SceneConfig(side=settings.side, frames=settings.frames, fps=settings.fps, body=settings.body)
    asked = [__version__, definition.FIRST_SEED, asdict(config), library_digest(library)]
    folder = place / hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]
    drawn = None if progress is None else (lambda done, total: progress("rendering clips", done, total))
    if not _is_whole(folder):
        with made_by_one(place):
            if not _is_whole(folder):  # another run may have made it meanwhile
                generate_clips(library, definition.CLIPS, definition.FIRST_SEED, folder, config, workers, drawn)
    return folder


def _made_before(place: Path, wanted: str | None) -> Path:
    """The latest set that earlier runs have left in the cache, the defined one (its hash is `wanted`) before others.

    Raises:
        InputError: there is none, or only an unfinished one.
    """
    whole = sorted(
        filter(_is_whole, place.glob("*")), key=lambda folder: (folder / _MANIFEST).stat().st_mtime_ns, reverse=True
    )
    defined = (folder for folder in whole if clips_digest(folder, definition.CLIPS) == wanted)
    if found := next(defined, None) or next(iter(whole), None):
        return found
    raise InputError("synthetic-val is made from motion capture, which is not here", str(place), f"get {_WHERE}")


def _is_whole(folder: Path) -> bool:
    """Whether a folder holds all clips: their list is written last."""
    manifest = folder / _MANIFEST
    return manifest.is_file() and len(manifest.read_text().splitlines()) == definition.CLIPS


def _library(mocap: Path, workers: int, progress: Progress | None) -> list[NamedMotion]:
    """The definition's motions, in its order.

    Raises:
        InputError: none is there.
    """
    fitted = (lambda done, total: progress("fitting mocap", done, total)) if progress else (lambda done, total: None)
    try:
        motions = MotionLibrary.from_files([mocap], set(definition.SUBJECTS), workers=workers, progress=fitted)
    except InputError as error:
        raise InputError(f"synthetic-val cannot be made of this: {error.what}", error.where, f"get {_WHERE}") from error
    there = {named.name: named for named in motions}
    chosen = [there[name] for name in definition.TRIALS if name in there]
    if missing := [name for name in definition.TRIALS if name not in there]:
        log.warning("%d of %d motions are missing: %s", len(missing), len(definition.TRIALS), json.dumps(missing[:5]))
    if not chosen:
        raise InputError("none of the motions of synthetic-val is in here", str(mocap), f"get {_WHERE}")
    return chosen
