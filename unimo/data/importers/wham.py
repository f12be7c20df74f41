"""WHAM's `wham_output.pkl` (joblib): SMPL of several people in the camera and in a y-up world.

In: {person: pose (F, 72) and trans (F, 3) in the camera, pose_world (F, 72) and trans_world (F, 3), betas (F, 10),
frame_ids (F,)}. `trans` is SMPL's own translation; `trans_world` is the middle of the hips, because WHAM centres its
bodies there: fed to SMPL it would shift the body. frame_ids skip the frames in which a person was not tracked: one
motion a stretch. Out: camera axes with cam2world; the world is moved so that the lowest sole of each person is at
y = 0, for WHAM has no floor. The focal length is WHAM's assumption, the diagonal, where the video is given.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from unimo.data.importers.base import ImportedMotion, ImportOptions, Source, find_files, rate_and_video, split_at_gaps
from unimo.data.importers.bodies import matrices_of, smpl_motion, with_world
from unimo.data.importers.fields import numbers, record_of, same_length
from unimo.data.unpickle import read_pickle
from unimo.errors import InputError
from unimo.geometry.cameras import default_focal, intrinsics_matrix
from unimo.media.video import probe
from unimo.motion.frames import camera_to_world, foot_heights
from unimo.motion.motion import Motion

_PARTS = ("pose", "trans", "pose_world", "trans_world", "betas", "frame_ids")
# the middle of SMPL's hips from its pelvis, at rest, mean shape, metres
MID_HIP = np.array([-0.0009, -0.0864, -0.0156])


def find(source: Path) -> list[Source]:
    """The outputs in a folder (`wham_output.pkl` at any depth), or one file."""
    return find_files(source, "wham_output*.pkl", "wham_output.pkl of WHAM")


def read(source: Source, options: ImportOptions) -> Iterator[ImportedMotion]:
    """Every person's stretches. WHAM names the folder after the video, and people by the number of their track."""
    sequence = source.path.resolve().parent.name
    people = record_of(read_pickle(source.path), "the file", ())
    if not people:
        raise InputError("nobody was tracked in this video", fix="leave it out")
    fps, video = rate_and_video(options, sequence, "an output of WHAM does not say its frame rate")
    for person, values in people.items():
        parts = record_of(values, f"person {person}", _PARTS)
        motion, frames = _motion(parts, fps)
        if video is not None:
            motion = replace(motion, intrinsics=_intrinsics(video))
        notes = {"betas": np.round(numbers(parts["betas"], "betas", (len(motion), 10)).mean(0), 5).tolist()}
        imported = ImportedMotion(
            f"{sequence}_{person}", sequence, motion, frames, str(video) if video else None, notes=notes
        )
        yield from split_at_gaps(imported)


def _motion(parts: dict[str, Any], fps: float) -> tuple[Motion, np.ndarray]:
    pose, world_pose = (numbers(parts[key], key, (None, 72)) for key in ("pose", "pose_world"))
    transl, mid_hip = (numbers(parts[key], key, (None, 3)) for key in ("trans", "trans_world"))
    frames = numbers(parts["frame_ids"], "frame_ids", (None,)).astype(np.int64)
    same_length(pose=pose, pose_world=world_pose, trans=transl, trans_world=mid_hip, frame_ids=frames)
    if (np.diff(frames) <= 0).any():
        raise InputError("frame_ids do not rise", fix="run WHAM again")
    camera = smpl_motion(pose, transl, fps, axes="camera", extras={"source": "wham", "source_model": "smpl"})
    orient = matrices_of(world_pose[:, :3])
    motion = with_world(camera, orient, mid_hip - orient @ MID_HIP)
    floor = float(foot_heights(camera_to_world(motion)).min())
    cam2world = motion.cam2world.copy()  # pyright: ignore[reportOptionalMemberAccess]
    cam2world[:, 1, 3] -= floor
    return replace(motion, cam2world=cam2world), frames


def _intrinsics(video: Path) -> np.ndarray:
    info = probe(video)
    return intrinsics_matrix(default_focal(info.width, info.height), info.width / 2, info.height / 2)
