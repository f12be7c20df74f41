"""Retargeting: made-up poses whose answer is known, and the figures on real mocap when it is at hand."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.motion.cmu_sample import standing
from unimo.body import JOINT_NAMES, load_body
from unimo.errors import InputError
from unimo.motion.bvh import parse_bvh
from unimo.motion.library import retarget_report
from unimo.motion.motion import Motion
from unimo.motion.retarget import retarget, retarget_errors


def _joints(motion: Motion) -> np.ndarray:
    return (
        load_body("open")
        .joints(torch.as_tensor(motion.rotations()), torch.as_tensor(motion.betas), torch.as_tensor(motion.transl))
        .numpy()
    )


def _place(joints: np.ndarray, name: str) -> np.ndarray:
    return joints[0, JOINT_NAMES.index(name)]


def test_standing_figure_stands_upright_on_the_floor_with_its_left_at_plus_x() -> None:
    motion = retarget(parse_bvh(standing()))
    assert (motion.axes, motion.body, motion.fps) == ("world", "open", pytest.approx(30, rel=1e-4))
    joints = _joints(motion)
    for side, sign in (("left", 1), ("right", -1)):
        arm = _place(joints, f"{side}_wrist") - _place(joints, f"{side}_shoulder")
        assert sign * arm[0] > 0.45 and np.abs(arm[1:]).max() < 0.05
        leg = _place(joints, f"{side}_ankle") - _place(joints, f"{side}_hip")
        assert leg[1] < -0.75 and np.abs(leg[[0, 2]]).max() < 0.06
        assert (_place(joints, f"{side}_foot") - _place(joints, f"{side}_ankle"))[2] > 0.1
    rotations, transl = torch.as_tensor(motion.rotations()), torch.as_tensor(motion.transl)
    vertices = load_body("open").vertices(rotations, torch.zeros(1, 10), transl)
    assert abs(vertices[0, :, 1].min().item()) < 0.01


def test_elbow_bends_and_forearm_twist_follow_the_file() -> None:
    # The left forearm turned by -90 degrees about y points forward (+z).
    bent = retarget(parse_bvh(standing(lradius=(0, -90, 0))))
    forearm = _place(_joints(bent), "left_wrist") - _place(_joints(bent), "left_elbow")
    assert forearm[2] > 0.2 and np.abs(forearm[:2]).max() < 0.03
    assert np.abs(_joints(bent)[0, JOINT_NAMES.index("right_wrist")] - _joints(retarget(parse_bvh(standing())))[
        0, JOINT_NAMES.index("right_wrist")]).max() < 0.02  # fmt: skip
    # A straight arm that is turned about itself moves no joint; only the rotations can show it.
    plain, twisted = (retarget(parse_bvh(text)) for text in (standing(), standing(lhumerus=(0, 0, 60))))
    shoulder = JOINT_NAMES.index("left_shoulder") - 1
    change = twisted.body_pose[0, shoulder] - plain.body_pose[0, shoulder]
    assert np.degrees(change[0]) == pytest.approx(60, abs=8)
    assert np.abs(_joints(plain)[0, :16] - _joints(twisted)[0, :16]).max() < 0.01


def test_heading_turns_the_root_and_nothing_else() -> None:
    ahead, turned = retarget(parse_bvh(standing())), retarget(parse_bvh(standing(root=(0, 90, 0))))
    assert np.allclose(turned.body_pose, ahead.body_pose, atol=2e-3)
    facing = turned.rotations()[0, 0] @ np.array([0.0, 0, 1])
    assert np.allclose(facing, [1, 0, 0], atol=0.3)


def test_fit_reaches_its_targets() -> None:
    errors = retarget_errors(parse_bvh(standing(lradius=(0, -60, 0), lowerback=(0, 20, 15), lfemur=(-20, 0, -40))))
    assert errors.shape == (4, 22) and errors.mean() < 0.02 and errors.max() < 0.08


def test_foreign_skeleton_is_an_input_error() -> None:
    text = standing().replace("lfemur", "LeftUpLeg")
    with pytest.raises(InputError, match="lacks the joints lfemur"):
        retarget(parse_bvh(text))


def _mocap() -> Path | None:
    shared = Path(os.environ.get("UNIMO_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))
    return shared / "mocap" if (shared / "mocap" / "cmu_val.zip").is_file() else None


@pytest.mark.skipif(_mocap() is None, reason="no mocap pack: set UNIMO_SHARED to the folder that holds mocap/")
def test_figures_on_walks_of_a_validation_subject() -> None:
    mocap = _mocap()
    assert mocap is not None
    with (mocap / "index.csv").open(newline="") as handle:
        walking = [row["clip"] for row in csv.DictReader(handle) if row["description"] == "walk"]
    report = retarget_report([mocap / "cmu_val.zip"], {"35"}, walking)
    assert report["clips"] == 20
    assert report["limb_mm"] <= 30 and report["all_mm"] <= 30
    assert report["limb_literal_mm"] <= 40 and report["all_literal_mm"] <= 40
    assert report["sole_mm"] <= 10 and report["sole_within_20_mm"] >= 0.95
