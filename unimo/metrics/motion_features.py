"""The dance features of AIST++ (fairmotion): 72 kinetic and 32 geometric numbers of a motion.

In: joints (..., T, 24, 3), metres, y up, SMPL's 24 joints: our 22 body joints, then the two hands. Out: features of a
clip, float64. Sets of them are compared by `unimo.metrics.distributions`.

Both come in two forms. "strict" reproduces the code that published numbers come from, mistakes included; "fixed"
repairs them. Numbers of the two never compare.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from unimo.body.names import ALL_JOINT_NAMES, JOINT_NAMES
from unimo.metrics.geometric_tests import BodyLengths, geometric_tests

Form = Literal["strict", "fixed"]
FORMS: tuple[Form, ...] = get_args(Form)
BODY_LENGTHS = BodyLengths(humerus=0.2568381092115207, shoulders=0.39084835854945527, hips=0.11924706586886204)
"""Of the mean body that the thresholds are multiples of, in metres, whatever the size of the person."""
WINDOW = 2
FINGER_BASES: tuple[tuple[int, ...], ...] = tuple(
    tuple(ALL_JOINT_NAMES.index(f"{side}_{finger}1") for finger in ("index", "middle", "pinky", "ring", "thumb"))
    for side in ("left", "right")
)
"""The first joints of the fingers of the left and of the right hand, among SMPL-X's 55."""
_STRICT_KINETIC_S, _STRICT_GEOMETRIC_S, _FIXED_S = 1 / 60, 1 / 120, 1 / 30


def joints24(joints: Tensor, hands: Sequence[Sequence[int]] = FINGER_BASES) -> Tensor:
    """Duolando's 24 joints of the 55 of SMPL-X: the 22 of the body, then the mean of each hand's five finger bases.

    Args:
        joints: (..., 55, 3) in SMPL-X order.
        hands: the joints that each hand is the mean of.

    Returns:
        (..., 24, 3), left hand before right.

    Raises:
        ValueError: not 55 joints.
    """
    if joints.shape[-2:] != (len(ALL_JOINT_NAMES), 3):
        raise ValueError(f"need (...,55,3) joints, got {tuple(joints.shape)}")
    means = [joints[..., list(index), :].mean(dim=-2, keepdim=True) for index in hands]
    return torch.cat([joints[..., : len(JOINT_NAMES), :], *means], dim=-2)


def from_first_root(joints: Tensor) -> Tensor:
    """Joints (..., T, J, 3) with joint 0 of the first frame as origin of all frames; the heading stays (Duolando)."""
    return joints - joints[..., :1, :1, :]


def kinetic_features(
    joints: Tensor, form: Form = "strict", frame_time: float | None = None, window: int = WINDOW
) -> Tensor:
    """Kinetic features: horizontal energy, vertical energy and expenditure of each joint, joint after joint.

    With v̄_t the mean velocity over the steps t−window..t+window that exist, t = 1..T−1: the means over t of |v̄_xz|²
    and v̄_y², (m/s)², and of |ā|, ā the mean acceleration over the same window.

    The code of AIST++ (and Duolando's) takes x_t − x_{t−1}/dt for the earlier velocity of an acceleration. That
    "acceleration" is about 3540 times the joint's distance from the origin, it changes when the motion is moved, and
    its size hides everything else. "strict" does the same; "fixed" takes real accelerations, m/s² (SOLAMI's repair).

    Args:
        joints: (..., T, J, 3) metres, y up, T >= 3; J = 24 in the field.
        form: see above.
        frame_time: seconds a frame; None is the field's constant, 1/60 strict and 1/30 fixed (SOLAMI), whatever the
            motion's rate. "fixed" features in true units need 1 / fps.
        window: frames to each side.

    Returns:
        (..., 3 J) float64.

    Raises:
        ValueError: fewer than three frames, another form, or a frame time that is not above 0.
    """
    if joints.dim() < 3 or joints.shape[-3] < 3:
        raise ValueError(f"need (...,T,J,3) joints of at least three frames, got {tuple(joints.shape)}")
    dt = _frame_time(form, frame_time, _STRICT_KINETIC_S)
    positions = joints.double()
    steps = positions.diff(dim=-3)
    velocity = _window_means(steps, steps.shape[-3], window) / dt
    earlier = steps[..., :-1, :, :] / dt
    if form == "strict":
        earlier = positions[..., 1:-1, :, :] - positions[..., :-2, :, :] / dt
    acceleration = _window_means((steps[..., 1:, :, :] / dt - earlier) / dt, steps.shape[-3], window)
    horizontal = velocity[..., 0].square() + velocity[..., 2].square()
    parts = (horizontal, velocity[..., 1].square(), acceleration.norm(dim=-1))
    return torch.stack([part.mean(dim=-2) for part in parts], dim=-1).flatten(-2)


def _frame_time(form: Form, given: float | None, strict: float) -> float:
    """Seconds a frame: those given, or the field's constant for the form."""
    if form not in FORMS or (given is not None and not given > 0):
        raise ValueError(f"need one of {', '.join(FORMS)} and a frame time above 0, got {form!r} and {given}")
    return given if given is not None else strict if form == "strict" else _FIXED_S


def _window_means(values: Tensor, rows: int, radius: int) -> Tensor:
    """Means of (..., K, J, 3) over the rows i−radius..i+radius that exist, for i = 0..rows−1; rows may exceed K."""
    count = values.shape[-3]
    total = torch.cat([torch.zeros_like(values[..., :1, :, :]), values.cumsum(dim=-3)], dim=-3)
    centre = torch.arange(rows, device=values.device)
    low, high = (centre - radius).clamp(0, count), (centre + radius + 1).clamp(0, count)
    return (total[..., high, :, :] - total[..., low, :, :]) / (high - low)[:, None, None]


def geometric_features(
    joints: Tensor, form: Form = "strict", frame_time: float | None = None, lengths: BodyLengths = BODY_LENGTHS
) -> Tensor:
    """Geometric ("manual") features: share of the frames 1..T−1 in which each of 32 tests of the pose holds.

    The tests are Müller and Röder's (2006) on planes, angles and speeds, see `geometric_tests`; heights count from the
    lowest joint of the frame, so that y must point up.

    The code of AIST++ never looks at the fourth joint of its five tests of relative motion: "right hand moves up" and
    "left hand moves up" both watch the chest, and are equal in every motion. "strict" does the same; "fixed" tests the
    speed of the fourth joint relative to the third. No other project has published this form. Kept in both: the tests 0
    and 1 (hands) and 14 and 15 (ankles) name mirrored joints but not the mirrored side of their plane, so that one of a
    pair looks forward and the other backward; which was meant is not known.

    Args:
        joints: (..., T, 24, 3) metres, y up, T >= 2.
        form: see above.
        frame_time: seconds a frame; None is 1/120 strict, the field's constant at any rate, and 1/30 fixed; "fixed"
            speeds are true at 1 / fps.
        lengths: of the body that thresholds are multiples of.

    Returns:
        (..., 32) float64, 0..1.

    Raises:
        ValueError: fewer than two frames, not 24 joints, another form, or a frame time that is not above 0.
    """
    if joints.dim() < 3 or joints.shape[-2:] != (24, 3) or joints.shape[-3] < 2:
        raise ValueError(f"need (...,T,24,3) joints of at least two frames, got {tuple(joints.shape)}")
    dt = _frame_time(form, frame_time, _STRICT_GEOMETRIC_S)
    holds = geometric_tests(joints.double(), dt, lengths, watch_fourth=form == "fixed")
    return holds.double().mean(dim=-2)
