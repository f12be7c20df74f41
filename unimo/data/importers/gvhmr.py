"""GVHMR's `hmr4d_results.pt`: SMPL-X of one person in the camera and in a y-up world.

Read by `torch.load(weights_only=True)`: smpl_params_incam and smpl_params_global, each body_pose (F, 63), betas
(F, 10), global_orient (F, 3), transl (F, 3), and K_fullimg (F, 3, 3); net_outputs is not looked at. Out: camera axes,
with the cam2world of every frame from the pair. The demo relabels every video as 30 frames/s without resampling, so
neither the file nor the video beside it tells the rate: it is given, or read from the original video. Frames map 1:1.
Frames without the person carry an interpolated pose and are not marked in the file.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unimo.data.importers.base import ImportedMotion, ImportOptions, Source, find_files, rate_and_video
from unimo.data.importers.bodies import rest_pelvis, root_matrices, smplx_motion, with_world
from unimo.data.importers.fields import numbers, record_of, same_length
from unimo.errors import InputError
from unimo.motion.motion import Motion

_PARTS = ("body_pose", "betas", "global_orient", "transl")


def find(source: Path) -> list[Source]:
    """The results in a folder (`hmr4d_results.pt` at any depth), or one file."""
    return find_files(source, "hmr4d_results*.pt", "hmr4d_results.pt of GVHMR")


def read(source: Source, options: ImportOptions) -> Iterator[ImportedMotion]:
    """The one motion of a result; its name is its folder's, which GVHMR names after the video."""
    name = source.path.resolve().parent.name
    results = record_of(_load(source.path), "the file", ("smpl_params_incam", "smpl_params_global"))
    why = "a result of GVHMR does not say its frame rate: its demo calls every video 30 fps"
    fps, video = rate_and_video(options, name, why)
    camera, world = (_motion(results[f"smpl_params_{frame}"], frame, fps) for frame in ("incam", "global"))
    if len(camera) != len(world):
        raise InputError(f"{len(camera)} frames in the camera, {len(world)} in the world", fix="run GVHMR again")
    motion = with_world(camera, root_matrices(world), world.transl + rest_pelvis(world))
    intrinsics, notes = _intrinsics(results.get("K_fullimg"), len(motion))
    motion = replace(motion, intrinsics=intrinsics, extras={"source": "gvhmr", "source_model": "smplx", **notes})
    yield ImportedMotion(name, name, motion, np.arange(len(motion)), str(video) if video else None)


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, ValueError, OSError, TypeError) as error:
        reason = str(error).strip().splitlines()
        reason = reason[0] if reason else type(error).__name__
        what = f"it is no file of tensors that torch.load reads safely ({reason})"
        fix = "copy it anew; if it holds more than tensors, save its smpl_params_* and K_fullimg alone"
        raise InputError(what, str(path), fix) from error


def _motion(parameters: Any, frame: str, fps: float) -> Motion:
    parts = record_of(parameters, f"smpl_params_{frame}", _PARTS)
    body = numbers(parts["body_pose"], "body_pose", (None, 63))
    orient = numbers(parts["global_orient"], "global_orient", (None, 3))
    transl = numbers(parts["transl"], "transl", (None, 3))
    betas = numbers(parts["betas"], "betas", (None, 10))
    same_length(body_pose=body, global_orient=orient, transl=transl, betas=betas)
    axes = "camera" if frame == "incam" else "world"
    return smplx_motion(np.concatenate([orient, body], 1), betas, transl, fps, axes=axes)


def _intrinsics(value: Any, frames: int) -> tuple[np.ndarray | None, dict[str, Any]]:
    """The camera matrix of the first frame, and a note where it is assumed or changes."""
    if value is None:
        return None, {}
    matrices = numbers(value, "K_fullimg", (frames, 3, 3))
    notes: dict[str, Any] = {"focal_is_assumed": True}
    if np.abs(matrices - matrices[:1]).max() > 1e-3 * matrices[0, 0, 0]:
        notes["focal_changes"] = [float(matrices[:, 0, 0].min()), float(matrices[:, 0, 0].max())]
    return matrices[0], notes
