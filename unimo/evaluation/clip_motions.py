"""Motions of many clips in their own cameras: the truth, and what tokens decode to.

"Parts" are `rotations (N,T,22,3,3)` with joint 0 the global orientation, `betas (N,T,10)` and `transl (N,T,3)` in
metres, camera axes of each clip. Tokens live in the canonical camera; its depth is undone with each clip's own focal
length, as `MotionTokenizer.decode_windows` does for one camera.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from unimo.bundle import BundleSettings
from unimo.data.clips import Clips
from unimo.errors import InputError
from unimo.geometry.rotations import axis_angle_to_matrix
from unimo.motion.batches import uncanonical_translation
from unimo.motion.features import from_features
from unimo.motion.tokenizer import MotionTokenizer

Parts = dict[str, Tensor]


def check_clips(clips: Clips, settings: BundleSettings) -> None:
    """Raises InputError unless the clips have the bundle's length, rate and size."""
    _, frames, height, width = clips.frames.shape[:4]
    has = {"frames": frames, "fps": clips.fps, "side": height}
    for key, value in has.items():
        wanted = getattr(settings, key)
        if abs(value - wanted) > 1e-3 or height != width:
            fix = f"unimo synth --frames {settings.frames} --fps {settings.fps:g} --side {settings.side} …"
            raise InputError(f"{key} of the clips is {value:g}, the bundle's is {wanted:g}", None, fix)


def true_parts(clips: Clips) -> Parts:
    """The clips' own motions."""
    values = {key: torch.from_numpy(np.array(value)).float() for key, value in clips.motions.items()}
    angles = torch.cat([values["global_orient"][:, :, None], values["body_pose"]], dim=2)
    return {"rotations": axis_angle_to_matrix(angles), "betas": values["betas"], "transl": values["transl"]}


@torch.inference_mode()
def decoded_parts(
    tokenizer: MotionTokenizer, ids: Tensor, intrinsics: np.ndarray, batch_size: int = 64, num_samples: int = 1
) -> Parts:
    """Motions of ids (N · num_samples,T,36), the mean of each clip's samples, betas constant in each clip; intrinsics
    (N,3,3) of the clips' cameras, pixels."""
    chunks = ids.split(batch_size * num_samples)
    features = torch.cat([tokenizer.features(chunk, num_samples).cpu() for chunk in chunks])
    parts = from_features(features.float())
    betas = parts["betas"].mean(1, keepdim=True).expand_as(parts["betas"])
    transl = uncanonical_translation(
        parts["transl"], betas, intrinsics, tokenizer.side, tokenizer.canonical_focal, tokenizer.body
    )
    return {"rotations": parts["rotations"], "betas": betas, "transl": transl}


def repeated(parts: Parts, copies: int) -> Parts:
    """Every clip `copies` times in a row: the truth beside that many samples of each clip."""
    return {key: value.repeat_interleave(copies, dim=0) for key, value in parts.items()}


def in_world(points: Tensor, cam2world: np.ndarray | Tensor | None) -> Tensor:
    """Points (N,T,...,3) of each clip's camera in its world, y up.

    Args:
        points: metres, camera axes.
        cam2world: (N,T,4,4); None takes a level camera that stands still, (x, y, z) → (x, -y, -z).
    """
    if cam2world is None:
        return points * points.new_tensor([1.0, -1.0, -1.0])
    cameras = torch.as_tensor(cam2world, dtype=points.dtype)
    between = [1] * (points.ndim - 3)
    rotation = cameras[..., :3, :3].reshape(*cameras.shape[:2], *between, 3, 3)
    offset = cameras[..., :3, 3].reshape(*cameras.shape[:2], *between, 3)
    return (rotation @ points[..., None])[..., 0] + offset
