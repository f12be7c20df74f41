"""Dance features: numbers by hand and by plain loops, invariances, and the field's mistakes, kept and mended."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import roma
import torch
from torch import Tensor

from unimo.body.names import ALL_JOINT_NAMES, JOINT_NAMES, MIRRORED
from unimo.metrics.motion_features import (
    BODY_LENGTHS,
    FINGER_BASES,
    FORMS,
    Form,
    from_first_root,
    geometric_features,
    joints24,
    kinetic_features,
)

NAMES = (*JOINT_NAMES, "left_hand", "right_hand")
HALF = {  # a body with straight legs and arms along x, metres; left is +x
    "hip": (0.07, -0.08, 0), "knee": (0.08, -0.48, 0), "ankle": (0.09, -0.88, -0.02), "foot": (0.1, -0.92, 0.12),
    "collar": (0.06, 0.4, 0), "shoulder": (0.18, 0.42, 0), "elbow": (0.44, 0.42, 0), "wrist": (0.69, 0.42, 0),
    "hand": (0.77, 0.42, 0),
}  # fmt: skip
SPINE = {"pelvis": 0.0, "spine1": 0.1, "spine2": 0.22, "spine3": 0.28, "neck": 0.48, "head": 0.56}
MIRROR24 = [*MIRRORED, 23, 22]
PAIRS = [(2, 3), (4, 5), (6, 7), (10, 11), (12, 13), (16, 17), (19, 20), (21, 22), (23, 24), (25, 26), (29, 30)]


def joint(name: str) -> int:
    return NAMES.index(name)


def standing(frames: int) -> Tensor:
    """A motionless body, (frames, 24, 3)."""
    points = []
    for name in NAMES:
        side, _, part = name.partition("_")
        x, y, z = HALF[part] if side in ("left", "right") else (0.0, SPINE[name], 0.0)
        points.append((-x if side == "right" else x, y, z))
    return torch.tensor(points, dtype=torch.float64).repeat(frames, 1, 1)


@pytest.fixture
def dance() -> Tensor:
    """Smooth lively motion of a body, (50, 24, 3)."""
    generator = torch.Generator().manual_seed(3)
    time = torch.linspace(0, 1, 50, dtype=torch.float64)[:, None, None]
    motion = standing(50)
    for wave in range(1, 5):
        size, phase = (torch.randn(24, 3, generator=generator, dtype=torch.float64) for _ in range(2))
        motion = motion + 0.15 * size / wave * torch.sin(9 * wave * time + 3 * phase)
    return motion + torch.tensor([0.5, 0, -0.4]) * time + torch.tensor([0.2, 0.95, 0.1])


def turned(joints: Tensor, axis: tuple[float, float, float]) -> Tensor:
    return joints @ roma.rotvec_to_rotmat(torch.tensor(axis, dtype=torch.float64)).T


def plain_kinetic(joints: Tensor, dt: float, window: int, mistaken: bool) -> Tensor:
    """The definition frame by frame."""
    length = len(joints)

    def speed(frame: int) -> Tensor:
        return (joints[frame] - joints[frame - 1]) / dt

    def push(frame: int) -> Tensor:
        before = joints[frame] - joints[frame - 1] / dt if mistaken else speed(frame)
        return (speed(frame + 1) - before) / dt

    def around(frame: int, last: int) -> Iterator[int]:
        return iter(range(max(frame - window, 1), min(frame + window, last) + 1))

    rows = []
    for frame in range(1, length):
        velocity = torch.stack([speed(i) for i in around(frame, length - 1)]).mean(0)
        acceleration = torch.stack([push(i) for i in around(frame, length - 2)]).mean(0)
        level = velocity[:, 0] ** 2 + velocity[:, 2] ** 2
        rows.append(torch.stack([level, velocity[:, 1] ** 2, acceleration.norm(dim=-1)], dim=-1))
    return torch.stack(rows).mean(0).flatten()


@pytest.mark.parametrize("frames", [3, 4, 7, 50])
@pytest.mark.parametrize("window", [1, 2, 4])
def test_kinetic_features_are_the_definition_frame_by_frame(dance, frames: int, window: int) -> None:
    motion = dance[:frames]
    strict = kinetic_features(motion, "strict", window=window)
    torch.testing.assert_close(strict, plain_kinetic(motion, 1 / 60, window, True), rtol=1e-9, atol=1e-9)
    fixed = kinetic_features(motion, "fixed", window=window)
    torch.testing.assert_close(fixed, plain_kinetic(motion, 1 / 30, window, False), rtol=1e-9, atol=1e-9)


def test_kinetic_features_of_a_straight_walk_and_of_a_fall() -> None:
    time = torch.arange(20, dtype=torch.float64)[:, None, None] / 30
    walk = standing(20) + time * torch.tensor([1.0, 0.5, 2.0])
    expected = torch.tensor([5.0, 0.25, 0.0], dtype=torch.float64).repeat(24)
    torch.testing.assert_close(kinetic_features(walk, "fixed"), expected, rtol=1e-6, atol=1e-6)
    fall = standing(20) - 0.5 * 9.81 * time**2 * torch.tensor([0.0, 1, 0])
    torch.testing.assert_close(kinetic_features(fall, "fixed")[2::3], expected[:24].fill_(9.81), rtol=1e-6, atol=1e-6)
    still = kinetic_features(walk, "fixed", frame_time=1 / 15)
    torch.testing.assert_close(still[0::3], kinetic_features(walk, "fixed")[0::3] / 4)


def test_moving_a_motion_changes_strict_expenditure_only(dance) -> None:
    shift = torch.tensor([1.5, 0, -2])
    before, after = (kinetic_features(motion, "strict") for motion in (dance, dance + shift))
    for part in (0, 1):
        torch.testing.assert_close(after[part::3], before[part::3])
    assert ((after - before)[2::3].abs() > 1000).all()
    torch.testing.assert_close(kinetic_features(dance + shift, "fixed"), kinetic_features(dance, "fixed"))


def test_strict_expenditure_is_the_distance_from_the_origin() -> None:
    motion = standing(9)
    expected = 3540 * motion[0].norm(dim=-1)
    torch.testing.assert_close(kinetic_features(motion, "strict")[2::3], expected)
    assert kinetic_features(motion, "fixed").max() < 1e-12


@pytest.mark.parametrize("form", FORMS)
def test_kinetic_features_ignore_the_heading_but_not_a_tilt(dance, form: Form) -> None:
    features = kinetic_features(dance, form)
    torch.testing.assert_close(kinetic_features(turned(dance, (0, 1.1, 0)), form), features)
    tilted = kinetic_features(turned(dance, (1.1, 0, 0)), form)
    torch.testing.assert_close(tilted[2::3], features[2::3])
    assert (tilted[1::3] - features[1::3]).abs().mean() > 0.1 * features[1::3].mean()


def test_geometric_features_ignore_place_and_heading_but_not_what_is_up_or_large(dance) -> None:
    for form in FORMS:
        features = geometric_features(dance, form)
        assert features.min() == 0 and features.max() == 1 and ((features > 0) & (features < 1)).sum() > 8
        moved = turned(dance, (0, 1.1, 0)) + torch.tensor([3.0, -5, 2])
        torch.testing.assert_close(geometric_features(moved, form), features)
        assert (geometric_features(dance * torch.tensor([1.0, -1, -1]), form) != features).sum() > 3
        assert (geometric_features(1.5 * dance, form) != features).sum() > 3


@pytest.mark.parametrize("form", FORMS)
def test_a_mirrored_dance_swaps_left_and_right_except_in_front_and_behind(dance, form: Form) -> None:
    features = geometric_features(dance, form)
    mirrored = geometric_features((dance * torch.tensor([-1.0, 1, 1]))[:, MIRROR24], form)
    order = list(range(32))
    for left, right in PAIRS:
        order[left], order[right] = right, left
    rest = [index for index in range(32) if index not in (0, 1, 14, 15)]
    torch.testing.assert_close(mirrored[rest], features[order][rest])
    assert (mirrored[[0, 1, 14, 15]] != features[[1, 0, 15, 14]]).all()


def test_geometric_features_of_a_body_with_spread_arms() -> None:
    features = geometric_features(standing(5))
    holds = {8, 15, 23, 24}  # hands apart, left ankle behind the right leg's plane, upper arms off the trunk
    assert {index for index, share in enumerate(features.tolist()) if share} == holds
    assert torch.equal(geometric_features(standing(5), "fixed"), features)


@pytest.mark.parametrize(
    ("name", "place", "feature"),
    [
        ("right_wrist", (-0.3, 0.8, 0), 2),
        ("left_wrist", (0.3, 0.8, 0), 3),
        ("right_wrist", (-0.3, 0.45, 0), 6),
        ("right_ankle", (-0.09, -0.5, -0.02), 16),
        ("left_ankle", (0.5, -0.88, -0.02), 18),
        ("left_ankle", (0.09, -0.48, -0.4), 20),
        ("right_knee", (-0.07, -0.08, 0.4), 25),
        ("left_wrist", (0.3, -0.8, 0), 30),
        ("neck", (0, 0, 0.48), 28),
        ("pelvis", (0, 0, 0.3), 27),
        ("right_ankle", (-0.09, -0.6, 0.5), 14),
    ],
)
def test_a_pose_switches_its_test_on(name: str, place: tuple[float, float, float], feature: int) -> None:
    motion = standing(4)
    motion[2:, joint(name)] = torch.tensor(place, dtype=torch.float64)
    moves = geometric_features(motion)
    assert geometric_features(standing(4))[feature] == 0 and moves[feature] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("name", "feature"),
    [("right_wrist", 12), ("left_wrist", 13), ("right_ankle", 21), ("left_ankle", 22), ("pelvis", 31)],
)
def test_speeds_count_in_humeri_a_second(name: str, feature: int) -> None:
    limit = (2.3 if name == "pelvis" else 2.5) * BODY_LENGTHS.humerus
    for speed, expected in ((0.99 * limit, 0), (1.01 * limit, 1)):
        motion = standing(6)
        motion[:, joint(name), 2] += speed / 30 * torch.arange(6, dtype=torch.float64)
        assert geometric_features(motion, "fixed")[feature] == expected
        assert geometric_features(motion, "strict", 1 / 30)[feature] == expected
    assert geometric_features(motion / 3, "strict")[feature] == 1  # 120 frames a second, whatever the truth


def test_the_tests_of_hands_that_leave_the_trunk_look_opposite_ways() -> None:
    for name, way, expected in (("right", -1, [1, 0]), ("right", 1, [0, 0]), ("left", -1, [0, 0]), ("left", 1, [0, 1])):
        motion = standing(6)
        motion[:, joint(f"{name}_wrist"), 2] += way * 0.03 * torch.arange(6)
        for form in FORMS:
            assert geometric_features(motion, form)[:2].tolist() == expected


def test_upside_down_is_not_lying() -> None:
    assert geometric_features(turned(standing(3), (2.9, 0, 0)))[28] == 0
    assert geometric_features(turned(standing(3), (1.6, 0, 0)))[28] == 1


@pytest.mark.parametrize(
    ("name", "way", "strict", "fixed"),
    [
        ("left", -1, [1, 0], [0, 0]),
        ("right", -1, [0, 1], [0, 0]),
        ("left", 1, [0, 1], [1, 0]),
        ("right", 1, [1, 0], [0, 1]),
    ],
)
def test_hands_that_leave_the_root(name: str, way: int, strict: list[float], fixed: list[float]) -> None:
    motion = standing(6)
    motion[:, joint(f"{name}_wrist"), 1] += way * 0.03 * torch.arange(6)
    assert geometric_features(motion, "strict")[10:12].tolist() == strict
    assert geometric_features(motion, "fixed")[10:12].tolist() == fixed


def test_strict_never_sees_a_rising_hand_and_fixed_tells_left_from_right(dance) -> None:
    strict = geometric_features(dance)
    assert strict[4] == strict[5]
    motion = standing(6)
    motion[:, joint("right_wrist"), 1] += 0.03 * torch.arange(6)
    assert geometric_features(motion)[4:6].tolist() == [0, 0]
    assert geometric_features(motion, "fixed")[4:6].tolist() == [1, 0]
    closing = standing(6)
    closing[:, joint("left_wrist"), 0] -= 0.03 * torch.arange(6)
    assert geometric_features(closing, "fixed")[9] == 1
    assert geometric_features(closing.flip(0), "fixed")[9] == 0


@pytest.mark.parametrize("form", FORMS)
def test_leading_dimensions_are_clips(dance, form: Form) -> None:
    clips = torch.stack([dance[:20], dance[20:40]])
    for features in (kinetic_features, geometric_features):
        torch.testing.assert_close(features(clips, form)[1], features(clips[1], form))
    assert kinetic_features(clips.float()).dtype == geometric_features(clips.float()).dtype == torch.float64


def test_hands_are_the_mean_of_the_bases_of_five_fingers() -> None:
    assert FINGER_BASES == ((25, 28, 31, 34, 37), (40, 43, 46, 49, 52))
    joints = torch.randn(3, 55, 3)
    small = joints24(joints)
    torch.testing.assert_close(small[:, :22], joints[:, :22])
    names = [name for name in ALL_JOINT_NAMES if name.startswith("right_") and name.endswith("1")]
    torch.testing.assert_close(small[:, 23], joints[:, [ALL_JOINT_NAMES.index(name) for name in names]].mean(1))
    torch.testing.assert_close(joints24(joints, ((0,), (1, 2)))[:, 22], joints[:, 0])


def test_the_first_root_is_the_origin_of_all_frames(dance) -> None:
    moved = from_first_root(dance + 5)
    torch.testing.assert_close(moved, from_first_root(dance))
    assert moved[0, 0].abs().max() == 0 and moved[-1, 0].norm() > 0.1


def test_motions_that_are_too_short_or_of_other_joints_are_refused() -> None:
    with pytest.raises(ValueError, match="three frames"):
        kinetic_features(standing(2))
    with pytest.raises(ValueError, match="24,3"):
        geometric_features(standing(5)[:, :22])
    with pytest.raises(ValueError, match="two frames"):
        geometric_features(standing(1))
    with pytest.raises(ValueError, match="55,3"):
        joints24(standing(2))


@pytest.mark.parametrize("features", [kinetic_features, geometric_features])
def test_a_form_or_a_frame_time_that_means_nothing_is_refused(dance, features) -> None:
    for form, frame_time in (("strikt", None), ("fixed", 0.0), ("strict", -1 / 30)):
        with pytest.raises(ValueError, match="frame time above 0"):
            features(dance, form, frame_time)
