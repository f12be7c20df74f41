"""What an evaluation hands back, and how it is laid down: one JSON report and a folder with what was predicted.

In: an `Evaluation`. Out: `NAME.json` (see docs/evaluation.md) and beside it the folder `NAME/` with `predictions.npz`
(SMPL-X parameters in the camera axes of each clip; never pickled) and, where videos were made, `CLIP-seedS.mp4`.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unimo.errors import InputError
from unimo.evaluation.clip_motions import Parts
from unimo.evaluation.request import PREDICTIONS, check_target
from unimo.evaluation.summary import Numbers
from unimo.files import write_text, writing_into
from unimo.geometry.rotations import matrix_to_axis_angle
from unimo.media.video_writer import write_video
from unimo.result import AI_METADATA


@dataclass(frozen=True)
class Evaluation:
    """N clips, S samples of each.

    Attributes:
        numbers: the report, ready for JSON.
        predictions: `body_pose (N,S,T,21,3)`, `global_orient (N,S,T,3)`, `betas (N,S,10)`, `transl (N,S,T,3)` float32.
        videos: (T,H,W,3) uint8 by file name.
        fps: of the videos.
    """

    numbers: Numbers
    predictions: Mapping[str, np.ndarray]
    videos: Mapping[str, np.ndarray] = field(default_factory=dict)
    fps: float = 0.0


def predictions_of(parts: Parts, samples: tuple[int, int]) -> dict[str, np.ndarray]:
    """`clip_motions` parts of N · S clips, the samples of a clip in a row, as the arrays of `Evaluation.predictions`.

    Args:
        parts: rotations (N·S,T,22,3,3), betas (N·S,T,10) constant in each clip, transl (N·S,T,3).
        samples: (N, S).
    """
    angles = matrix_to_axis_angle(parts["rotations"].double())
    arrays: dict[str, Tensor] = {
        "body_pose": angles[:, :, 1:],
        "global_orient": angles[:, :, 0],
        "betas": parts["betas"][:, 0],
        "transl": parts["transl"],
    }
    return {key: value.float().unflatten(0, samples).contiguous().numpy() for key, value in arrays.items()}


def save_evaluation(path: str | Path, evaluation: Evaluation) -> list[Path]:
    """Writes the report and its folder, each whole or not at all; an earlier run of the same name is replaced.

    Args:
        path: ends in .json.
        evaluation: what to write.

    Returns:
        The report and the folder.

    Raises:
        InputError: see `check_target`; the disk refuses, and nothing is left of the attempt.
        ValueError: a number is NaN or infinite.
    """
    path = check_target(path)
    text = json.dumps(evaluation.numbers, indent=2, allow_nan=False) + "\n"
    folder = path.with_suffix("")
    part = folder.with_name(f".{folder.name}.part")
    with writing_into(folder.parent):
        try:
            _write_folder(part, evaluation)
            if folder.exists():
                shutil.rmtree(folder)
            os.replace(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        write_text(path, text)
    return [path, folder]


def _write_folder(folder: Path, evaluation: Evaluation) -> None:
    """Predictions and videos; what a killed run has left there goes."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with (folder / PREDICTIONS).open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **evaluation.predictions)
    for name, frames in evaluation.videos.items():
        write_video(folder / name, frames, evaluation.fps, AI_METADATA)


def load_predictions(folder: str | Path) -> dict[str, Tensor]:
    """`Evaluation.predictions` of a run's folder, as tensors.

    Raises:
        InputError: they are missing or damaged.
    """
    path = Path(folder) / PREDICTIONS
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: torch.from_numpy(archive[key]) for key in ("body_pose", "global_orient", "betas", "transl")}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"the predictions cannot be read ({error})", str(path), "run the evaluation again") from error
