"""The renderer puts things where the pinhole says, keeps up with changing meshes and sizes, and fails plainly."""

from __future__ import annotations

import numpy as np
import pytest

from unimo.errors import MissingAssetError
from unimo.render import renderer as renderer_module
from unimo.render.renderer import MeshRenderer, composite, shared_renderer
from unimo.render.shading import Light, MeshTopology, shade

FACES = np.array([[0, 2, 1], [0, 3, 2]])
INTRINSICS = np.array([[100.0, 0, 40.0], [0, 100.0, 30.0], [0, 0, 1]])


def square(x: float, y: float, z: float, half: float = 0.1) -> np.ndarray:
    corners = [(-half, -half), (half, -half), (half, half), (-half, half)]
    return np.array([[x + dx, y + dy, z] for dx, dy in corners], np.float32)


def test_square_lands_where_the_pinhole_says():
    frame = shared_renderer().render(square(0.2, -0.1, 2.0), FACES, INTRINSICS, 60, 80, np.full((4, 3), 0.5))
    assert frame.rgba.shape == (60, 80, 4) and frame.depth.shape == (60, 80)
    rows, columns = np.nonzero(frame.mask)
    # centre (40 + 100 * 0.2 / 2, 30 - 100 * 0.1 / 2) = (50, 25), half side 5
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (45, 54, 20, 29)
    assert np.allclose(frame.depth[25, 50], 2.0, atol=1e-3) and frame.depth[0, 0] == 0
    assert abs(int(frame.rgba[25, 50, 0]) - 128) <= 1


def test_vertices_colours_and_size_change_without_a_new_mesh():
    target = shared_renderer()
    target.render(square(0, 0, 2), FACES, INTRINSICS, 60, 80, np.zeros((4, 3)))
    moved = target.render(square(0.1, 0, 2), FACES, INTRINSICS, 60, 80, np.tile([1.0, 0, 0], (4, 1)))
    assert moved.mask[30, 45] and not moved.mask[30, 38]
    assert (moved.rgba[30, 45] == (255, 0, 0, 255)).all()
    larger = target.render(square(0, 0, 2), FACES, INTRINSICS * [[2], [2], [1]], 120, 160, np.ones((4, 3)))
    assert larger.rgba.shape == (120, 160, 4) and larger.mask[60, 80]
    other = target.render(square(0, 0, 2)[:3], FACES[:1], INTRINSICS, 60, 80, np.ones((3, 3)))
    assert 0 < other.mask.sum() < 80


def test_nearer_surface_wins():
    faces = np.concatenate([FACES, FACES + 4])
    colors = np.repeat([[1.0, 0, 0], [0, 1.0, 0]], 4, axis=0)
    vertices = np.concatenate([square(0, 0, 3, 0.5), square(0, 0, 2)])
    frame = shared_renderer().render(vertices, faces, INTRINSICS, 60, 80, colors)
    assert (frame.rgba[30, 40, :3] == (0, 255, 0)).all() and frame.depth[30, 40] < 2.01


def test_composite_blends_premultiplied():
    rgba = np.array([[[100, 0, 0, 255], [50, 0, 0, 128], [0, 0, 0, 0]]], np.uint8)
    assert composite(rgba, np.full((1, 3, 3), 200, np.uint8))[0, :, 0].tolist() == [100, 150, 200]


def test_normals_point_outwards_and_light_falls_on_one_side():
    tetrahedron = np.array([[1, 1, 1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]], np.float32)
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    normals = MeshTopology(faces, 4).normals(tetrahedron[None])
    assert np.allclose(np.abs(normals), 3**-0.5, atol=1e-5)
    assert (np.einsum("vc,vc->v", normals[0], tetrahedron) > 0).all()
    lit = shade(np.full((4, 3), 0.5), normals, Light(direction=(1, 0, 0), up=(0, 1, 0)))
    assert lit.shape == (1, 4, 3) and lit[0, 0].min() > lit[0, 1].max()


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="must both be"):
        shared_renderer().render(square(0, 0, 2), FACES, INTRINSICS, 60, 80, np.ones((3, 3)))


def test_missing_driver_names_the_packages(monkeypatch):
    def broken():
        raise ImportError("Unable to load EGL library")

    monkeypatch.setattr(renderer_module, "_import_pyrender", broken)
    with pytest.raises(MissingAssetError, match="apt-get install libegl1 libgl1-mesa-dri"):
        MeshRenderer()
