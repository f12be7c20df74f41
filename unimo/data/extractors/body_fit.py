"""SMPL-X parameters of a body fitted to one person's landmarks, all frames of a track at once.

In: a `LandmarkTrack` and the camera. Out: a `Motion` in camera axes with one shape, and a confidence a frame.
What is least: the distance to world landmarks up to one scale a track (they see depth, but not where the person
stands), the distance of projected points to image landmarks (they place the body), how unlikely the pose and the shape
are, and accelerations. Distances are robust and weighted by visibility. Adam from a start in closed form: limbs laid
along the landmarks, the place solved from the picture. No randomness.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unimo.body import BodyModel, load_body
from unimo.data.extractors.fit_start import Start, find_start
from unimo.data.extractors.landmark_map import EARS, EYES, HEELS, INDEXES, NOSE, PINKIES, TOES, USED, LandmarkBody
from unimo.data.extractors.mediapipe_process import LandmarkTrack
from unimo.data.extractors.pose_prior import PosePrior, load_prior
from unimo.geometry.cameras import project
from unimo.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle, rotation_between
from unimo.motion.motion import Motion

# small parts count less: the head turns, and hands bend, more than one bone of the body can
_IMAGE_SHARE = {NOSE: 0.5, **dict.fromkeys((*EYES, *EARS, *INDEXES, *PINKIES), 0.3)}
# in depth MediaPipe makes feet and hands far too short
_WORLD_SHARE = {**_IMAGE_SHARE, **dict.fromkeys((*HEELS, *TOES, *INDEXES, *PINKIES), 0.1)}


@dataclass(frozen=True)
class FitSettings:
    """How the terms of the fit are weighed.

    Attributes:
        world_m: metres by which a world landmark is usually wrong.
        image_share: share of the person's size in the picture by which an image landmark is usually wrong.
        pose, limits, shape, scale: weights of the pose prior, joint ranges, betas and the scale of the landmarks.
        acceleration_m_s2: of joints, what is usual.
        steps: of the two stages: the place and the turn alone; everything.
    """

    world_m: float = 0.05
    image_share: float = 0.01
    pose: float = 3.0
    limits: float = 20.0
    shape: float = 0.02
    scale: float = 50.0
    acceleration_m_s2: float = 6.0
    steps: tuple[int, int] = (40, 160)


@dataclass(frozen=True, eq=False)
class Fit:
    """Attributes: motion; confidence (T,) float32 0..1; reprojection_px (T,): mean distance to the 23 image
    landmarks, weighted by visibility; size_px (T,): longer side of the box around the landmarks."""

    motion: Motion
    confidence: np.ndarray
    reprojection_px: np.ndarray
    size_px: np.ndarray


def fit_body(
    track: LandmarkTrack,
    intrinsics: np.ndarray,
    fps: float,
    body: str = "open",
    settings: FitSettings | None = None,
    prior: PosePrior | None = None,
) -> Fit:
    """Fits a body to a track.

    Args:
        track: T frames; where some are missing, acceleration is not looked at across the gap.
        intrinsics: (3, 3) pixels.
        fps: of the video.
        body: "open" or "smplx".
        settings: weights; None takes the defaults.
        prior: of poses; None takes the shipped one.

    Raises:
        MissingAssetError: the licensed body is asked for and not here.
    """
    model = load_body(body)  # type: ignore[arg-type]
    with torch.enable_grad():
        fitter = _Fitter(track, intrinsics, fps, model, settings or FitSettings(), prior or load_prior())
        fitter.run()
    return fitter.result()


class _Fitter:
    def __init__(
        self, track: LandmarkTrack, intrinsics: np.ndarray, fps: float, model: BodyModel, settings: FitSettings,
        prior: PosePrior,
    ) -> None:  # fmt: skip
        self.model, self.settings, self.prior, self.fps = model, settings, prior, fps
        self.body = LandmarkBody.of(model)
        self.camera = torch.as_tensor(intrinsics, dtype=torch.float32)
        used = list(USED)
        self.image = torch.as_tensor(track.image[:, used], dtype=torch.float32)
        self.visible = torch.as_tensor(track.visibility[:, used], dtype=torch.float32)
        self.weight, self.world_weight = (
            self.visible.clamp_min(0.02) * torch.tensor([share.get(index, 1.0) for index in used])
            for share in (_IMAGE_SHARE, _WORLD_SHARE)
        )
        self.size = torch.from_numpy(np.ptp(track.boxes().reshape(-1, 2, 2), axis=1).max(1)).clamp_min(1.0)
        self.world = torch.as_tensor(track.world[:, used], dtype=torch.float32) @ self._to_camera().transpose(1, 2)
        self.world = self.world - _hips(self.world)
        frames = torch.as_tensor(track.frames)
        self.together = ((frames[2:] - frames[:-2]) == 2).float()
        start: Start = find_start(self.body, self.world, self.image, self.weight, self.camera, prior)
        self.first_turn = start.root
        self.turn = torch.zeros(len(frames), 3, requires_grad=True)
        self.pelvis = start.pelvis.clone().requires_grad_()
        self.pose = start.body_pose.clone().requires_grad_()
        self.betas = torch.zeros(10, requires_grad=True)
        self.scale = torch.zeros((), requires_grad=True)

    def _to_camera(self) -> Tensor:
        """(T, 3, 3): world landmarks look along the ray to the person, the camera along its axis."""
        middle = _hips(self.image)[:, 0]
        ray = torch.stack(
            [
                (middle[:, 0] - self.camera[0, 2]) / self.camera[0, 0],
                (middle[:, 1] - self.camera[1, 2]) / self.camera[1, 1],
                torch.ones(len(middle)),
            ],
            1,
        )
        return rotation_between(torch.tensor([0.0, 0.0, 1.0]).expand_as(ray), ray)

    def rotations(self) -> Tensor:
        root = axis_angle_to_matrix(self.turn) @ self.first_turn
        return torch.cat([root[:, None], axis_angle_to_matrix(self.pose)], 1)

    def _error(self) -> Tensor:
        joints, points = self.body.pose(self.rotations(), self.betas, self.pelvis)
        s = self.settings
        world = (points - _hips(points)) - self.scale.exp() * self.world
        by_world = _weighted(_robust(world / s.world_m), self.world_weight)
        image = (self._project(points) - self.image) / (s.image_share * self.size[:, None, None])
        by_image = _weighted(_robust(image), self.weight)
        likely = s.pose * torch.log1p(self.prior.unlikely(self.pose) / 3) + s.limits * self.prior.beyond(self.pose)
        error = (by_world + by_image + likely).mean()
        error = error + s.shape * self.betas.square().sum() + s.scale * self.scale.square()
        if len(joints) > 2:
            second = (joints[2:] - 2 * joints[1:-1] + joints[:-2]) * self.fps**2
            error = error + (self.together * _robust(second / s.acceleration_m_s2).mean(1)).mean()
        return error

    def _project(self, points: Tensor) -> Tensor:
        # a body that slips behind the camera is pushed out again
        ahead = torch.cat([points[..., :2], points[..., 2:].clamp_min(0.1)], -1)
        return project(ahead, self.camera)

    def run(self) -> None:
        placed, everything = self.settings.steps
        self._descend([self.turn, self.pelvis], placed, 0.03)
        self._descend([self.turn, self.pelvis, self.pose, self.betas, self.scale], everything, 0.04)

    def _descend(self, values: list[Tensor], steps: int, rate: float) -> None:
        optimizer = torch.optim.Adam(values, lr=rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1), eta_min=rate / 20)
        for _ in range(steps):
            for value in (self.turn, self.pelvis, self.pose, self.betas, self.scale):
                value.grad = None
            self._error().backward()
            optimizer.step()
            schedule.step()

    @torch.no_grad()
    def result(self) -> Fit:
        rotations = self.rotations()
        _, points = self.body.pose(rotations, self.betas, self.pelvis)
        away = (self._project(points) - self.image).norm(dim=-1)
        reprojection, seen = _weighted(away, self.visible.clamp_min(0.02)), _weighted(self.visible, self.weight)
        fits = torch.exp(-((reprojection / self.size / 0.06) ** 2))
        transl = self.pelvis - self.model.rest_pelvis(self.betas[None].to(self.model.device)).cpu()
        motion = Motion(
            self.pose.detach().numpy(), self.betas.detach().numpy(), matrix_to_axis_angle(rotations[:, 0]).numpy(),
            transl.numpy(), self.fps, axes="camera", body=self.model.name, intrinsics=self.camera.numpy(),
        )  # fmt: skip
        return Fit(motion, (seen * fits).numpy(), reprojection.numpy(), self.size.numpy())


def _hips(points: Tensor) -> Tensor:
    """Middle of the hips (T, 1, n) of landmarks (T, N, n)."""
    return points[:, [USED.index(23), USED.index(24)]].mean(1, keepdim=True)


def _weighted(values: Tensor, weight: Tensor) -> Tensor:
    """Mean over the landmarks of each frame: (T, N) → (T,)."""
    return (weight * values).sum(1) / weight.sum(1)


def _robust(difference: Tensor) -> Tensor:
    """(..., n) → (...): quadratic in the length for small ones, then linear (Charbonnier)."""
    return (1 + difference.square().sum(-1)).sqrt() - 1
