"""A `Motion` as a binary glTF file: the body's mesh, skinned to its 22 joints, with the motion as an animation.

Out: metres, y up (glTF's own axes), quaternions x y z w, key times i / fps in seconds. The mesh has the clip's mean
shape; glTF skins with four joints a vertex, so the lesser weights are dropped and the rest made to sum to one.
Pose-dependent corrections of the licensed body have no place in glTF and are left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pygltflib as gltf
import roma
import torch

from unimo.body import JOINT_NAMES, BodyModel, load_body
from unimo.body.names import ALL_PARENTS
from unimo.files import atomic_write
from unimo.motion.frames import camera_to_world, pelvis_positions, with_one_shape
from unimo.motion.motion import Motion

INFLUENCES = 4
SKIN_COLOR = (0.72, 0.72, 0.75, 1.0)


class Rig(NamedTuple):
    """The body at rest: vertices and normals (V, 3), faces (F, 3), joints (J, 3), skin indices and weights (V, 4)."""

    vertices: np.ndarray
    normals: np.ndarray
    faces: np.ndarray
    joints: np.ndarray
    skin_joints: np.ndarray
    skin_weights: np.ndarray


def write_glb(path: str | Path, motion: Motion, body: BodyModel | None = None) -> None:
    """Writes a skinned, animated mesh in world axes; the file appears whole or not at all.

    Args:
        path: the .glb file.
        motion: T frames; a camera motion is put into the world first, see `frames.camera_to_world`.
        body: the body of the motion; None loads the one it names.

    Raises:
        MissingAssetError: the motion is of the licensed body and its file is not on this machine.
    """
    body = load_body(motion.body) if body is None else body
    motion = with_one_shape(camera_to_world(motion, body), body)
    rig = _rig(body, motion)
    buffer = _Buffer()
    file = gltf.GLTF2(
        asset=gltf.Asset(generator="unimo", extras=_notes(motion)),
        scene=0,
        scenes=[gltf.Scene(nodes=[0, len(JOINT_NAMES)])],
        nodes=_nodes(body, rig),
        meshes=[gltf.Mesh(name="body", primitives=[_primitive(buffer, rig)])],
        materials=[
            gltf.Material(
                name="body",
                pbrMetallicRoughness=gltf.PbrMetallicRoughness(
                    baseColorFactor=list(SKIN_COLOR), metallicFactor=0.0, roughnessFactor=0.8
                ),
            )
        ],
        skins=[_skin(buffer, rig)],
        animations=[_animation(buffer, motion, pelvis_positions(motion, body))],
    )
    file.accessors, file.bufferViews = buffer.accessors, buffer.views
    file.buffers = [gltf.Buffer(byteLength=len(buffer.content))]
    file.set_binary_blob(bytes(buffer.content))
    with atomic_write(path) as temporary:
        file.save_binary(str(temporary))


class _Buffer:
    """Collects arrays into one binary block, with the accessors that describe them."""

    TYPES = {(): gltf.SCALAR, (3,): gltf.VEC3, (4,): gltf.VEC4, (4, 4): gltf.MAT4}
    COMPONENTS = {"float32": gltf.FLOAT, "uint32": gltf.UNSIGNED_INT, "uint8": gltf.UNSIGNED_BYTE}

    def __init__(self) -> None:
        self.content = bytearray()
        self.accessors: list[gltf.Accessor] = []
        self.views: list[gltf.BufferView] = []

    def add(self, array: np.ndarray, target: int | None = None, bounds: bool = False) -> int:
        """Appends an array (N, ...) and returns the index of its accessor; `bounds` states its least and greatest."""
        content = np.ascontiguousarray(array).tobytes()
        self.views.append(
            gltf.BufferView(buffer=0, byteOffset=len(self.content), byteLength=len(content), target=target)
        )
        self.content += content + bytes(-len(content) % 4)
        flat = array.reshape(len(array), -1)
        self.accessors.append(
            gltf.Accessor(
                bufferView=len(self.views) - 1,
                componentType=self.COMPONENTS[array.dtype.name],
                count=len(array),
                type=self.TYPES[array.shape[1:]],
                min=flat.min(axis=0).tolist() if bounds else None,
                max=flat.max(axis=0).tolist() if bounds else None,
            )
        )
        return len(self.accessors) - 1


def _rig(body: BodyModel, motion: Motion) -> Rig:
    betas = torch.from_numpy(motion.betas[:1])
    with torch.no_grad():
        still = torch.eye(3).repeat(1, len(JOINT_NAMES), 1, 1)
        vertices = body.vertices(still, betas, torch.zeros(1, 3))[0].cpu().numpy()
        joints = body.rest_joints(betas)[0].cpu().numpy()
    indices, weights = _skinning(body.path)
    return Rig(vertices, _vertex_normals(vertices, body.faces), body.faces, joints, indices, weights)


def _skinning(body_file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Returns the four strongest body joints of each vertex (V, 4) uint8 and their weights (V, 4), summing to one."""
    with np.load(body_file, allow_pickle=False) as archive:
        full = archive["weights"].astype(np.float64)
    weights = np.zeros((len(full), len(JOINT_NAMES)))
    for joint in range(full.shape[1]):
        carrier = joint
        # hands, jaw and eyes are at rest: they ride on wrists and head
        while carrier >= len(JOINT_NAMES):
            carrier = ALL_PARENTS[carrier]
        weights[:, carrier] += full[:, joint]
    indices = np.argsort(-weights, axis=1, kind="stable")[:, :INFLUENCES]
    strongest = np.take_along_axis(weights, indices, axis=1)
    # glTF wants unused slots to name joint 0
    indices[strongest == 0] = 0
    return indices.astype(np.uint8), (strongest / strongest.sum(axis=1, keepdims=True)).astype(np.float32)


def _vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    corners = vertices[faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], across)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.where(length > 0, normals / np.maximum(length, 1e-20), [0, 1, 0]).astype(np.float32)


def _nodes(body: BodyModel, rig: Rig) -> list[gltf.Node]:
    """Returns the joints, in SMPL-X order, and after them the node of the mesh."""
    nodes = []
    for joint, (name, parent) in enumerate(zip(JOINT_NAMES, body.parents, strict=True)):
        offset = rig.joints[joint] - (rig.joints[parent] if parent >= 0 else 0)
        children = [child for child, its_parent in enumerate(body.parents) if its_parent == joint]
        nodes.append(gltf.Node(name=name, translation=offset.tolist(), children=children or None))
    nodes.append(gltf.Node(name="body", mesh=0, skin=0))
    return nodes


def _primitive(buffer: _Buffer, rig: Rig) -> gltf.Primitive:
    return gltf.Primitive(
        attributes=gltf.Attributes(
            POSITION=buffer.add(rig.vertices, gltf.ARRAY_BUFFER, bounds=True),
            NORMAL=buffer.add(rig.normals, gltf.ARRAY_BUFFER),
            JOINTS_0=buffer.add(rig.skin_joints, gltf.ARRAY_BUFFER),
            WEIGHTS_0=buffer.add(rig.skin_weights, gltf.ARRAY_BUFFER),
        ),
        indices=buffer.add(rig.faces.astype(np.uint32).ravel(), gltf.ELEMENT_ARRAY_BUFFER),
        material=0,
    )


def _skin(buffer: _Buffer, rig: Rig) -> gltf.Skin:
    inverse_bind = np.tile(np.eye(4, dtype=np.float32), (len(rig.joints), 1, 1))
    inverse_bind[:, :3, 3] = -rig.joints
    # glTF stores matrices column by column
    matrices = buffer.add(inverse_bind.transpose(0, 2, 1))
    return gltf.Skin(name="body", joints=list(range(len(rig.joints))), skeleton=0, inverseBindMatrices=matrices)


def _animation(buffer: _Buffer, motion: Motion, pelvis: np.ndarray) -> gltf.Animation:
    times = buffer.add((np.arange(len(motion)) / motion.fps).astype(np.float32), bounds=True)
    quaternions = roma.rotvec_to_unitquat(torch.from_numpy(motion.axis_angles()).double()).numpy()
    # neighbours on one side of the sphere, for viewers that interpolate without taking the short way
    dots = (quaternions[1:] * quaternions[:-1]).sum(axis=-1, keepdims=True)
    quaternions[1:] *= np.cumprod(np.where(dots < 0, -1.0, 1.0), axis=0)
    animation = gltf.Animation(name="motion")

    def drive(node: int, path: str, values: np.ndarray) -> None:
        output = buffer.add(values.astype(np.float32))
        animation.samplers.append(gltf.AnimationSampler(input=times, output=output, interpolation=gltf.ANIM_LINEAR))
        target = gltf.AnimationChannelTarget(node=node, path=path)
        animation.channels.append(gltf.AnimationChannel(sampler=len(animation.samplers) - 1, target=target))

    drive(0, gltf.TRANSLATION, pelvis)
    for joint in range(len(JOINT_NAMES)):
        drive(joint, gltf.ROTATION, quaternions[:, joint])
    return animation


def _notes(motion: Motion) -> dict[str, object]:
    assumed = bool((motion.extras or {}).get("world_is_assumed", False))
    return {"fps": motion.fps, "frames": len(motion), "body": motion.body, "world_is_assumed": assumed}
