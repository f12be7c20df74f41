"""Small motions in the spellings of AMASS: z up, metres, someone who walks along x and turns a little."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from unimo.motion.npz import SMPLH_REST_PELVIS, SMPLX_REST_PELVIS

WIDTHS = {"smplx": 165, "smplh": 156, "smpl": 72}


def pelvis_path(frames: int) -> np.ndarray:
    """The walk, (T, 3), z up."""
    time = np.linspace(0, 1, frames)
    return np.stack([time, 0.3 * np.sin(3 * time), 0.9 + 0.05 * np.cos(9 * time)], axis=1)


def y_up(points: np.ndarray) -> np.ndarray:
    """(T, 3) z up as y up."""
    return points[:, [0, 2, 1]] * [1, 1, -1]


def save_amass(path: Path, frames: int = 60, kind: str = "smplx", fps: float = 30.0) -> Path:
    """Writes one motion whose pelvis goes along `pelvis_path`, and returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.linspace(0, 6, frames)
    poses = np.zeros((frames, WIDTHS[kind]))
    poses[:, 0], poses[:, 2] = np.pi / 2, 0.2 * np.sin(time)
    poses[:, 3:9] = 0.4 * np.sin(time)[:, None]
    rest = SMPLX_REST_PELVIS if kind == "smplx" else SMPLH_REST_PELVIS
    arrays = {"poses": poses, "trans": pelvis_path(frames) - rest, "betas": np.ones(16), "gender": "female"}
    if kind == "smplx":
        arrays |= {"surface_model_type": "smplx", "mocap_frame_rate": fps, "root_orient": poses[:, :3]}
        arrays |= {"pose_body": poses[:, 3:66], "markers_latent": np.zeros((41, 3))}
    else:
        arrays |= {"mocap_framerate": fps}
    np.savez(path, **arrays)
    return path
