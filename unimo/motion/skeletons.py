"""How the joints of known mocap skeletons answer to the 22 SMPL-X body joints.

A skeleton says, for every SMPL-X joint, which BVH joints to mix for its position and which BVH joints' rotation to
follow for its twist, and where the unit lies. Only the CMU skeleton (31 joints, as its ASF files have it) is known now.
"""

from __future__ import annotations

from dataclasses import dataclass

from unimo.motion.bvh import Bvh


@dataclass(frozen=True)
class Skeleton:
    """A joint map.

    Attributes:
        name: what to call it.
        metres: metres per file unit.
        positions: SMPL-X joint name to {BVH joint: share}; the shares add up to 1.
        rotations: SMPL-X joint name to the BVH joints whose mean global rotation it follows.
    """

    name: str
    metres: float
    positions: dict[str, dict[str, float]]
    rotations: dict[str, tuple[str, ...]]

    def missing(self, bvh: Bvh) -> list[str]:
        """Joints that this map needs and the file lacks."""
        wanted = {joint for shares in self.positions.values() for joint in shares}
        wanted |= {joint for joints in self.rotations.values() for joint in joints}
        return sorted(wanted - set(bvh.names))


def _cmu() -> Skeleton:
    positions: dict[str, dict[str, float]] = {
        "spine1": {"upperback": 1.0},
        "spine2": {"thorax": 1.0},
        "spine3": {"thorax": 0.5, "lowerneck": 0.5},
        "neck": {"upperneck": 1.0},
        "head": {"head": 1.0},
    }
    rotations: dict[str, tuple[str, ...]] = {
        "pelvis": ("root",), "spine1": ("lowerback",), "spine2": ("upperback",), "spine3": ("thorax",),
        "neck": ("lowerneck", "upperneck"), "head": ("head",),
    }  # fmt: skip
    for side, s in (("left", "l"), ("right", "r")):
        limbs = {
            "hip": "femur", "knee": "tibia", "ankle": "foot", "foot": "toes", "shoulder": "humerus",
            "elbow": "radius", "wrist": "hand",
        }  # fmt: skip
        for part, bone in limbs.items():
            positions[f"{side}_{part}"] = {f"{s}{bone}": 1.0}
            rotations[f"{side}_{part}"] = (f"{s}{bone}",)
        positions[f"{side}_collar"] = {f"{s}clavicle": 0.7, f"{s}humerus": 0.3}
        rotations[f"{side}_collar"] = (f"{s}clavicle",)
        # lwrist is the turn of the forearm half way down; one bone of ours has to carry both halves.
        rotations[f"{side}_elbow"] = (f"{s}radius", f"{s}wrist")
        # The hand bone of this data bends outwards when the hand hangs: half of that looks right.
        rotations[f"{side}_wrist"] = (f"{s}wrist", f"{s}hand")
    # ASF headers give lengths in units of 0.45 inch.
    return Skeleton("cmu", 0.0254 / 0.45, positions, rotations)


CMU = _cmu()
