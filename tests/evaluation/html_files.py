"""Run files of known numbers, with clips, predictions and generated videos, for the tests of the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from unimo.body.names import JOINT_NAMES
from unimo.data.clips import PARAMETERS, load_clips
from unimo.media.video_writer import write_video
from unimo.metrics.statistics import bootstrap_interval
from unimo.synth.engine import generate_clips
from unimo.synth.gait import gait_library
from unimo.synth.scene import SceneConfig

COUNT, FRAMES, SIDE = 8, 9, 32
MPJPE = (80.0, 20.0, 150.0, 60.0, 110.0, 40.0, 95.0, 30.0)
WORST_FIRST = ("000002", "000004", "000006", "000000", "000003", "000005", "000007", "000001")


def write_clips(folder: Path) -> Path:
    """Eight clips of nine frames."""
    generate_clips(gait_library(count=3), COUNT, 0, folder, SceneConfig(side=SIDE, frames=FRAMES), workers=1)
    return folder


def write_run(path: Path, clips: Path, kind: str = "capture", shift: float = 0.0, name: str = "mini") -> dict[str, Any]:
    """A run of two seeds whose errors are `MPJPE` + `shift`, with everything that the contract asks for."""
    found = load_clips(clips)
    errors = np.array(MPJPE) + shift
    key = "consistency.mpjpe_mm" if kind == "generate" else "mpjpe_mm"
    per_clip = {
        "clip": found.names,
        "motion_class": ["standing", "travelling"] * (COUNT // 2),
        key: errors.tolist(),
        "root_orientation_deg": [None, *range(5, COUNT + 4)],
        "entropy_nats": (1 + errors / 100).tolist(),
    }
    report: dict[str, Any] = {
        "header": {
            "evaluation": kind,
            "date": "2026-11-22T06:00:00+00:00",
            "command": f"unimo evaluate {kind} --clips {clips} --json {path.name}",
            "bundle": {"name": name, "sha256": "ab" * 32},
            "clips": {"count": COUNT, "sha256": found.sha256, "folder": str(clips), "subjects": ["02"],
                      "graphics_drivers": ["llvmpipe"]},
            "dataset": {"name": None},
            "versions": {"unimo": "0.1.0"},
            "seeds": [] if kind == "tokenizer" else [3, 5],
            "device": "cpu", "dtype": "float32", "cpu": "a processor", "cores": 2, "load_average": 0.5,
            "conventions": {key: "pelvis at the origin"}, "wall_seconds": 12.5, "peak_memory_gb": 1.25,
        },
        "clips": COUNT, "fps": 15.0,
        key: errors.mean(), f"interval95.{key}": list(bootstrap_interval(errors)),
        f"per_seed.{key}": [errors.mean() - 1, errors.mean() + 1],
        "root_orientation_deg": 8.0, "interval95.root_orientation_deg": [6.0, 10.0],
        f"constant_pose.{key}": 200.0, "decode_seconds": 4.5,
        "per_clip": per_clip,
        "by_joint_mm": {joint: 10.0 * index for index, joint in enumerate(JOINT_NAMES)},
        "by_time_mm": [50.0 + index for index in range(FRAMES)],
    }  # fmt: skip
    path.write_text(json.dumps(report))
    write_predictions(path, clips, 1 if kind == "tokenizer" else 2)
    if kind == "generate":
        for index, clip in enumerate(found.names):
            for seed in (3, 5):
                write_video(path.with_suffix("") / f"{clip}-seed{seed}.mp4", 255 - found.frames[index], 15)
    return report


def write_predictions(path: Path, clips: Path, samples: int) -> None:
    """The true motions, turned a little and 0.3 m to the right (odd clips) or left, as those of every sample."""
    motions = load_clips(clips).motions
    arrays = {key: np.repeat(motions[key][:, None], samples, axis=1) for key in PARAMETERS}
    arrays["betas"] = arrays["betas"][:, :, 0]
    arrays["global_orient"] = arrays["global_orient"] + np.float32(0.2)
    arrays["transl"][..., 0] += np.where(np.arange(len(arrays["transl"])) % 2, 0.3, -0.3)[:, None, None]
    path.with_suffix("").mkdir(exist_ok=True)
    with (path.with_suffix("") / "predictions.npz").open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
