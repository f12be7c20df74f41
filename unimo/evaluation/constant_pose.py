"""The dumbest estimate of motion: one constant for every frame of every clip, fitted to a training set.

Each error is given the constant that is best for it: one pose (with heading) for the joints, one rotation for the
root's orientation, one point for the pelvis. Angles of the canonical camera, metres.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import roma
import torch
from torch import Tensor

from unimo.body import load_body
from unimo.metrics.pose import accel_mm_per_frame2, mpjpe_mm, pa_mpjpe_mm, rotation_error_deg, translation_error_m


@dataclass(frozen=True)
class ConstantPose:
    """Attributes: rotations (22,3,3) best for joints, betas (10,), orientation (3,3), pelvis (3,) metres."""

    rotations: Tensor
    betas: Tensor
    orientation: Tensor
    pelvis: Tensor

    def to_json(self) -> dict[str, list]:
        """Plain lists, axis-angle for rotations."""
        return {
            "pose": roma.rotmat_to_rotvec(self.rotations).tolist(),
            "betas": self.betas.tolist(),
            "orientation": roma.rotmat_to_rotvec(self.orientation).tolist(),
            "pelvis": self.pelvis.tolist(),
        }

    @staticmethod
    def from_json(values: Mapping[str, list]) -> ConstantPose:
        """Inverse of `to_json`."""
        pose, orientation = torch.tensor(values["pose"]), torch.tensor(values["orientation"])
        return ConstantPose(
            roma.rotvec_to_rotmat(pose),
            torch.tensor(values["betas"]),
            roma.rotvec_to_rotmat(orientation),
            torch.tensor(values["pelvis"]),
        )

    def parts_like(self, truth: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The pose and shape that are best for joints in every frame of `truth`, parts of N clips; pelvises at J0."""
        return {
            "rotations": self.rotations.expand_as(truth["rotations"]),
            "betas": self.betas.expand_as(truth["betas"]),
            "transl": torch.zeros_like(truth["transl"]),
        }

    def clip_errors(
        self, joints: Tensor, orientation: Tensor, depth_scale: Tensor | None = None, body: str = "open"
    ) -> dict[str, Tensor]:
        """Errors of each clip, every value (N,), beside those of `pose_errors`.

        PA-MPJPE is that of the pose that is best for MPJPE; Accel is that of standing still.

        Args:
            joints: (N,T,22,3) true joints.
            orientation: (N,T,3,3) true root rotations.
            depth_scale: (N,) takes the canonical camera's depth to each clip's camera; None: canonical joints.
            body: the body model.
        """
        own = load_body(body).joints(self.rotations[None], self.betas[None], torch.zeros(1, 3))[0].expand_as(joints)
        pelvis = self.pelvis.expand(len(joints), 1, 3)
        if depth_scale is not None:
            pelvis = torch.cat([pelvis[..., :2], pelvis[..., 2:] * depth_scale[:, None, None]], -1)
        true_pelvis = joints[..., 0, :]
        return {
            "mpjpe_mm": mpjpe_mm(own, joints).mean(1),
            "pa_mpjpe_mm": pa_mpjpe_mm(own, joints).mean(1),
            "accel_mm_per_frame2": accel_mm_per_frame2(own, joints).mean(1),
            "root_orientation_deg": rotation_error_deg(self.orientation.expand_as(orientation), orientation).mean(1),
            "root_translation_m": translation_error_m(pelvis.expand_as(true_pelvis), true_pelvis).mean(1),
        }

    def errors(self, joints: Tensor, orientation: Tensor) -> dict[str, float]:
        """Mean errors in the canonical camera against true joints (N,T,22,3) and root rotations (N,T,3,3)."""
        return {key: float(value.mean()) for key, value in self.clip_errors(joints, orientation).items()}


def fit_constant_pose(parts: Mapping[str, Tensor], frames: int = 4000, steps: int = 150, seed: int = 0) -> ConstantPose:
    """Fits the constants to `rotations (N,T,22,3,3)`, `betas (N,T,10)`, `transl (N,T,3)` of a training set.

    Eight headings are tried as a start, since the error has a minimum beside every common heading.
    """
    flat = {key: value.flatten(0, 1) for key, value in parts.items()}
    rows = np.random.default_rng(seed).permutation(len(flat["betas"]))[:frames]
    flat = {key: value[torch.from_numpy(rows)] for key, value in flat.items()}
    body = load_body("open")
    joints = body.joints(flat["rotations"], flat["betas"], flat["transl"])
    betas = flat["betas"].mean(0)
    mean = roma.rotmat_to_rotvec(roma.special_procrustes(flat["rotations"].mean(0)))
    upright = torch.tensor([torch.pi, 0.0, 0.0])
    turns = torch.arange(8) * (torch.pi / 4)
    starts = roma.rotvec_composition([upright.expand(8, 3), torch.stack([0 * turns, turns, 0 * turns], -1)])
    with torch.enable_grad():
        pose = torch.cat([starts[:, None], mean[1:].expand(8, 21, 3)], 1).clone().requires_grad_()
        best_pose = _minimise(
            pose,
            lambda p: mpjpe_mm(
                body.joints(roma.rotvec_to_rotmat(p), betas.expand(8, 10), torch.zeros(8, 3))[:, None], joints[None]
            ).mean(1),
            steps,
        )
        orientation = _minimise(
            starts.clone().requires_grad_(),
            lambda p: rotation_error_deg(roma.rotvec_to_rotmat(p)[:, None], flat["rotations"][None, :, 0]).mean(1),
            steps,
        )
        pelvis = _minimise(
            joints[:, 0].median(0).values[None].clone().requires_grad_(),
            lambda p: translation_error_m(p[:, None], joints[None, :, 0]).mean(1),
            steps,
        )
    return ConstantPose(roma.rotvec_to_rotmat(best_pose), betas, roma.rotvec_to_rotmat(orientation), pelvis)


def _minimise(values: Tensor, error, steps: int) -> Tensor:
    """Adam with a falling step on every start at once; returns the values of the best one."""
    optimizer = torch.optim.Adam([values], lr=0.05)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / steps)
        optimizer.zero_grad()
        error(values).sum().backward()
        optimizer.step()
    with torch.no_grad():
        return values[error(values).argmin()].detach()
