"""The body as plain numpy arrays, posed for many frames at once: rotations and shape in, joints and vertices out.

`unimo.body` is the reference; this is its skinning without torch, on the low-polygon mesh, because the synthetic engine
poses thousands of short clips a minute. Joints are computed in float64 so that the same seed gives the same bits.
Rotations are (T, 22, 3, 3); hands are flat and the jaw closed. Metres.
"""

from __future__ import annotations

from copy import copy
from functools import lru_cache

import numpy as np

from unimo.body import BodyModel, load_body
from unimo.body.decimate import decimate
from unimo.body.names import ALL_PARENTS, JOINT_NAMES, PARENTS
from unimo.files import atomic_write
from unimo.render.shading import MeshTopology
from unimo.synth.appearance import PARTS, BodyRegions, body_regions
from unimo.synth.cut import Cut, cut_mesh

JOINTS = len(JOINT_NAMES)
# triangles that are left of head, hands and feet in the fine mesh
THINNED_FACES = 2400


class Puppet:
    """One body, all shapes: see `load_puppet`.

    Attributes:
        name: "open" or "smplx".
        topology: faces and normals of the mesh that `skin` poses.
        regions: where the vertices lie on the body.
        stature: height of the mean body in metres.
    """

    def __init__(
        self, name: str, template: np.ndarray, shape_directions: np.ndarray, weights: np.ndarray, faces: np.ndarray,
        joint_template: np.ndarray, joint_directions: np.ndarray,
    ) -> None:
        """Takes the arrays of an SMPL-X file.

        Args:
            name: body name.
            template: (V, 3).
            shape_directions: (V, 3, 10).
            weights: (V, 55) skinning weights.
            faces: (F, 3).
            joint_template: (55, 3) resting joints of the mean body.
            joint_directions: (55, 3, 10) their change with shape.
        """
        self.name = name
        self.topology = MeshTopology(faces, len(template))
        self.regions: BodyRegions = body_regions(template, weights, joint_template)
        self._template, self._directions = template.astype(np.float32), shape_directions.astype(np.float32)
        self._weights = _fold_weights(weights).astype(np.float32)
        self._joint_template = joint_template[:JOINTS].astype(np.float64)
        self._joint_directions = joint_directions[:JOINTS].astype(np.float64)
        height = template[:, 1]
        self._top, self._bottom = int(height.argmax()), int(height.argmin())
        self.stature = float(height.max() - height.min())
        self._tips = self._find_tips(template)

    @property
    def template(self) -> np.ndarray:
        """(V, 3) float32 resting vertices of the mean shape, clothes included; `regions.rest` is the bare body."""
        return self._template

    def dressed(self, cut: Cut) -> Puppet:
        """This body in clothes of this cut: the same faces and joints, other resting vertices."""
        normals = self.topology.normals(self._template[None])[0]
        other = copy(self)
        other._template, other._weights = cut_mesh(cut, self._template, self._weights, normals, self.regions)
        return other

    def _find_tips(self, template: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """(joint, offset in its resting frame) of crown, fingertips, toes and heels: what sticks out of the joints."""
        owner = self._weights.argmax(axis=1)
        tips = []
        for joint, direction in ((15, (0, 1, 0)), (20, (1, 0, 0)), (21, (-1, 0, 0)), (10, (0, 0, 1)), (11, (0, 0, 1)),
                                 (7, (0, -1, -1)), (8, (0, -1, -1))):  # fmt: skip
            mine = template[owner == joint]
            far = mine[(mine @ np.asarray(direction, np.float64)).argmax()]
            tips.append((joint, far.astype(np.float64) - self._joint_template[joint]))
        return tips

    def stature_of(self, betas: np.ndarray) -> float:
        """Standing height in metres of one shape, betas (10,)."""
        change = (self._directions[self._top, 1] - self._directions[self._bottom, 1]).astype(np.float64)
        return self.stature + float(change @ betas)

    def rest_joints(self, betas: np.ndarray) -> np.ndarray:
        """Resting joints (22, 3) float64 of one shape, betas (10,)."""
        return self._joint_template + self._joint_directions @ np.asarray(betas, np.float64)

    def pose(self, rotations: np.ndarray, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Forward kinematics with the pelvis at the origin.

        Args:
            rotations: (T, 22, 3, 3) float64, joint 0 the global orientation.
            rest: (22, 3) from `rest_joints`.

        Returns:
            World rotations (T, 22, 3, 3) and joint positions (T, 22, 3).
        """
        world, places = rotations.copy(), np.zeros((len(rotations), JOINTS, 3))
        for joint in range(1, JOINTS):
            parent = PARENTS[joint]
            world[:, joint] = world[:, parent] @ rotations[:, joint]
            places[:, joint] = places[:, parent] + world[:, parent] @ (rest[joint] - rest[parent])
        return world, places

    def outline(self, world: np.ndarray, places: np.ndarray) -> np.ndarray:
        """(T, 29, 3): the joints and the tips of the body, for framing."""
        tips = [places[:, joint] + world[:, joint] @ offset for joint, offset in self._tips]
        return np.concatenate([places, np.stack(tips, axis=1)], axis=1)

    def skin(self, world: np.ndarray, places: np.ndarray, betas: np.ndarray) -> np.ndarray:
        """Posed vertices (T, V, 3) float32 in the frame of `places` (T, 22, 3), for one shape, betas (10,)."""
        shaped = self._template + self._directions @ np.asarray(betas, np.float32)
        moved = places - np.einsum("tjab,jb->tja", world, self.rest_joints(betas))
        affine = np.concatenate([world, moved[..., None]], axis=-1).astype(np.float32).reshape(len(world), JOINTS, 12)
        blended = (self._weights @ affine).reshape(len(world), -1, 3, 4)
        return np.einsum("tvab,vb->tva", blended[..., :3], shaped) + blended[..., 3]


def _fold_weights(weights: np.ndarray) -> np.ndarray:
    """(V, 55) → (V, 22): fingers follow their wrist, jaw and eyes the head, since those joints never turn here."""
    folded = weights[:, :JOINTS].copy()
    for joint in range(JOINTS, weights.shape[1]):
        ancestor = joint
        while ancestor >= JOINTS:
            ancestor = ALL_PARENTS[ancestor]
        folded[:, ancestor] += weights[:, joint]
    return folded


def _fine_mesh(body: BodyModel, regions: BodyRegions) -> tuple[np.ndarray, np.ndarray]:
    """Like `BodyModel.low_poly`, with all vertices of trunk and limbs: colours of cloth lie on vertices.

    The full mesh runs in rings round trunk and limbs, so that hems and stripes are straight; the dense head, hands and
    feet are thinned. Kept beside the body's file.
    """
    path = body.path.with_name(f"{body.path.stem}_fine{THINNED_FACES}.npz")
    if not path.is_file():
        fixed = np.isin(regions.part, [PARTS.index(name) for name in ("trunk", "neck", "arm", "leg")])
        target = int(fixed[body.faces].any(axis=1).sum()) + THINNED_FACES
        index, faces = decimate(regions.rest, body.faces, target, body.vertex_regions(), fixed)
        with atomic_write(path) as temporary:
            np.savez(temporary, index=index, faces=faces)
    with np.load(path, allow_pickle=False) as archive:
        return archive["index"], archive["faces"]


@lru_cache(maxsize=4)
def load_puppet(name: str = "open", target_faces: int = 3000, fine: bool = False) -> Puppet:
    """The puppet of a body of `unimo.body`, made once a process.

    Pose-dependent bulges of the licensed body are left out.

    Args:
        name: "open" or "smplx".
        target_faces: size of the low-polygon mesh.
        fine: takes the mesh for clothes instead, about 5000 vertices.

    Raises:
        MissingAssetError: the licensed body is asked for and its file is not there.
    """
    body = load_body(name)  # type: ignore[arg-type]
    with np.load(body.path, allow_pickle=False) as archive:
        template, directions = archive["v_template"].astype(np.float64), archive["shapedirs"][..., :10]
        regressor, weights = archive["J_regressor"].astype(np.float64), archive["weights"].astype(np.float64)
    joint_directions = np.einsum("jv,vcs->jcs", regressor, directions.astype(np.float64))
    joints = regressor @ template
    index, faces = _fine_mesh(body, body_regions(template, weights, joints)) if fine else body.low_poly(target_faces)
    return Puppet(name, template[index], directions[index], weights[index], faces, joints, joint_directions)


@lru_cache(maxsize=2)
def dressed_puppet(name: str, cut: Cut) -> Puppet:
    """The fine mesh of a body in clothes; all cuts share its faces.

    Raises:
        MissingAssetError: the licensed body is asked for and its file is not there.
    """
    return load_puppet(name, fine=True).dressed(cut)
