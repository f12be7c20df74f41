"""Walking without mocap: a simple gait cycle in SMPL-X parameters, for when the user gives no motions.

Out: world motions (y up, facing +z at first, floor at y = 0) of the open body, axis-angle, metres, radians.
Joints follow the phase of the step; the pelvis goes against the standing foot, and the lower foot is on the floor.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from unimo.body.names import FEET, JOINT_NAMES
from unimo.motion.library import MotionLibrary, NamedMotion
from unimo.motion.motion import Motion
from unimo.synth.puppet import load_puppet

_JOINT = {name: index for index, name in enumerate(JOINT_NAMES)}


def gait_library(count: int = 24, seed: int = 0, seconds: float = 6.0, fps: float = 30.0) -> MotionLibrary:
    """`count` different walks of `seconds` each; a pure function of its arguments."""
    walks = []
    for index in range(count):
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, index])))
        walks.append(NamedMotion(f"gait_{seed}_{index:03d}", f"gait{index:03d}", walk(rng, seconds, fps)))
    return MotionLibrary(walks)


def walk(rng: np.random.Generator, seconds: float, fps: float) -> Motion:
    """One walk with random cadence, stride, arm swing, lean and curve."""
    frames = int(round(seconds * fps)) + 1
    cadence, stride = rng.uniform(0.75, 1.15), rng.uniform(0.25, 0.5)
    swing, elbow, lean = rng.uniform(0.2, 0.6), rng.uniform(0.15, 0.9), rng.uniform(-0.03, 0.12)
    hang, bounce, curve = rng.uniform(1.15, 1.4), rng.uniform(0.5, 0.9), rng.uniform(-0.5, 0.5)
    phase = 2 * np.pi * (cadence * np.arange(frames) / fps + rng.random())
    euler = np.zeros((frames, len(JOINT_NAMES), 3))
    for side, offset, sign in (("left", 0.0, 1.0), ("right", np.pi, -1.0)):
        step = phase + offset
        # nearly a triangle wave: the leg on the floor goes back at an even speed
        sweep = np.arcsin(0.9 * np.sin(step)) / np.arcsin(0.9)
        euler[:, _JOINT[f"{side}_hip"], 0] = -stride * sweep - 0.08
        knee = 0.12 + bounce * np.clip(np.cos(step - 0.35), 0.0, None) ** 2
        euler[:, _JOINT[f"{side}_knee"], 0] = knee
        euler[:, _JOINT[f"{side}_ankle"], 0] = 0.3 * stride * np.sin(step) - 0.35 * knee + 0.12
        euler[:, _JOINT[f"{side}_shoulder"], 2] = -sign * hang
        euler[:, _JOINT[f"{side}_shoulder"], 0] = swing * np.sin(step)
        euler[:, _JOINT[f"{side}_elbow"], 1] = -sign * (elbow + 0.3 * swing * np.sin(step))
    euler[:, _JOINT["spine1"], 0] = lean
    euler[:, _JOINT["spine2"], 1] = 0.12 * np.sin(phase)
    euler[:, 0, 1] = curve * np.arange(frames) / fps - 0.08 * np.sin(phase)
    # "XYZ": the arm hangs down first and then swings about the body's own left-right axis
    rotations = Rotation.from_euler("XYZ", euler.reshape(-1, 3)).as_matrix().reshape(frames, -1, 3, 3)
    return _walk_on_floor(rotations, np.where(np.cos(phase) < 0, 0, 1), fps)


def _walk_on_floor(rotations: np.ndarray, standing: np.ndarray, fps: float) -> Motion:
    """Moves the pelvis against the standing foot; rotations (T, 22, 3, 3), standing (T,) 0 for left and 1 for right."""
    puppet = load_puppet("open")
    rest = puppet.rest_joints(np.zeros(10))
    _, places = puppet.pose(rotations, rest)
    ankles = places[:, [7, 8]]
    rows = np.arange(len(ankles) - 1)
    slide = ankles[rows, standing[1:]] - ankles[rows + 1, standing[1:]]
    # the change of feet would be a jerk without smoothing over a tenth of a second
    slide = gaussian_filter1d(slide, sigma=0.1 * fps, axis=0, mode="reflect")
    pelvis = np.concatenate([np.zeros((1, 3)), np.cumsum(slide, axis=0)])
    pelvis[:, 1] = 0.03 - places[:, FEET, 1].min(axis=1)
    angles = Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_rotvec().reshape(len(rotations), -1, 3)
    return Motion(
        body_pose=angles[:, 1:], betas=np.zeros(10), global_orient=angles[:, 0], transl=pelvis - rest[0], fps=fps,
        axes="world", body="open",
    )  # fmt: skip
