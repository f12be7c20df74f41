"""Builds the open body: anny's mesh (Apache-2.0 code, CC0 data) as the arrays of an SMPL-X file.

Out: a dictionary with the keys, shapes and meaning of `SMPLX_NEUTRAL.npz` (55 joints, 20 shape columns of which the
last ten, the expressions, are zero). anny rests in an A-pose with z up and looks along -y; here every sampled body is
first turned to SMPL-X's axes (y up, facing +z, left at +x) and posed into SMPL-X's zero pose (arms along +-x, legs
straight down, flat hands with palms down). The shape directions are principal components over those posed bodies, so
the mesh at any betas rests in the zero pose. Metres throughout.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unimo.body.names import ALL_JOINT_NAMES, ALL_PARENTS
from unimo.geometry.rotations import rotation_between

BUILD_VERSION = 1
_SAMPLES = 400
_SEED = 20260101
_STATURE = (1.70, 0.07)
_AGES = (18.0, 60.0)
# Height of the origin above the pelvis, as a share of stature: SMPL-X's J0 is at about y = -0.35 m at 1.70 m.
_ORIGIN_ABOVE_PELVIS = 0.35 / 1.70
_RIDGE = 1e-8
_SIDES = {"L": "left", "R": "right"}
_FINGERS = {"thumb": 1, "index": 2, "middle": 3, "ring": 4, "pinky": 5}


def joint_bones() -> dict[str, list[str]]:
    """For each of the 55 SMPL-X joints the anny bones that move with it; the joint sits at the head of the first."""
    bones = {
        "pelvis": ["root", "pelvis.L", "pelvis.R", "spine05"],
        "spine1": ["spine04", "spine03"],
        "spine2": ["spine02"],
        "spine3": ["spine01"],
        "neck": ["neck01", "neck02", "neck03"],
        "head": ["head"],
        "jaw": [],
    }
    for s, side in _SIDES.items():
        bones[f"{side}_hip"] = [f"upperleg01.{s}", f"upperleg02.{s}"]
        bones[f"{side}_knee"] = [f"lowerleg01.{s}", f"lowerleg02.{s}"]
        bones[f"{side}_ankle"] = [f"foot.{s}"]
        toes = [f"toe1-{i}.{s}" for i in (1, 2)] + [f"toe{k}-{i}.{s}" for k in (2, 3, 4, 5) for i in (1, 2, 3)]
        bones[f"{side}_foot"] = toes
        bones[f"{side}_collar"] = [f"clavicle.{s}", f"shoulder01.{s}"]
        bones[f"{side}_shoulder"] = [f"upperarm01.{s}", f"upperarm02.{s}"]
        bones[f"{side}_elbow"] = [f"lowerarm01.{s}", f"lowerarm02.{s}"]
        bones[f"{side}_wrist"] = [f"wrist.{s}", *(f"metacarpal{k}.{s}" for k in (1, 2, 3, 4))]
        bones[f"{side}_eye"] = [f"eye.{s}"]
        for finger, k in _FINGERS.items():
            for i in (1, 2, 3):
                bones[f"{side}_{finger}{i}"] = [f"finger{k}-{i}.{s}"]
    return bones


class _Anny:
    """What is needed of anny: sampled rest bodies in SMPL-X's axes, bone tree, weights, faces."""

    def __init__(self) -> None:
        import anny  # slow to import and only needed while building
        from anny.shape_distribution import SimpleShapeDistribution

        self.model = anny.Anny(topology="anny-notongue").to(dtype=torch.float32)
        self.model.set_skinning_method("lbs")
        self.distribution = SimpleShapeDistribution(self.model)
        self.labels: list[str] = list(self.model.bone_labels)
        self.bone_parents: list[int] = [int(p) for p in self.model.bone_parents]
        self.weights = self.model.dense_vertex_bone_weights.float()
        self.faces = np.asarray(self.model.faces, dtype=np.int64)

    def sample_phenotypes(self, count: int, random: np.random.RandomState) -> dict[str, torch.Tensor]:
        """`count` adults; numpy's legacy stream is frozen, so the same bodies come out on every machine."""
        age = torch.as_tensor(random.uniform(*_AGES, count))
        age = self.distribution.morphological_age_mapping.to(torch.float64).morphological_to_anny_age(age)
        gender = random.uniform(size=count)
        sampled = {"age": age, "gender": torch.as_tensor(gender)}
        for key in ("height", "weight", "muscle", "proportions"):
            drawn = []
            for sex in ("boys", "girls"):
                law = getattr(self.distribution, f"{sex}_conditional_{key}_distribution").to(torch.float64)
                alpha, beta = law.get_distribution_params(age)
                drawn.append(random.beta(alpha.numpy(), beta.numpy()))
            sampled[key] = torch.as_tensor(np.where(gender <= 0.5, drawn[0], drawn[1]))
        return {key: value.float() for key, value in sampled.items()}

    def rest(self, phenotypes: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Vertices (N,V,3) and bone heads (N,bones,3) of anny's rest pose, y up and facing +z."""
        count = len(phenotypes["age"])
        pose = torch.eye(4).repeat(count, self.model.bone_count, 1, 1)
        out: dict[str, Any] = self.model(pose_parameters=pose, phenotype_kwargs=phenotypes)
        to_smplx = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
        return out["rest_vertices"] @ to_smplx.T, out["rest_bone_heads"] @ to_smplx.T


class _ZeroPose:
    """Turns anny's rest pose into SMPL-X's zero pose, every body of a batch on its own."""

    def __init__(self, source: _Anny, vertices: torch.Tensor, heads: torch.Tensor) -> None:
        self.source, self.vertices, self.heads = source, vertices, heads
        self.index = {label: i for i, label in enumerate(source.labels)}
        self.turns = torch.eye(3).repeat(len(heads), len(source.labels), 1, 1)

    def _head(self, bone: str) -> torch.Tensor:
        return self.heads[:, self.index[bone]]

    def _turn(self, bones: list[str], rotation: torch.Tensor) -> None:
        for bone in bones:
            self.turns[:, self.index[bone]] = rotation

    def _limb(self, bones: list[str], start: str, end: str, before: torch.Tensor, goal: torch.Tensor) -> torch.Tensor:
        """Turns `bones` by `before` and then by the shortest arc that lays start -> end along `goal`."""
        along = (before @ (self._head(end) - self._head(start))[..., None])[..., 0]
        rotation = rotation_between(along, goal) @ before
        self._turn(bones, rotation)
        return rotation

    def _centroid(self, bone: str) -> torch.Tensor:
        share = self.source.weights[:, self.index[bone]]
        return torch.einsum("v,nvc->nc", share / share.sum(), self.vertices)

    def _arm(self, s: str, outward: torch.Tensor) -> None:
        still = torch.eye(3).expand(len(self.heads), 3, 3)
        upper = self._limb([f"upperarm01.{s}", f"upperarm02.{s}"], f"upperarm01.{s}", f"lowerarm01.{s}", still, outward)
        lower = self._limb([f"lowerarm01.{s}", f"lowerarm02.{s}"], f"lowerarm01.{s}", f"wrist.{s}", upper, outward)
        hand = self._limb([f"wrist.{s}"], f"wrist.{s}", f"finger3-1.{s}", lower, outward)
        # The line of the knuckles (little finger to index) then points forward: the palm looks down.
        knuckles = (hand @ (self._head(f"finger2-1.{s}") - self._head(f"finger5-1.{s}"))[..., None])[..., 0]
        knuckles = torch.stack([torch.zeros_like(knuckles[:, 0]), knuckles[:, 1], knuckles[:, 2]], -1)
        hand = rotation_between(knuckles, torch.tensor([0.0, 0.0, 1.0])) @ hand
        self._turn([f"wrist.{s}", *(f"metacarpal{k}.{s}" for k in (1, 2, 3, 4))], hand)
        self._turn([f"finger1-{i}.{s}" for i in (1, 2, 3)], hand)
        for k in (2, 3, 4, 5):
            fan = (hand @ (self._head(f"finger{k}-1.{s}") - self._head(f"wrist.{s}"))[..., None])[..., 0]
            goal = torch.nn.functional.normalize(fan * torch.tensor([1.0, 0.0, 0.5]), dim=-1)
            turn = hand
            for i in (1, 2, 3):
                tip = self._head(f"finger{k}-{i + 1}.{s}") if i < 3 else self._centroid(f"finger{k}-3.{s}")
                along = (turn @ (tip - self._head(f"finger{k}-{i}.{s}"))[..., None])[..., 0]
                turn = rotation_between(along, goal) @ turn
                self._turn([f"finger{k}-{i}.{s}"], turn)

    def apply(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Vertices (N,V,3) and bone heads (N,bones,3) in the zero pose."""
        down = torch.tensor([0.0, -1.0, 0.0])
        still = torch.eye(3).expand(len(self.heads), 3, 3)
        for s, sign in (("L", 1.0), ("R", -1.0)):
            hip, knee, ankle = f"upperleg01.{s}", f"lowerleg01.{s}", f"foot.{s}"
            thigh = self._limb([hip, f"upperleg02.{s}"], hip, knee, still, down)
            # The foot keeps its rest turn, so that the sole stays level.
            self._limb([knee, f"lowerleg02.{s}"], knee, ankle, thigh, down)
            self._arm(s, torch.tensor([sign, 0.0, 0.0]))
        heads = self.heads.clone()
        for bone, parent in enumerate(self.source.bone_parents):
            if parent >= 0:
                offset = (self.heads[:, bone] - self.heads[:, parent])[..., None]
                heads[:, bone] = heads[:, parent] + (self.turns[:, parent] @ offset)[..., 0]
        shift = heads - (self.turns @ self.heads[..., None])[..., 0]
        posed = torch.zeros_like(self.vertices)
        for bone in range(heads.shape[1]):
            touched = self.source.weights[:, bone].nonzero()[:, 0]
            moved = self.vertices[:, touched] @ self.turns[:, bone].transpose(-1, -2) + shift[:, bone, None]
            posed[:, touched] += self.source.weights[touched, bone, None] * moved
        return posed, heads


def _joints_of(source: _Anny, heads: torch.Tensor) -> torch.Tensor:
    """The 55 joints (N,55,3) from posed bone heads (N,bones,3)."""
    bones = joint_bones()
    joints = torch.zeros(len(heads), 55, 3)
    for j, name in enumerate(ALL_JOINT_NAMES):
        if name.endswith("_foot"):
            chosen = [b for b in bones[name] if b.split(".")[0].endswith("-1")]
        else:
            chosen = bones[name][:1]
        if chosen:
            joints[:, j] = heads[:, [source.labels.index(b) for b in chosen]].mean(1)
    eyes = joints[:, [ALL_JOINT_NAMES.index("left_eye"), ALL_JOINT_NAMES.index("right_eye")]].mean(1)
    # anny's rig has no jaw: the hinge lies below and behind the eyes, in front of the head joint.
    head = joints[:, ALL_JOINT_NAMES.index("head")]
    joints[:, ALL_JOINT_NAMES.index("jaw")] = torch.stack([eyes[:, 0], head[:, 1], 0.5 * (eyes + head)[:, 2]], -1)
    return joints


def _zero_posed(source: _Anny, phenotypes: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Zero-posed vertices (N,V,3) and joints (N,55,3), origin at the chest as SMPL-X has it."""
    posed, heads = _ZeroPose(source, *source.rest(phenotypes)).apply()
    joints = _joints_of(source, heads)
    stature = (posed[..., 1].amax(1) - posed[..., 1].amin(1))[:, None]
    origin = joints[:, 0].clone()
    origin[:, 1:2] += _ORIGIN_ABOVE_PELVIS * stature
    return posed - origin[:, None], joints - origin[:, None]


def _adults(source: _Anny, progress: Callable[[str], None]) -> tuple[torch.Tensor, torch.Tensor]:
    """Zero-posed adults whose stature is spread about as `_STATURE` says (anny's own spread is half as wide again)."""
    random = np.random.RandomState(_SEED)
    kept_vertices, kept_joints, count = [], [], 0
    while count < _SAMPLES:
        vertices, joints = _zero_posed(source, source.sample_phenotypes(100, random))
        stature = (vertices[..., 1].amax(1) - vertices[..., 1].amin(1)).double().numpy()
        law = np.exp(-0.5 * ((stature - _STATURE[0]) / _STATURE[1]) ** 2 + 0.5 * ((stature - 1.70) / 0.11) ** 2)
        keep = torch.as_tensor(random.uniform(size=100) < law)
        kept_vertices.append(vertices[keep])
        kept_joints.append(joints[keep])
        count += int(keep.sum())
        progress(f"open body: {min(count, _SAMPLES)} of {_SAMPLES} sampled adults")
    return torch.cat(kept_vertices)[:_SAMPLES], torch.cat(kept_joints)[:_SAMPLES]


def _principal_directions(vertices: torch.Tensor, joints: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (V+55,3) and ten directions (V+55,3,10), one standard deviation long; plus their deviations (10,)."""
    data = torch.cat([vertices, joints], 1).double().reshape(len(vertices), -1).numpy()
    mean = data.mean(0)
    centred = data - mean
    # The samples are few and the coordinates many: the small Gram matrix has the same components.
    values, vectors = np.linalg.eigh(centred @ centred.T)
    values, vectors = values[::-1][:10], vectors[:, ::-1][:, :10]
    directions = (centred.T @ vectors) / np.sqrt(values) * np.sqrt(values / (len(data) - 1))
    directions = directions.reshape(-1, 3, 10)
    # The sign of a component is arbitrary: plus means taller.
    grown = directions[: vertices.shape[1], 1].max(0) - directions[: vertices.shape[1], 1].min(0)
    top, bottom = mean.reshape(-1, 3)[:, 1].argmax(), mean.reshape(-1, 3)[: vertices.shape[1], 1].argmin()
    taller = directions[top, 1] - directions[bottom, 1]
    sign = np.where(np.abs(taller) > 0.02 * grown, np.sign(taller), 1.0)
    return mean.reshape(-1, 3), directions * sign, np.sqrt(values / (len(data) - 1))


def _regressor(mean: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Joint regressor (55,V): small weights on nearby vertices that give each joint at the mean and its changes."""
    count = len(mean) - 55
    regressor = np.zeros((55, count))
    for j in range(55):
        distance = np.linalg.norm(mean[:count] - mean[count + j], axis=1)
        near = np.argsort(distance)[:250]
        rows = [np.ones((1, len(near))), mean[near].T - mean[count + j][:, None]]
        goal = [np.ones(1), np.zeros(3)]
        rows.append(directions[near].transpose(2, 1, 0).reshape(30, -1))
        goal.append(directions[count + j].T.reshape(30))
        # The ridge keeps the weights small: an exact fit would need weights of hundreds that cancel.
        matrix, wanted = np.concatenate(rows), np.concatenate(goal)
        even = np.full(len(near), 1 / len(near))
        lift = matrix.T @ np.linalg.solve(matrix @ matrix.T + _RIDGE * np.eye(len(matrix)), wanted - matrix @ even)
        regressor[j, near] = even + lift
    regressor /= regressor.sum(1, keepdims=True)
    return regressor


def build_open_body(progress: Callable[[str], None] = lambda message: None) -> dict[str, np.ndarray]:
    """The arrays of the open body, with the keys of an SMPL-X file.

    Args:
        progress: called now and then with a line about what is being done.
    """
    progress("open body: reading anny's data (about a minute the first time)")
    with tempfile.TemporaryDirectory() as scratch:
        source = _load_anny(Path(scratch))
    vertices, joints = _adults(source, progress)
    mean, directions, deviations = _principal_directions(vertices, joints)
    count = vertices.shape[1]
    weights = np.zeros((count, 55))
    for j, name in enumerate(ALL_JOINT_NAMES):
        for bone in joint_bones()[name]:
            weights[:, j] += source.weights[:, source.labels.index(bone)].double().numpy()
    weights /= weights.sum(1, keepdims=True)
    parents = np.array(ALL_PARENTS, dtype=np.int64)
    shapedirs = np.concatenate([directions[:count], np.zeros((count, 3, 10))], axis=2)
    zeros = np.zeros
    return {
        "v_template": mean[:count].astype(np.float32),
        "f": source.faces,
        "shapedirs": shapedirs.astype(np.float32),
        "posedirs": zeros((count, 3, 54 * 9), np.float32),
        "J_regressor": _regressor(mean, directions).astype(np.float64),
        "weights": weights.astype(np.float32),
        "kintree_table": np.stack([parents, np.arange(55)]),
        "hands_componentsl": np.eye(45, dtype=np.float32),
        "hands_componentsr": np.eye(45, dtype=np.float32),
        "hands_meanl": zeros(45, np.float32),
        "hands_meanr": zeros(45, np.float32),
        "lmk_faces_idx": zeros(51, np.int64),
        "lmk_bary_coords": np.full((51, 3), 1 / 3, np.float32),
        "dynamic_lmk_faces_idx": zeros((79, 17), np.int64),
        "dynamic_lmk_bary_coords": np.full((79, 17, 3), 1 / 3, np.float32),
        "shape_deviations": deviations.astype(np.float32),
    }


def _load_anny(scratch: Path) -> _Anny:
    """Loads anny; its cache of three quarters of a gigabyte goes to `scratch` unless the user already keeps one."""
    from anny import paths

    kept = paths.get_anny_cache_path()
    if not kept.exists():
        paths.set_anny_cache_path(scratch)
    try:
        return _Anny()
    finally:
        paths.set_anny_cache_path(kept)
