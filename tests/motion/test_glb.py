"""The GLB file, read back: joints, skinned vertices, times, and what the format demands."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pygltflib
import pytest
import torch
import trimesh
from scipy.spatial.transform import Rotation

from unimo.body import JOINT_NAMES, load_body
from unimo.motion.frames import camera_to_world, joint_positions
from unimo.motion.glb import write_glb

COMPONENTS = {5126: np.float32, 5125: np.uint32, 5121: np.uint8}
SIZES = {"SCALAR": (), "VEC3": (3,), "VEC4": (4,), "MAT4": (4, 4)}


def read(file: pygltflib.GLTF2, index: int) -> np.ndarray:
    accessor = file.accessors[index]
    view = file.bufferViews[accessor.bufferView]
    start, dtype, shape = view.byteOffset, COMPONENTS[accessor.componentType], SIZES[accessor.type]
    count = accessor.count * int(np.prod(shape, dtype=int))
    return np.frombuffer(file.binary_blob(), dtype, count, start).reshape(accessor.count, *shape)


def joint_transforms(file: pygltflib.GLTF2) -> np.ndarray:
    """Global transforms (T, J, 4, 4) that the animation gives the joints, as a viewer computes them."""
    animation = file.animations[0]
    frames = len(read(file, animation.samplers[0].input))
    local = np.tile(np.eye(4), (frames, len(file.nodes), 1, 1))
    for i, node in enumerate(file.nodes):
        local[:, i, :3, 3] = node.translation or [0, 0, 0]
    for channel in animation.channels:
        values = read(file, animation.samplers[channel.sampler].output)
        if channel.target.path == "translation":
            local[:, channel.target.node, :3, 3] = values
        else:
            local[:, channel.target.node, :3, :3] = Rotation.from_quat(values).as_matrix()
    world = local.copy()
    for i, node in enumerate(file.nodes):
        for child in node.children or []:
            assert child > i
            world[:, child] = world[:, i] @ local[:, child]
    return world[:, : len(JOINT_NAMES)]


@pytest.mark.parametrize("frames", [1, 5])
def test_joints_vertices_and_times_are_those_of_the_motion(make_motion, tmp_path, frames):
    motion = make_motion(frames, fps=24)
    write_glb(tmp_path / "motion.glb", motion)
    file = pygltflib.GLTF2().load(str(tmp_path / "motion.glb"))
    assert file is not None
    world, body = camera_to_world(motion), load_body("open")
    transforms = joint_transforms(file)
    np.testing.assert_allclose(transforms[..., :3, 3], joint_positions(world), atol=1e-4)
    times = read(file, file.animations[0].samplers[0].input)
    np.testing.assert_allclose(times, np.arange(frames) / 24, atol=1e-6)

    attributes = file.meshes[0].primitives[0].attributes
    bind = read(file, file.skins[0].inverseBindMatrices).transpose(0, 2, 1)
    weights, indices = read(file, attributes.WEIGHTS_0), read(file, attributes.JOINTS_0)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    skin = np.einsum("vk,vkij->vij", weights, (transforms[-1] @ bind)[indices])
    rest = read(file, attributes.POSITION)
    posed = np.einsum("vij,vj->vi", skin[:, :3, :3], rest) + skin[:, :3, 3]
    tensors = [torch.from_numpy(array[-1:]) for array in (world.rotations(), world.betas, world.transl)]
    error = np.linalg.norm(posed - body.vertices(*tensors)[0].numpy(), axis=1)
    # only vertices with more than four joints differ
    assert error.mean() < 2e-4 and error.max() < 0.01


def test_notes_say_what_the_world_is(make_motion, tmp_path):
    write_glb(tmp_path / "a.glb", make_motion(2))
    write_glb(tmp_path / "b.glb", make_motion(2, axes="world"))
    notes = [pygltflib.GLTF2().load(str(tmp_path / name)).asset.extras for name in ("a.glb", "b.glb")]
    assert notes[0] == {"fps": 30.0, "frames": 2, "body": "open", "world_is_assumed": True}
    assert not notes[1]["world_is_assumed"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.glb", "b.glb"]


def test_another_reader_finds_the_mesh(make_motion, tmp_path):
    write_glb(tmp_path / "motion.glb", make_motion(2))
    scene = trimesh.load_scene(tmp_path / "motion.glb")
    (mesh,) = scene.geometry.values()
    assert len(mesh.faces) == len(load_body("open").faces)
    height = np.ptp(mesh.vertices[:, 1])
    assert 1.2 < height < 2.3 and mesh.vertices[:, 0].max() > 0.5


def test_the_pelvis_keeps_its_path_when_the_shape_changes(make_motion, tmp_path):
    betas = np.random.default_rng(1).normal(size=(4, 10)) * 2
    motion = make_motion(4, axes="world", betas=betas)
    write_glb(tmp_path / "motion.glb", motion)
    file = pygltflib.GLTF2().load(str(tmp_path / "motion.glb"))
    np.testing.assert_allclose(joint_transforms(file)[:, 0, :3, 3], joint_positions(motion)[:, 0], atol=1e-5)


def test_the_binary_block_is_aligned_and_quaternions_do_not_jump(make_motion, tmp_path):
    orient = np.stack([np.zeros(40), np.linspace(0, 12, 40), np.zeros(40)], axis=1)
    write_glb(tmp_path / "spin.glb", make_motion(40, axes="world", global_orient=orient))
    file = pygltflib.GLTF2().load(str(tmp_path / "spin.glb"))
    assert all(view.byteOffset % 4 == 0 for view in file.bufferViews)
    for sampler in file.animations[0].samplers[1:]:
        values = read(file, sampler.output)
        assert all(np.dot(before, after) > 0 for before, after in pairwise(values))
