"""What a training of the motion tokenizer came to, as pictures: the validation curve and reconstructed windows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unimo.evaluation.pose_errors import clip_joints
from unimo.files import atomic_write
from unimo.metrics.pose import mpjpe_mm
from unimo.motion.canonical import square_intrinsics
from unimo.motion.features import features_to_motion
from unimo.motion.motion import Motion
from unimo.motion.tokenizer import MotionTokenizer
from unimo.render.overlay import BODY_COLOR, overlay
from unimo.render.shading import Vector
from unimo.render.sheet import contact_sheet

_REBUILT_COLOR: Vector = (0.98, 0.62, 0.28)
_SIDE = 192
_ROWS, _COLUMNS = 6, 5
_CHUNK = 64


def draw_curve(log: Path, target: Path) -> None:
    """Draws validation errors against minutes.

    Args:
        log: `log.jsonl` of a run with at least one validation.
        target: PNG to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [json.loads(line) for line in log.read_text(encoding="utf8").splitlines()]
    # steps that a stopped run did again stand twice: the later line counts
    points = {row["step"]: row for row in rows if row["kind"] == "validation"}
    curve = [points[step] for step in sorted(points)]
    minutes = [row["minutes"] for row in curve]
    figure = Figure(figsize=(7, 6), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    pose, root = figure.subplots(2, sharex=True)
    lines = ((pose, "mpjpe_mm", "MPJPE"), (pose, "pa_mpjpe_mm", "PA-MPJPE"), (root, "root_drift_mm", "root drift"))
    for number, (axes, key, label) in enumerate(lines):
        values = [row[key] for row in curve]
        axes.plot(
            minutes, values, f"C{number}", marker="o", markersize=3, label=f"{label}, at the end {values[-1]:.1f} mm"
        )
    for axes in (pose, root):
        axes.set(ylabel="mm", ylim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend()
    pose.set_title("Motion tokenizer: reconstruction of validation windows")
    root.set_xlabel("minutes of training")
    with atomic_write(target) as path:
        figure.savefig(path)


@torch.inference_mode()
def draw_reconstructions(tokenizer: MotionTokenizer, windows: Tensor, target: Path) -> None:
    """Draws six windows, from the best MPJPE to the worst: a row of frames each, the true body beside the rebuilt one.

    Args:
        tokenizer: the trained tokenizer.
        windows: (N, T, D) features of validation windows in the canonical camera.
        target: PNG to write.

    Raises:
        MissingAssetError: nothing can be drawn on this machine.
    """
    device = next(tokenizer.model.parameters()).device
    ids = torch.cat([tokenizer.model.encode(chunk.to(device)) for chunk in windows.split(_CHUNK)])
    rebuilt = [m for chunk in ids.split(_CHUNK) for m in tokenizer.decode_windows(chunk, tokenizer.canonical_focal)]
    true = [features_to_motion(window, tokenizer.fps, body=tokenizer.body) for window in windows]
    errors = mpjpe_mm(_joints(rebuilt), _joints(true)).mean(1).numpy()
    chosen = np.argsort(errors)[np.linspace(0, len(errors) - 1, min(_ROWS, len(errors))).round().astype(int)]
    frames = np.linspace(0, windows.shape[1] - 1, _COLUMNS).round()
    images, labels = [], []
    for number in chosen:
        left = _pictures(true[number], frames, tokenizer.canonical_focal, BODY_COLOR, 246)
        right = _pictures(rebuilt[number], frames, tokenizer.canonical_focal, _REBUILT_COLOR, 226)
        images += [np.concatenate(pair, axis=1) for pair in zip(left, right, strict=True)]
        labels += [f"MPJPE {errors[number]:.0f} mm; blue true, orange reconstructed"]
        labels += [f"{frame / tokenizer.fps:.2f} s" for frame in frames[1:]]
    with atomic_write(target) as path:
        Image.fromarray(contact_sheet(images, _COLUMNS, labels, gap=6)).save(path)


def _joints(motions: list[Motion]) -> Tensor:
    """Joints (N, T, 22, 3) of motions of one length and body."""
    parts = {
        "rotations": torch.from_numpy(np.stack([motion.rotations() for motion in motions])),
        "betas": torch.from_numpy(np.stack([motion.betas for motion in motions])),
        "transl": torch.from_numpy(np.stack([motion.transl for motion in motions])),
    }
    return clip_joints(parts, motions[0].body)


def _pictures(motion: Motion, frames: np.ndarray, focal: float, color: Vector, grey: int) -> list[np.ndarray]:
    """Pictures (side, side, 3) of some frames over a grey ground, in a camera of `focal` sides."""
    paper = np.full((len(frames), _SIDE, _SIDE, 3), grey, np.uint8)
    intrinsics = square_intrinsics(focal * _SIDE, _SIDE)
    return list(overlay(paper, motion.at(frames, motion.fps), intrinsics, opacity=1.0, color=color))
