"""The pass of triangle numbers samples pixel centres, hides what is behind, and leaves colour pictures as they were."""

from __future__ import annotations

import numpy as np

from unimo.render.renderer import shared_renderer

FACES = np.array([[0, 2, 1], [0, 3, 2]])
INTRINSICS = np.array([[100.0, 0, 40.0], [0, 100.0, 30.0], [0, 0, 1]])


def square(x: float, y: float, z: float, half: float = 0.1) -> np.ndarray:
    corners = [(-half, -half), (half, -half), (half, half), (-half, half)]
    return np.array([[x + dx, y + dy, z] for dx, dy in corners], np.float32)


def test_each_pixel_names_its_triangle():
    ids = shared_renderer().face_ids(square(0.2, -0.1, 2.0), FACES, INTRINSICS, 60, 80)
    assert ids.shape == (60, 80) and ids.dtype == np.int32
    rows, columns = np.nonzero(ids >= 0)
    # centre (50, 25), half side 5: pixel centres 45.5 to 54.5
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (45, 54, 20, 29)
    assert len(rows) == 100
    # corner 1 is top right, corner 3 bottom left
    assert ids[21, 53] == 0 and ids[28, 46] == 1


def test_the_nearer_triangle_wins_and_backs_are_not_drawn():
    faces = np.concatenate([FACES, FACES + 4, FACES[:, ::-1] + 8])
    vertices = np.concatenate([square(0, 0, 3, 0.5), square(0, 0, 2), square(0, 0, 1)])
    ids = shared_renderer().face_ids(vertices, faces, INTRINSICS, 60, 80)
    assert set(ids[28:32, 38:42].ravel()) <= {2, 3}
    assert set(ids[18, 30:50]) <= {0, 1}


def test_other_meshes_sizes_and_colour_pictures_do_not_disturb_each_other():
    target, colors = shared_renderer(), np.full((4, 3), 0.7)
    before = target.render(square(0, 0, 2), FACES, INTRINSICS, 60, 80, colors)
    first = target.face_ids(square(0, 0, 2), FACES, INTRINSICS, 60, 80)
    large = target.face_ids(square(0, 0, 2), FACES, INTRINSICS * [[3], [3], [1]], 180, 240)
    assert np.array_equal(large[1::3, 1::3], first)
    one = target.face_ids(square(0, 0, 2)[:3], FACES[:1].copy(), INTRINSICS, 60, 80)
    assert set(one.ravel()) == {-1, 0} and 0 < (one == 0).sum() < (first >= 0).sum()
    after = target.render(square(0, 0, 2), FACES, INTRINSICS, 60, 80, colors)
    assert np.array_equal(before.rgba, after.rgba) and np.array_equal(before.depth, after.depth)
