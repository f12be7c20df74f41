"""The body fit on landmarks made from a known motion: joints within millimetres, sides kept, bad ones outweighed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from unimo.body import JOINT_NAMES, load_body
from unimo.body.names import MIRRORED
from unimo.data.extractors.body_fit import Fit, fit_body
from unimo.data.extractors.landmark_map import EARS, HEELS, HIPS, NOSE, TOES, USED, LandmarkBody
from unimo.data.extractors.mediapipe_process import LandmarkTrack
from unimo.data.extractors.pose_prior import PosePrior, load_prior
from unimo.geometry.cameras import intrinsics_matrix, project
from unimo.geometry.rotations import axis_angle_to_matrix, rotation_between

CAMERA = intrinsics_matrix(900, 320, 240)
FRAMES, FPS = 12, 30.0
TURN = {"left_hip": (-0.9, 0, 0), "left_knee": (1.1, 0, 0), "right_hip": (0.3, 0, 0), "right_knee": (0.4, 0, 0),
        "left_shoulder": (0, 0, -1.1), "right_shoulder": (0.2, 0.5, 0.6), "right_elbow": (0, 1.2, 0),
        "left_elbow": (0, -0.5, 0), "spine2": (0.15, 0.1, 0), "neck": (0.1, 0.2, 0)}  # fmt: skip


class Known:
    """A person who walks on the spot, turned to the side and off the middle of the picture, and the landmarks."""

    def __init__(self) -> None:
        self.body = LandmarkBody.of(load_body("open"))
        wave = torch.sin(torch.arange(FRAMES) / FPS * 2 * torch.pi)[:, None, None]
        pose = torch.zeros(FRAMES, 21, 3)
        for name, turn in TURN.items():
            pose[:, JOINT_NAMES.index(name) - 1] = torch.tensor(turn)
        root = torch.tensor([torch.pi, 0.0, 0.0]), torch.tensor([0.0, 0.7, 0.0])
        turned = axis_angle_to_matrix(root[0]) @ axis_angle_to_matrix(root[1])
        self.rotations = torch.cat(
            [turned.expand(FRAMES, 1, 3, 3), axis_angle_to_matrix(pose * (1 + 0.15 * wave))], 1
        )
        self.betas = torch.tensor([0.8, -0.5, *[0.0] * 8])
        along = 0.5 + 0.01 * torch.arange(FRAMES)
        self.pelvis = torch.stack([along, torch.zeros(FRAMES), torch.full((FRAMES,), 4.0)], 1)
        self.joints, points = self.body.pose(self.rotations, self.betas, self.pelvis)
        self.track = track_of(points)


def track_of(points: torch.Tensor) -> LandmarkTrack:
    """What MediaPipe would say of landmarks (T, N, 3) in camera axes: metres as seen along the ray to the hips."""
    hips = points[:, [USED.index(i) for i in HIPS]].mean(1, keepdim=True)
    pixels = project(points, torch.from_numpy(CAMERA))
    middle = project(hips, torch.from_numpy(CAMERA))[:, 0]
    ray = torch.cat([(middle - torch.tensor([320.0, 240.0])) / 900, torch.ones(len(middle), 1)], 1)
    look = rotation_between(torch.tensor([0.0, 0.0, 1.0]).expand_as(ray), ray)
    world = np.zeros((len(points), 33, 3), np.float32)
    image = np.repeat(middle.numpy()[:, None], 33, axis=1)
    world[:, USED], image[:, USED] = ((points - hips) @ look).numpy(), pixels.numpy()
    return LandmarkTrack(np.arange(len(points)), world, image, np.ones((len(points), 33), np.float32))


@pytest.fixture(scope="module")
def known() -> Known:
    return Known()


@pytest.fixture(scope="module")
def fit(known: Known) -> Fit:
    return fit_body(known.track, CAMERA, FPS)


def joints_of(fit: Fit) -> torch.Tensor:
    parts = (torch.from_numpy(a) for a in (fit.motion.rotations(), fit.motion.betas, fit.motion.transl))
    return load_body("open").joints(*parts)


def errors_mm(fit: Fit, known: Known, order: Sequence[int] = range(22)) -> torch.Tensor:
    """(T, 22) with both pelvises in one place."""
    joints = joints_of(fit)[:, list(order)]
    return 1000 * ((joints - joints[:, :1]) - (known.joints - known.joints[:, :1])).norm(dim=-1)


def test_a_known_motion_is_found_again(known: Known, fit: Fit) -> None:
    errors = errors_mm(fit, known).mean(0)
    assert errors.mean() < 22 and errors.max() < 45
    wrists = [JOINT_NAMES.index(f"{side}_wrist") for side in ("left", "right")]
    assert errors[wrists].max() < 35
    turn = torch.from_numpy(fit.motion.rotations()[:, 0]).transpose(1, 2) @ known.rotations[:, 0]
    assert torch.rad2deg(torch.acos(((turn.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1))).max() < 8
    apart = (joints_of(fit)[:, 0] - known.joints[:, 0]).abs().mean(0)
    assert apart[:2].max() < 0.02 and apart[2] < 0.1  # at 4 m: size and distance look alike
    assert fit.reprojection_px.mean() < 2.5 and fit.confidence.min() > 0.95
    assert fit.motion.axes == "camera" and np.array_equal(fit.motion.intrinsics, CAMERA)
    assert (fit.motion.betas == fit.motion.betas[:1]).all()


def test_left_and_right_are_not_swapped(known: Known, fit: Fit) -> None:
    assert errors_mm(fit, known, MIRRORED).mean() > 5 * errors_mm(fit, known).mean()
    bent = fit.motion.body_pose[:, JOINT_NAMES.index("left_knee") - 1, 0]
    other = fit.motion.body_pose[:, JOINT_NAMES.index("right_knee") - 1, 0]
    assert (bent > other + 0.3).all()


def test_the_same_twice(known: Known, fit: Fit) -> None:
    again = fit_body(known.track, CAMERA, FPS)
    assert np.array_equal(again.motion.body_pose, fit.motion.body_pose)
    assert np.array_equal(again.confidence, fit.confidence)


def test_what_is_not_seen_hardly_counts_and_lowers_the_confidence(known: Known, fit: Fit) -> None:
    image, world, visibility = (part.copy() for part in (known.track.image, known.track.world, known.track.visibility))
    image[:, 16, 1] -= 50  # the right wrist
    world[:, 16, 1] -= 50 * 4 / 900
    visibility[:, 16] = 0.02
    hidden = fit_body(replace(known.track, image=image, world=world, visibility=visibility), CAMERA, FPS)
    believed = fit_body(replace(known.track, image=image, world=world), CAMERA, FPS)
    wrist = JOINT_NAMES.index("right_wrist")
    still, misled = (errors_mm(each, known)[:, wrist].mean() for each in (hidden, believed))
    assert still < 30 and misled > still + 30
    faint = fit_body(replace(known.track, visibility=np.full_like(visibility, 0.3)), CAMERA, FPS)
    assert hidden.confidence.mean() < fit.confidence.mean() and faint.confidence.max() < 0.35


def test_landmarks_that_no_body_has_are_not_trusted(known: Known) -> None:
    image = known.track.image.copy()
    image[:, :, 1] += np.where(np.arange(33) % 2, 90, -90)
    assert fit_body(replace(known.track, image=image), CAMERA, FPS).confidence.max() < 0.5


def test_a_gap_is_no_motion(known: Known) -> None:
    """Across a gap somebody may be anywhere: the jump must not be smoothed away."""
    frames = np.r_[0:6, 40:46]
    shift = np.where(frames >= 40, 150, 0).astype(np.float32)
    image = known.track.image.copy()
    image[..., 0] += shift[:, None]
    apart = fit_body(replace(known.track, frames=frames, image=image), CAMERA, FPS)
    joined = fit_body(replace(known.track, image=image), CAMERA, FPS)
    assert apart.reprojection_px.max() < 4 < joined.reprojection_px.max()


def test_one_frame_is_enough(known: Known) -> None:
    first = LandmarkTrack(*(part[:1] for part in (known.track.frames, known.track.world, known.track.image,
                                                  known.track.visibility)))  # fmt: skip
    one = fit_body(first, CAMERA, FPS)
    assert len(one.motion) == 1 and one.reprojection_px[0] < 3


def test_the_places_of_landmarks_on_the_body() -> None:
    points = dict(zip(USED, LandmarkBody.of(load_body("open")).points.numpy(), strict=True))
    assert points[NOSE][2] == max(point[2] for i, point in points.items() if i < 11)  # the body looks along +z
    for left, right in (EARS, HEELS, TOES, (11, 12), (19, 20)):
        assert points[left][0] > 0.05 and np.allclose(points[left] * [-1, 1, 1], points[right], atol=2e-3)
    assert points[TOES[0]][2] - points[HEELS[0]][2] > 0.2 and points[19][2] > points[17][2]


def test_the_prior_knows_people() -> None:
    prior = load_prior()
    poses = torch.zeros(3, 21, 3)
    poses[0] = prior.mean.reshape(21, 3)
    poses[1, JOINT_NAMES.index("left_knee") - 1, 0] = 1.0
    poses[2, JOINT_NAMES.index("left_knee") - 1, 0] = -1.0  # bent forwards
    usual, bent, broken = prior.unlikely(poses).tolist()
    assert usual == 0 and bent < broken
    beyond = prior.beyond(poses)
    assert beyond[0] == 0 and beyond[2] > 0.5
    rng = np.random.default_rng(0)
    fitted = PosePrior.fit(rng.normal(0.3, 0.4, (4000, 21, 3)) * np.array([1.0, 0.2, 0.2]))
    drawn = torch.from_numpy(rng.normal(0.3, 0.4, (500, 21, 3)) * np.array([1.0, 0.2, 0.2])).float()
    assert 0.5 < fitted.unlikely(drawn).mean() < 1.2
