"""Body regions of the mesh's vertices, so that a renderer can dress a body by parts and show its front from its back.

In: rest-pose vertices (V,3) in SMPL-X's zero pose (y up, facing +z), skinning weights (V,55) and triangles. Out: (V,)
int8 indices into `REGION_NAMES`. Limbs, trunk and head follow the skinning weights; the head is divided by geometry
into face (front, below the hairline), hair (top and back) and head (ears and the rest of the skin).
"""

from __future__ import annotations

import numpy as np

from unimo.body.names import ALL_JOINT_NAMES, ALL_PARENTS

REGION_NAMES: tuple[str, ...] = (
    "head", "face", "hair", "eye", "neck", "torso", "upper_arm", "forearm", "hand", "pelvis", "thigh", "shin", "foot",
)  # fmt: skip
REGION: dict[str, int] = {name: i for i, name in enumerate(REGION_NAMES)}

_OF_JOINT = {
    "pelvis": "pelvis", "hip": "thigh", "knee": "shin", "ankle": "foot", "foot": "foot", "spine1": "torso",
    "spine2": "torso", "spine3": "torso", "collar": "torso", "neck": "neck", "head": "head", "jaw": "head",
    "eye": "eye", "shoulder": "upper_arm", "elbow": "forearm", "wrist": "hand",
}  # fmt: skip


def _joint_region(joint: int) -> str:
    part = ALL_JOINT_NAMES[joint].removeprefix("left_").removeprefix("right_")
    return _OF_JOINT.get(part) or _joint_region(ALL_PARENTS[joint])


def _split_head(vertices: np.ndarray, is_head: np.ndarray, eyes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Masks (V,) of face and of hair among the head's vertices.

    Args:
        vertices: (V,3).
        is_head: (V,) mask.
        eyes: (3,) middle between the eyes.
    """
    height = vertices[is_head, 1].max() - eyes[1]
    middle = 0.5 * (vertices[is_head, 2].min() + vertices[is_head, 2].max())
    up = (vertices[:, 1] - eyes[1]) / height
    # How far in front of the middle of the head, in units of its half depth.
    front = (vertices[:, 2] - middle) / (vertices[is_head, 2].max() - middle)
    side = np.abs(vertices[:, 0]) / np.abs(vertices[is_head, 0]).max()
    ear = (side > 0.87) & (up < 0.4)
    hair = is_head & ((up > 0.62) | ((front < -0.05) & (up > -0.75) & ~ear))
    face = is_head & ~hair & (front > 0.3)
    return face, hair


def classify_vertices(vertices: np.ndarray, weights: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Region (V,) int8 of each vertex.

    Args:
        vertices: (V,3) rest pose, metres.
        weights: (V,55) skinning weights.
        faces: (F,3) triangles; single vertices that differ from all their neighbours take the neighbours' region.
    """
    table = np.array([REGION[_joint_region(joint)] for joint in range(weights.shape[1])])
    share = np.zeros((len(vertices), len(REGION_NAMES)))
    for joint, region in enumerate(table):
        share[:, region] += weights[:, joint]
    regions = share.argmax(1)
    is_head = regions == REGION["head"]
    eyes = vertices[regions == REGION["eye"]].mean(0)
    face, hair = _split_head(vertices, is_head, eyes)
    regions[face] = REGION["face"]
    regions[hair] = REGION["hair"]
    votes = np.zeros((len(vertices), len(REGION_NAMES)))
    for a, b in ((0, 1), (1, 2), (2, 0)):
        np.add.at(votes, (faces[:, a], regions[faces[:, b]]), 1)
        np.add.at(votes, (faces[:, b], regions[faces[:, a]]), 1)
    alone = (votes[np.arange(len(vertices)), regions] == 0) & (votes.sum(1) > 0)
    regions[alone] = votes[alone].argmax(1)
    return regions.astype(np.int8)
