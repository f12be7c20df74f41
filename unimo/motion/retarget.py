"""BVH motion to SMPL-X motion of the open body, by fitting joint positions.

In: a `Bvh` of a known skeleton (`skeletons.py`), y up. Out: a `Motion` in the world frame (y up, floor at y = 0) with
zero betas. The bones of the BVH skeleton are first rescaled to the body's, from the pelvis outwards; limbs are then
laid along these targets with the twist that the BVH rotations give, and a few Gauss-Newton steps over all joints
settle what the rigid pelvis and chest cannot follow. Every frame is solved on its own, all frames at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import roma
import torch
from torch import Tensor

from unimo.body import JOINT_NAMES, LIMB_JOINTS, BodyModel, load_body
from unimo.body.names import PARENTS
from unimo.errors import InputError
from unimo.geometry.rotations import rotation_between
from unimo.motion.bvh import Bvh
from unimo.motion.ground import ground_shift
from unimo.motion.motion import Motion
from unimo.motion.skeletons import CMU, Skeleton

RETARGET_VERSION = 2
_JOINT = {name: i for i, name in enumerate(JOINT_NAMES)}
_CHUNK = 2048
_STEPS = 4
# The child that shows where a bone points; joints not named here have several children or none.
_POINTS_TO = {
    _JOINT[f"{side}_{a}"]: _JOINT[f"{side}_{b}"]
    for side in ("left", "right")
    for a, b in (("hip", "knee"), ("knee", "ankle"), ("ankle", "foot"), ("shoulder", "elbow"), ("elbow", "wrist"))
}
# Bones whose rest direction in mocap skeletons is not anatomy: clavicles that rise from the middle of the chest to the
# markers on the shoulders, a skull straight above the neck. Followed literally they shrug the shoulders by 9 cm.
_NOT_ANATOMY = [_JOINT[n] for n in ("left_collar", "right_collar", "left_shoulder", "right_shoulder", "head")]
# So most of their direction comes from the body's own rest pose, turned as the file's bone is turned.
_REST_SHARE = 0.65
_LEGS = [_JOINT[f"{side}_{part}"] for part in ("knee", "ankle") for side in ("left", "right")]


@dataclass(frozen=True, eq=False)
class Targets:
    """What the fit is measured against, all (T,...) float32, y up, metres.

    Attributes:
        positions: (T,22,3) BVH joints with their bones rescaled to the body's, from the pelvis outwards.
        rotations: (T,22,3,3) global rotations of the body's bones: limbs along the targets, twist from the file.
    """

    positions: Tensor
    rotations: Tensor


def _source(bvh: Bvh, skeleton: Skeleton) -> tuple[Tensor, Tensor, Tensor]:
    """Positions (T,22,3) in metres, NaN for the pelvis; global rotations (T,22,3,3); rest positions (22,3)."""
    missing = skeleton.missing(bvh)
    if missing:
        raise InputError(
            f"this BVH skeleton cannot be retargeted: it lacks the joints {', '.join(missing[:6])}",
            fix=f"give a BVH with the joint names of the {skeleton.name} skeleton",
        )
    turns, places = bvh.global_transforms()
    rest = np.zeros_like(bvh.offsets)
    for joint, parent in enumerate(bvh.parents):
        rest[joint] = bvh.offsets[joint] + (rest[parent] if parent >= 0 else 0)
    index = {name: i for i, name in enumerate(bvh.names)}
    positions = np.full((len(bvh), 22, 3), np.nan)
    rest_positions = np.full((22, 3), np.nan)
    rotations = np.empty((len(bvh), 22, 3, 3))
    for name, joint in _JOINT.items():
        if name in skeleton.positions:
            positions[:, joint] = sum(share * places[:, index[b]] for b, share in skeleton.positions[name].items())
            rest_positions[joint] = sum(share * rest[index[b]] for b, share in skeleton.positions[name].items())
        rotations[:, joint] = np.mean([turns[:, index[b]] for b in skeleton.rotations[name]], axis=0)
    scaled = [torch.as_tensor(x * skeleton.metres, dtype=torch.float32) for x in (positions, rest_positions)]
    turned = torch.as_tensor(roma.special_procrustes(torch.as_tensor(rotations)))
    return scaled[0], turned.float(), scaled[1]


def _unit(vector: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vector, dim=-1)


def make_targets(
    bvh: Bvh, rest: Tensor, skeleton: Skeleton = CMU, rest_share: float = _REST_SHARE
) -> Targets:
    """Rescales the bones of a BVH motion to those of a body.

    The pelvis of the body lies nearly between its hips, where mocap skeletons have their root well above: so the middle
    of the hips is what the two have in common, and the pelvis is set from it. All other joints follow the direction of
    their BVH bone at the length of the body's. Root motion is scaled by the length of the legs, so that feet that
    stand still go on standing still.

    Args:
        bvh: T frames, y up.
        rest: (22,3) rest joints of the body, metres.
        skeleton: the joint map.
        rest_share: how far collars, shoulders and head follow the rotation of the file's bone instead of its direction;
            0 takes every direction literally.

    Raises:
        InputError: the file lacks joints of the map.
    """
    places, turns, source_rest = _source(bvh, skeleton)
    hips = [_JOINT["left_hip"], _JOINT["right_hip"]]

    def legs(joints: Tensor) -> float:
        return sum(float((joints[joint] - joints[PARENTS[joint]]).norm()) for joint in _LEGS)

    scale = legs(rest) / legs(source_rest)
    middle = places[:, hips].mean(1)
    across = (turns[:, 0] @ (rest[hips[0]] - rest[hips[1]])[:, None])[..., 0]
    turns[:, 0] = rotation_between(across, places[:, hips[0]] - places[:, hips[1]]) @ turns[:, 0]
    up = (turns[:, 0] @ (rest[0] - rest[hips].mean(0))[:, None])[..., 0]
    places[:, 0] = middle + up / scale
    positions = torch.empty_like(places)
    positions[:, 0] = middle * scale + up
    for joint in range(1, 22):
        parent, offset = PARENTS[joint], rest[joint] - rest[PARENTS[joint]]
        share = 1.0 if joint in hips else rest_share if joint in _NOT_ANATOMY else 0.0
        literal = _unit(places[:, joint] - places[:, parent])
        own = _unit((turns[:, parent] @ offset[:, None])[..., 0])
        positions[:, joint] = positions[:, parent] + _unit(share * own + (1 - share) * literal) * offset.norm()
    for joint, child in _POINTS_TO.items():
        ours, theirs = rest[child] - rest[joint], source_rest[child] - source_rest[joint]
        guess = turns[:, joint] @ rotation_between(ours, theirs)
        along = (guess @ ours[:, None])[..., 0]
        turns[:, joint] = rotation_between(along, positions[:, child] - positions[:, joint]) @ guess
    return Targets(positions, turns)


# How much a metre of position error counts, and a radian of departure from the target rotation (in metres).
_POSITION_WEIGHT = torch.full((22,), 0.35)
_POSITION_WEIGHT[list(LIMB_JOINTS)] = 1.0
_ROTATION_WEIGHT = torch.full((22,), 0.02)
_ROTATION_WEIGHT[[_JOINT[name] for name in ("pelvis", "spine1", "spine2", "spine3", "neck")]] = 0.06


def _ancestry() -> Tensor:
    """(22,22): 1 where the column's joint is the row's joint itself or above it."""
    chain = torch.eye(22)
    for joint in range(1, 22):
        chain[joint] += chain[PARENTS[joint]]
    return chain


def _cross_matrix(vector: Tensor) -> Tensor:
    """(...,3) to (...,3,3) with `_cross_matrix(a) @ b = a x b`."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))


def _forward(turns: Tensor, pelvis: Tensor, offsets: Tensor) -> Tensor:
    """Positions (N,22,3) from global rotations (N,22,3,3), pelvis (N,3) and rest offsets (22,3)."""
    places = [pelvis]
    for joint in range(1, 22):
        parent = PARENTS[joint]
        places.append(places[parent] + (turns[:, parent] @ offsets[joint][:, None])[..., 0])
    return torch.stack(places, 1)


def _gauss_newton_step(turns: Tensor, pelvis: Tensor, targets: Targets, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """One step on N independent frames; the unknowns are a small global turn at each joint and a shift of the pelvis.

    A turn at joint a swings every joint below a about it: dp_i = d_a x (p_i - p_a), and turns every bone below with it.
    """
    count, chain = len(turns), _ancestry()
    places = _forward(turns, pelvis, offsets)
    weight = _POSITION_WEIGHT.sqrt()
    lever = places[:, :, None] - places[:, None]
    swing = -_cross_matrix(lever) * (chain * weight[:, None])[:, :, None, None]
    by_position = torch.empty(count, 22, 3, 23, 3)
    by_position[..., :22, :] = swing.transpose(2, 3)
    by_position[..., 22, :] = torch.eye(3)[None, None] * weight[:, None, None]
    a = by_position.flatten(3).flatten(1, 2)
    r = (weight[:, None] * (targets.positions - places)).flatten(1)
    apart = roma.rotmat_to_rotvec(targets.rotations @ turns.transpose(-1, -2))
    # The rotation rows are the same for every frame: chain[j, a] * identity.
    stiff = _ROTATION_WEIGHT.square()
    normal = torch.zeros(69, 69)
    normal[:66, :66] = torch.kron(chain.T @ (stiff[:, None] * chain), torch.eye(3))
    lhs = a.transpose(-1, -2) @ a + normal + 1e-7 * torch.eye(69)
    rhs = (a.transpose(-1, -2) @ r[..., None])[..., 0]
    rhs[:, :66] += torch.einsum("ja,njc->nac", chain * stiff[:, None], apart).flatten(1)
    step = torch.linalg.solve_ex(lhs, rhs)[0].unflatten(-1, (23, 3))
    spin = torch.einsum("ja,nac->njc", chain, step[:, :22])
    return roma.rotvec_to_rotmat(spin) @ turns, pelvis + step[:, 22]


def fit(targets: Targets, rest: Tensor) -> tuple[Tensor, Tensor]:
    """Fits a body to targets.

    Args:
        targets: T frames.
        rest: (22,3) rest joints of the body, metres.

    Returns:
        Global rotations (T,22,3,3) of the bones and pelvis positions (T,3).
    """
    offsets = rest - rest[list(PARENTS)]
    turns, pelvis = [], []
    for start in range(0, len(targets.positions), _CHUNK):
        part = Targets(targets.positions[start : start + _CHUNK], targets.rotations[start : start + _CHUNK])
        turn, place = part.rotations, part.positions[:, 0]
        for _ in range(_STEPS):
            turn, place = _gauss_newton_step(turn, place, part, offsets)
        turns.append(turn)
        pelvis.append(place)
    return torch.cat(turns), torch.cat(pelvis)


def _to_local(turns: Tensor) -> Tensor:
    """Global rotations (T,22,3,3) to rotations relative to the parent."""
    parents = list(PARENTS[1:])
    local = turns.clone()
    local[:, 1:] = turns[:, parents].transpose(-1, -2) @ turns[:, 1:]
    return local


def retarget(bvh: Bvh, body: BodyModel | None = None, skeleton: Skeleton = CMU) -> Motion:
    """BVH motion to SMPL-X motion.

    Args:
        bvh: a file of the skeleton, y up, floor near y = 0.
        body: the body to fit; the open body by default.
        skeleton: the joint map.

    Returns:
        Motion in the world frame (y up, floor at y = 0, no vertex below it beyond a few millimetres), zero betas, at
        the file's frame rate.

    Raises:
        InputError: the file lacks joints of the map.
    """
    body = body or load_body("open")
    rest = body.rest_joints(torch.zeros(1, 10))[0]
    turns, pelvis = fit(make_targets(bvh, rest, skeleton), rest)
    rotations, transl = _to_local(turns), pelvis - rest[0]
    transl[:, 1] += ground_shift(rotations, transl, bvh.fps, body)
    return Motion.from_rotations(
        rotations.numpy(), np.zeros(10, np.float32), transl.numpy(), fps=bvh.fps, axes="world", body=body.name
    )


def retarget_errors(
    bvh: Bvh, body: BodyModel | None = None, skeleton: Skeleton = CMU, literal: bool = False
) -> np.ndarray:
    """Distance (T,22) in metres between the fitted joints and the rescaled BVH joints.

    Args:
        bvh: the file that is fitted.
        body: the body; the open body by default.
        skeleton: the joint map.
        literal: measure against targets that take every bone's direction from the file as it is, also those of collars,
            shoulders and head, which the fit itself does not follow all the way (see `make_targets`).
    """
    body = body or load_body("open")
    rest = body.rest_joints(torch.zeros(1, 10))[0]
    targets = make_targets(bvh, rest, skeleton)
    turns, pelvis = fit(targets, rest)
    goal = make_targets(bvh, rest, skeleton, rest_share=0.0) if literal else targets
    return (_forward(turns, pelvis, rest - rest[list(PARENTS)]) - goal.positions).norm(dim=-1).numpy()
