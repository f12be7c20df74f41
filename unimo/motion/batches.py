"""Many clips at once as features in the canonical camera, and their mirror images: what training and evaluation feed.

In: SMPL-X parameters (N,T,…) in camera frames with their intrinsics. Out: (N,T,145) features, see `features.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from unimo.body import load_body
from unimo.body.names import MIRRORED
from unimo.motion.features import from_features, rotations_to_features, to_features


def canonical_features(
    motions: Mapping[str, np.ndarray], intrinsics: np.ndarray, side: int, canonical_focal: float, body: str = "open"
) -> Tensor:
    """Features of N clips seen by a camera of focal length `canonical_focal` × side.

    Args:
        motions: body_pose (N,T,21,3), betas (N,T,10), global_orient (N,T,3), transl (N,T,3); camera frame.
        intrinsics: (N,3,3) pixels of the square frame of `side` pixels.

    Returns:
        (N,T,145) float32.
    """
    scale = torch.from_numpy(canonical_focal * side / intrinsics[:, 0, 0]).float()
    values = {key: torch.from_numpy(np.array(value)).float() for key, value in motions.items()}
    values["transl"] = _scale_depth(values["transl"], values["betas"], scale, body)
    return to_features(**values)


def uncanonical_translation(
    transl: Tensor, betas: Tensor, intrinsics: np.ndarray, side: int, canonical_focal: float, body: str = "open"
) -> Tensor:
    """Undoes the depth scaling of `canonical_features`: transl (N,T,3) → (N,T,3) metres in the clips' own cameras."""
    scale = torch.from_numpy(intrinsics[:, 0, 0] / (canonical_focal * side)).float()
    return _scale_depth(transl, betas, scale, body)


def _scale_depth(transl: Tensor, betas: Tensor, scale: Tensor, body: str) -> Tensor:
    """Scales the pelvis's depth, which is transl + J0(betas), by `scale` (N,)."""
    rest = load_body(body).rest_pelvis(betas.reshape(-1, 10)).reshape(transl.shape)
    depth = (transl[..., 2] + rest[..., 2]) * scale[:, None] - rest[..., 2]
    return torch.cat([transl[..., :2], depth[..., None]], dim=-1)


def mirror_features(features: Tensor) -> Tensor:
    """The same clips seen in a mirror (camera x → −x): left and right joints change places. (…,T,145) → (…,T,145)."""
    parts = from_features(features)
    rotations, transl = mirror_rotations(parts["rotations"], parts["transl"])
    return rotations_to_features(rotations, parts["betas"], transl)


def mirror_rotations(rotations: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Joint rotations (…,22,3,3) and points (…,3) in a mirror (x → −x)."""
    flip = torch.tensor([-1.0, 1.0, 1.0], dtype=points.dtype, device=points.device)
    return rotations[..., MIRRORED, :, :] * flip[:, None] * flip, points * flip
