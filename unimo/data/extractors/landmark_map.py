"""Where MediaPipe's 33 landmarks lie on an SMPL-X body, and the landmarks of a posed body.

Limb landmarks are taken as the body's joints: shoulders, elbows, wrists, hips, knees, ankles. The others are fixed to
one bone: nose (foremost point of the face), eyes (middle of the eyeballs), ears (widest points of the head), first
knuckles of index and little finger (joints of an SMPL-X file), heels and big toes (rearmost and foremost points of the
feet). Inner and outer corners of the eyes, mouth and thumbs are not used. All are linear in betas; hands are flat.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from unimo.body import JOINT_NAMES, BodyModel
from unimo.body.names import ALL_JOINT_NAMES, PARENTS
from unimo.body.regions import REGION

NOSE, EYES, EARS, PINKIES, INDEXES, HEELS, TOES = 0, (2, 5), (7, 8), (17, 18), (19, 20), (29, 30), (31, 32)
SHOULDERS, HIPS = (11, 12), (23, 24)
LANDMARK_JOINTS: dict[int, int] = {
    first + side: JOINT_NAMES.index(f"{name}_{part}")
    for first, part in ((11, "shoulder"), (13, "elbow"), (15, "wrist"), (23, "hip"), (25, "knee"), (27, "ankle"))
    for side, name in enumerate(("left", "right"))
}
"""Landmarks that are joints."""
_BONES = {EYES: ("head", "head"), EARS: ("head", "head"), PINKIES: ("left_wrist", "right_wrist"),
          INDEXES: ("left_wrist", "right_wrist"), HEELS: ("left_ankle", "right_ankle"),
          TOES: ("left_foot", "right_foot")}  # fmt: skip
USED: tuple[int, ...] = tuple(sorted([*LANDMARK_JOINTS, NOSE, *(index for pair in _BONES for index in pair)]))
"""The 23 landmarks that have a place on the body, in MediaPipe's order."""


@dataclass(frozen=True, eq=False)
class LandmarkBody:
    """A body reduced to its 22 joints and the points of `USED`, N of them.

    Attributes:
        joints, joint_dirs: (22, 3) rest joints at betas 0, metres, and (22, 3, 10) metres a unit of beta.
        points, point_dirs: (N, 3) and (N, 3, 10) of the landmarks.
        bones: (N,) int64 joint that each landmark moves with.
    """

    joints: Tensor
    joint_dirs: Tensor
    points: Tensor
    point_dirs: Tensor
    bones: Tensor

    @classmethod
    def of(cls, body: BodyModel) -> LandmarkBody:
        """Finds the landmarks on a body in its rest pose."""
        return _of(body)

    def pose(self, rotations: Tensor, betas: Tensor, pelvis: Tensor) -> tuple[Tensor, Tensor]:
        """Joints (T, 22, 3) and landmarks (T, N, 3) in metres; differentiable.

        Args:
            rotations: (T, 22, 3, 3), joint 0 global, the others relative to their parents.
            betas: (10,).
            pelvis: (T, 3) where the pelvis is (not `transl`).
        """
        rest = self.joints + self.joint_dirs @ betas
        arms = self.points + self.point_dirs @ betas - rest[self.bones]
        turns, places = [rotations[:, 0]], [pelvis]
        for joint in range(1, len(PARENTS)):
            parent = PARENTS[joint]
            places.append(places[parent] + turns[parent] @ (rest[joint] - rest[parent]))
            turns.append(turns[parent] @ rotations[:, joint])
        joints = torch.stack(places, 1)
        turned = torch.stack(turns, 1)[:, self.bones] @ arms[..., None]
        return joints, joints[:, self.bones] + turned[..., 0]


@lru_cache(maxsize=4)
def _of(body: BodyModel) -> LandmarkBody:
    # row 0 at betas 0, row i + 1 at the unit of beta i
    betas = torch.cat([torch.zeros(1, 10), torch.eye(10)])
    still = torch.eye(3).expand(11, 22, 3, 3)
    with torch.no_grad():
        vertices = body.vertices(still, betas, torch.zeros(11, 3)).cpu()
        joints = body.rest_joints(betas.to(body.device)).cpu()
    places = _surface_points(body, vertices)
    bones = {index: joint for index, joint in LANDMARK_JOINTS.items()} | {NOSE: JOINT_NAMES.index("head")}
    bones |= {i: JOINT_NAMES.index(n) for pair, names in _BONES.items() for i, n in zip(pair, names, strict=True)}
    points = torch.stack([joints[:, bones[i]] if i in LANDMARK_JOINTS else places[i] for i in USED], 1)
    return LandmarkBody(
        joints[0],
        (joints[1:] - joints[0]).permute(1, 2, 0).contiguous(),
        points[0],
        (points[1:] - points[0]).permute(1, 2, 0).contiguous(),
        torch.tensor([bones[i] for i in USED]),
    )


def _surface_points(body: BodyModel, vertices: Tensor) -> dict[int, Tensor]:
    """Rest places (11, 3) of the landmarks that are no joints, each a vertex or a mean of vertices (11, V, 3)."""
    rest, regions = vertices[0].numpy(), body.vertex_regions()

    def region(*names: str) -> np.ndarray:
        return np.flatnonzero(np.isin(regions, [REGION[name] for name in names]))

    def furthest(among: np.ndarray, score: np.ndarray) -> Tensor:
        return vertices[:, among[score[among].argmax()]]

    x, z = rest[:, 0], rest[:, 2]
    places = {NOSE: furthest(region("face"), z)}
    for side, sign in enumerate((1.0, -1.0)):  # the body's left is +x
        eye, foot = (among[sign * x[among] > 0] for among in (region("eye"), region("foot")))
        places[EYES[side]] = vertices[:, eye].mean(1)
        places[EARS[side]] = furthest(region("head", "hair"), sign * x)
        places[HEELS[side]] = furthest(foot, -z)
        places[TOES[side]] = furthest(foot, z)
    with np.load(body.path, allow_pickle=False) as archive:
        regressor = archive["J_regressor"].astype(np.float32)
    for pair, finger in ((PINKIES, "pinky1"), (INDEXES, "index1")):
        for landmark, side in zip(pair, ("left", "right"), strict=True):
            row = torch.from_numpy(regressor[ALL_JOINT_NAMES.index(f"{side}_{finger}")])
            places[landmark] = torch.einsum("v,bvc->bc", row, vertices)
    return places
