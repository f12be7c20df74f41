"""Losses that hold what users see and that need a body: joints, vertices, standing feet, drift.

In: predicted and true features (B,T,D) in raw units. Out: scalars, each about 1 for an error that a feature loss of 1
means. Differentiable; float32.
"""

from __future__ import annotations

from collections.abc import Container

import torch
from torch import Tensor

from unimo.body import load_body
from unimo.body.names import FEET
from unimo.evaluation.reconstruction import with_mean_shape
from unimo.motion.features import from_features

BODY_LOSSES = ("joints", "vertices", "contact", "drift")
# metres of error that count 1: of positions, and of one frame's step of a foot
_LENGTH, _STEP = 0.1, 0.01
# metres a frame below which a foot stands
_STILL = 0.01
# faces of the low-poly body whose vertices count
_FACES = 600


class BodyLosses:
    """The losses on one body.

    Args:
        body: "open" or "smplx".
    """

    def __init__(self, body: str) -> None:
        self.body = body
        self._index: Tensor | None = None

    def __call__(self, predicted: Tensor, target: Tensor, wanted: Container[str]) -> dict[str, Tensor]:
        """Those of `BODY_LOSSES` that are wanted, unweighted.

        Joints and vertices are about the pelvis, in units of 10 cm; contact is the error of the step of ankles and
        toes where the true step is below 1 cm, in cm (in camera coordinates: a moving camera moves standing feet);
        drift is the error of the translation's prefix sum, in 10 cm.
        """
        parts, truth = (from_features(with_mean_shape(x), project=False) for x in (predicted, target))
        losses: dict[str, Tensor] = {}
        path, true_path = parts["transl"], truth["transl"]
        if "drift" in wanted:
            losses["drift"] = (path - true_path).abs().mean() / _LENGTH
        if "joints" in wanted or "contact" in wanted:
            joints, true_joints = self._joints(parts), self._joints(truth)
            if "joints" in wanted:
                losses["joints"] = (joints - true_joints).abs().mean() / _LENGTH
            if "contact" in wanted:
                losses["contact"] = _standing(joints + path[:, :, None], true_joints + true_path[:, :, None])
        if "vertices" in wanted:
            losses["vertices"] = (self._vertices(parts) - self._vertices(truth)).abs().mean() / _LENGTH
        return losses

    def _joints(self, parts: dict[str, Tensor]) -> Tensor:
        """(B,T,22,3) joints about the pelvis."""
        body, flat = self._flat(parts)
        joints = body.joints(*flat).unflatten(0, parts["betas"].shape[:2])
        return joints - joints[:, :, :1]

    def _vertices(self, parts: dict[str, Tensor]) -> Tensor:
        """(B*T,v,3) vertices about the pelvis of a coarse mesh."""
        body, flat = self._flat(parts)
        if self._index is None:
            self._index = torch.from_numpy(body.low_poly(_FACES)[0]).to(body.device)
        return body.vertices(*flat, index=self._index) - body.rest_pelvis(flat[1])[:, None]

    def _flat(self, parts: dict[str, Tensor]):
        betas = parts["betas"].flatten(0, 1)
        body = load_body(self.body, str(betas.device))  # type: ignore[arg-type]
        return body, (parts["rotations"].flatten(0, 1), betas, torch.zeros_like(betas[:, :3]))


def _standing(joints: Tensor, true_joints: Tensor) -> Tensor:
    """L1 error of the steps of feet that stand; 0 when none does."""
    step, true_step = (points[:, :, FEET].diff(dim=1) for points in (joints, true_joints))
    stands = true_step.norm(dim=-1, keepdim=True) < _STILL
    return ((step - true_step).abs() * stands).sum() / (3 * stands.sum()).clamp_min(1) / _STEP
