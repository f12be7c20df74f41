"""Names, parents and groups of the 22 SMPL-X body joints, in SMPL-X order (left before right)."""

from __future__ import annotations

JOINT_NAMES: tuple[str, ...] = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
    "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
)  # fmt: skip

PARENTS: tuple[int, ...] = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)

LEFT_RIGHT: tuple[tuple[int, int], ...] = tuple(
    (i, JOINT_NAMES.index(name.replace("left", "right"))) for i, name in enumerate(JOINT_NAMES) if "left" in name
)
"""Pairs (left, right) of joint indices."""

_OTHER_SIDE = {left: right for left, right in LEFT_RIGHT} | {right: left for left, right in LEFT_RIGHT}

MIRRORED: tuple[int, ...] = tuple(_OTHER_SIDE.get(i, i) for i in range(len(JOINT_NAMES)))
"""The joint that takes each joint's place in a mirror."""

LIMB_JOINTS: tuple[int, ...] = tuple(
    JOINT_NAMES.index(f"{side}_{part}")
    for part in ("hip", "knee", "ankle", "foot", "shoulder", "elbow", "wrist")
    for side in ("left", "right")
)
"""The 14 joints of arms and legs, whose place is seen in a picture far better than that of the spine."""

FEET: tuple[int, ...] = tuple(
    JOINT_NAMES.index(f"{side}_{part}") for part in ("ankle", "foot") for side in ("left", "right")
)
"""Ankles and balls of the feet."""

ALL_JOINT_NAMES: tuple[str, ...] = (
    *JOINT_NAMES, "jaw", "left_eye", "right_eye",
    *(f"{side}_{finger}{i}" for side in ("left", "right") for finger in ("index", "middle", "pinky", "ring", "thumb")
      for i in (1, 2, 3)),
)  # fmt: skip
"""The 55 joints of an SMPL-X file."""


def _all_parents() -> tuple[int, ...]:
    parents = [*PARENTS, 15, 15, 15]
    for wrist in (20, 21):
        for _ in range(5):
            base = len(parents)
            parents += [wrist, base, base + 1]
    return tuple(parents)


ALL_PARENTS: tuple[int, ...] = _all_parents()
"""Parents of the 55 joints."""
