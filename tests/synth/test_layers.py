"""Layers are true: known geometry, agreement among themselves, with the pictures, and with motion and camera."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from unimo.errors import InputError
from unimo.media.images import write_image
from unimo.metrics.ground_truth import (
    normal_angles,
    pixel_centres,
    reprojection_errors,
    round_trip_errors,
    surface_distances,
    warp_errors,
)
from unimo.render.renderer import shared_renderer
from unimo.render.shading import MeshTopology
from unimo.synth.background import view_room
from unimo.synth.gait import gait_library
from unimo.synth.layers import LAYERS, parse_layers
from unimo.synth.layers_body import BodySurface, FaceMap, SurfacePoints
from unimo.synth.layers_room import room_backdrop
from unimo.synth.puppet import load_puppet
from unimo.synth.render import render_scene
from unimo.synth.scene import SceneConfig, sample_scene

SIDE = 96
CONFIG = SceneConfig(side=SIDE, frames=7)


@pytest.fixture(scope="module")
def library():
    return gait_library(3, seconds=3.0)


def drawn(scene):
    clip = render_scene(scene)
    return clip, clip.truth.layers(LAYERS)


@pytest.fixture(scope="module")
def moving(library):
    """A clip whose camera moves, with all its layers."""
    scenes = (sample_scene(library, seed, CONFIG) for seed in range(40))
    return drawn(next(scene for scene in scenes if np.ptp(scene.motion.cam2world[:, :3, 3], axis=0).max() > 0.1))


@pytest.fixture(scope="module")
def still(library):
    """A clip whose camera stands still, with all its layers."""
    scenes = (sample_scene(library, seed, CONFIG) for seed in range(40))
    return drawn(next(scene for scene in scenes if np.ptp(scene.motion.cam2world, axis=0).max() == 0))


def world_points(clip, depth: np.ndarray, frame: int) -> np.ndarray:
    """(H, W, 3) world places of a depth map, by the camera alone."""
    intrinsics, pose = clip.motion.intrinsics.astype(float), clip.motion.cam2world[frame].astype(float)
    rays = np.concatenate([pixel_centres(SIDE, SIDE), np.ones((SIDE, SIDE, 1))], axis=-1) @ np.linalg.inv(intrinsics).T
    return rays * depth[..., None].astype(float) @ pose[:3, :3].T + pose[:3, 3]


def unpacked(bits: np.ndarray) -> np.ndarray:
    return np.unpackbits(bits, axis=-1, count=SIDE).astype(bool)


def test_names_of_layers():
    assert parse_layers("all") == LAYERS and parse_layers("") == ()
    assert parse_layers("tracks, depth,depth") == ("depth", "tracks")
    with pytest.raises(InputError, match="there is no layer 'normal'\n.*depth,normals,surface,flow,tracks"):
        parse_layers("depth,normal")


def test_shapes_and_types(still):
    _, layers = still
    frames, picture, count = 7, (SIDE, SIDE), CONFIG.tracks
    expected = {
        "depth": ((frames, *picture), np.float16), "normals": ((frames, *picture, 3), np.int8),
        "surface": ((frames, *picture, 3), np.float16), "flow_forward": ((6, *picture, 2), np.float16),
        "flow_backward": ((6, *picture, 2), np.float16), "flow_forward_valid": ((6, SIDE, SIDE // 8), np.uint8),
        "flow_backward_valid": ((6, SIDE, SIDE // 8), np.uint8), "tracks2d": ((frames, count, 2), np.float32),
        "tracks3d": ((frames, count, 3), np.float32), "tracks_visible": ((frames, count), np.bool_),
        "tracks_person": ((count,), np.bool_),
    }  # fmt: skip
    assert {name: (array.shape, array.dtype) for name, array in layers.items()} == expected


def test_the_room_is_where_it_is_said_to_be(moving):
    clip, layers = moving
    for frame in (0, 6):
        points = world_points(clip, layers["depth"][frame], frame)
        up = layers["normals"][frame] / 127.0 @ clip.motion.cam2world[frame, :3, :3].T
        off = ~np.isfinite(layers["surface"][frame, ..., 0])
        floor, ceiling = off & (up[..., 1] > 0.95), off & (up[..., 1] < -0.95)
        assert floor.sum() > 500
        assert np.abs(points[floor][:, 1]).max() < 0.01
        if ceiling.any():
            assert np.abs(points[ceiling][:, 1] - clip.scene.looks.room.height).max() < 0.02
        walls = off & ~floor & ~ceiling
        assert walls.sum() > 500 and np.abs(up[walls][:, 1]).max() < 0.02
        assert points[walls][:, 1].min() > -0.02


def test_depth_is_that_of_the_body(still):
    clip, layers = still
    inside = np.stack([binary_erosion(mask) for mask in clip.mask])
    person = np.isfinite(layers["surface"][..., 0])
    assert person[inside].mean() > 0.99 and person[~clip.mask].mean() < 0.01
    lit = np.full((len(clip.scene.puppet.regions.rest), 3), 0.5)
    faces, body = clip.scene.puppet.topology.faces, clip.truth._body
    for frame in (0, 6):
        other = shared_renderer().render(body.vertices[frame], faces, clip.motion.intrinsics, SIDE, SIDE, lit)
        apart = np.abs(other.depth - layers["depth"][frame].astype(float))[inside[frame]]
        assert np.median(apart) < 0.01  # the renderer's sample is not at the pixel's centre


@pytest.mark.parametrize("name", ["still", "moving"])
def test_normals_fit_the_depth_and_face_the_camera(name, request):
    clip, layers = request.getfixturevalue(name)
    normals = layers["normals"].astype(float) / 127
    assert np.abs(np.linalg.norm(normals, axis=-1) - 1).max() < 0.01
    rays = (pixel_centres(SIDE, SIDE) - SIDE / 2) / clip.motion.intrinsics[0, 0]
    towards = (normals * np.concatenate([rays, np.ones((SIDE, SIDE, 1))], axis=-1)).sum(axis=-1)
    assert towards.max() < 0.0
    for frame in (0, 3):
        person = np.isfinite(layers["surface"][frame, ..., 0])
        depth = layers["depth"][frame].astype(float)
        angles = normal_angles(normals[frame], depth, clip.motion.intrinsics, person)
        assert np.nanmedian(angles[person]) < 8.0 and np.nanmedian(angles[~person]) < 2.0


def test_the_surface_is_a_place_on_the_resting_body(still):
    clip, layers = still
    rest, joints = clip.scene.puppet.regions.rest, clip.scene.puppet.rest_joints(np.zeros(10))
    surface = layers["surface"].astype(float)
    for name in (0, 3):
        on = surface[name][np.isfinite(surface[name][..., 0])]
        assert (on > rest.min(axis=0) - 0.01).all() and (on < rest.max(axis=0) + 0.01).all()
    visible = clip.keypoints_visible
    assert 0.3 < visible.mean() <= 1.0
    for frame, point in zip(*np.nonzero(visible), strict=True):
        x, y = clip.keypoints2d[frame, point].astype(int)
        if np.isfinite(surface[frame, y, x, 0]):
            assert np.linalg.norm(surface[frame, y, x] - joints[point]) < 0.3


def test_flow_of_a_room_under_a_moving_camera_is_that_of_its_depth(moving):
    clip, layers = moving
    world2cam = np.linalg.inv(clip.motion.cam2world.astype(float))
    biggest = 0.0
    for name, steps in (("flow_forward", 1), ("flow_backward", -1)):
        for row in range(6):
            start = row if steps == 1 else row + 1
            room = ~np.isfinite(layers["surface"][start, ..., 0]) & unpacked(layers[f"{name}_valid"][row])
            points = world_points(clip, layers["depth"][start], start)[room]
            seen = points @ world2cam[start + steps, :3, :3].T + world2cam[start + steps, :3, 3]
            seen = seen @ clip.motion.intrinsics.T.astype(float)
            expected = seen[:, :2] / seen[:, 2:] - pixel_centres(SIDE, SIDE)[room]
            assert np.abs(layers[name][row][room] - expected).max() < 0.02
            biggest = max(biggest, np.abs(expected).max())
    assert biggest > 0.5


def test_a_still_room_has_no_flow(still):
    _, layers = still
    room = ~np.isfinite(layers["surface"][:-1, ..., 0])
    assert not layers["flow_forward"][room].any()
    assert np.abs(layers["flow_forward"][~room]).max() > 1.0


@pytest.mark.parametrize("name", ["still", "moving"])
def test_flow_leads_to_the_same_point(name, request):
    clip, layers = request.getfixturevalue(name)
    forward, backward = layers["flow_forward"].astype(float), layers["flow_backward"].astype(float)
    valid = unpacked(layers["flow_forward_valid"])
    assert 0.8 < valid.mean() < 1.0
    warped, unmoved, apart = [], [], []
    for t in range(6):
        assert round_trip_errors(forward[t], backward[t], valid[t]).mean() < 0.1
        explained, change = warp_errors(clip.rgb[t], clip.rgb[t + 1], forward[t], valid[t])
        warped.append(explained[change > 10])
        unmoved.append(change[change > 10])
        rows, columns = np.nonzero(valid[t] & np.isfinite(layers["surface"][t, ..., 0]))
        ends = (np.stack([columns, rows], axis=-1) + 0.5 + forward[t, rows, columns]).astype(int)
        there = layers["surface"][t + 1, ends[:, 1], ends[:, 0]].astype(float)
        apart.append(np.linalg.norm(there - layers["surface"][t, rows, columns], axis=-1))
    assert np.concatenate(warped).mean() < 0.5 * np.concatenate(unmoved).mean()
    assert np.nanpercentile(np.concatenate(apart), 95) < 0.06


@pytest.mark.parametrize("name", ["still", "moving"])
def test_tracks_stay_on_their_surfaces(name, request):
    clip, layers = request.getfixturevalue(name)
    flat, solid, visible, person = (layers[f"tracks{part}"] for part in ("2d", "3d", "_visible", "_person"))
    assert person.sum() == 48 and visible.any(axis=0).all()
    assert 0.5 < visible[:, person].mean() < 1.0
    assert reprojection_errors(solid, clip.motion.intrinsics, flat)[visible].max() < 0.01
    assert (flat[visible] >= 0).all() and (flat[visible] < SIDE).all()
    world = solid @ clip.motion.cam2world[:, :3, :3].transpose(0, 2, 1) + clip.motion.cam2world[:, None, :3, 3]
    assert np.ptp(world[:, ~person], axis=0).max() < 1e-4
    assert np.ptp(world[:, person], axis=0).max() > 0.1
    for t in range(7):
        seen = visible[t]
        apart = surface_distances(layers["depth"][t].astype(float), flat[t][seen], solid[t, seen, 2])
        assert np.percentile(apart, 90) < 0.03
        # what is hidden is behind what is drawn
        inside = ~seen & (flat[t] >= 0).all(axis=-1) & (flat[t] < SIDE).all(axis=-1)
        x, y = flat[t][inside].astype(int).T
        assert (layers["depth"][t, y, x] < solid[t, inside, 2] + 0.06).all()


def test_layers_neither_change_pictures_nor_depend_on_each_other(library, still):
    clip, layers = still
    again = render_scene(clip.scene)
    assert np.array_equal(again.rgb, clip.rgb) and np.array_equal(again.mask, clip.mask)
    alone = render_scene(sample_scene(library, clip.scene.seed, CONFIG)).truth.layers(["tracks", "depth"])
    assert alone.keys() == {"tracks2d", "tracks3d", "tracks_visible", "tracks_person", "depth"}
    for name, array in alone.items():
        assert np.array_equal(array, layers[name]), name
    fewer = render_scene(sample_scene(library, clip.scene.seed, replace(CONFIG, tracks=5)))
    assert fewer.truth.layers(["tracks"])["tracks2d"].shape == (7, 5, 2)


def test_a_photograph_is_a_plane_behind_the_person(library, tmp_path):
    write_image(tmp_path / "wall.png", np.full((90, 120, 3), (200, 40, 40), np.uint8))
    config = replace(CONFIG, images=str(tmp_path))
    scenes = (sample_scene(library, seed, config) for seed in range(40))
    clip, layers = drawn(next(scene for scene in scenes if scene.looks.room.image))
    behind = ~np.isfinite(layers["surface"][..., 0])
    depth = layers["depth"][behind]
    assert depth.min() == depth.max()
    assert depth[0] > clip.keypoints3d[..., 2].max() + 1.0
    assert (layers["normals"][behind] == (0, 0, -127)).all()
    assert not layers["flow_forward"][behind[:-1]].any()
    still_there = unpacked(layers["flow_forward_valid"]) & behind[:-1]
    assert still_there.sum() > 0.9 * behind[:-1].sum()


def test_a_wall_that_gives_way_takes_its_points_along(library):
    scene = sample_scene(library, 0, CONFIG)
    room = replace(scene.looks.room, left=1.0, right=1.0, yaw=0.0)
    poses = np.tile(np.eye(4), (2, 1, 1))
    poses[:, :3, :3] = np.diag([-1.0, -1.0, 1.0])  # upright, looking along +z
    poses[:, :3, 3] = [[0.9, 1.0, -3.0], [1.5, 1.0, -3.0]]
    views = [view_room(room, pose, scene.motion.intrinsics, SIDE, np.zeros(3)) for pose in poses]
    assert views[1].positions[4] - views[0].positions[4] == pytest.approx(0.6)
    backdrop = room_backdrop(views)
    pixels = np.flatnonzero(views[0].plane == 4)
    rays = BodySurface(np.zeros((1, 3, 3)), load_puppet("open"), scene.motion.intrinsics, SIDE).rays(
        pixel_centres(SIDE, SIDE).reshape(-1, 2)
    )
    here = backdrop.points(0, pixels, rays)
    assert len(pixels) > 100 and np.allclose(here[:, 0], views[0].positions[4], atol=1e-5)
    moved = backdrop.moved(here, views[0].plane[pixels], 1)
    # the wall keeps its distance from the eye, so that its points do not move in the picture
    assert np.allclose(moved, rays[pixels] * views[0].depth[pixels, None], atol=1e-4)
    fixed = [view_room(room, pose, scene.motion.intrinsics, SIDE, np.zeros(3), poses[:, :3, 3]) for pose in poses]
    assert fixed[0].positions[4] == fixed[1].positions[4] == pytest.approx(1.9)


def test_a_face_map_forgets_nothing_and_keeps_only_the_person():
    faces = np.full((48, 30), -1, np.int32)
    faces[7:25, 4:19] = np.random.Generator(np.random.PCG64(0)).integers(-1, 500, (18, 15))
    for count, size in ((500, 2), (70_000, 4)):
        kept = FaceMap(faces, count)
        rows, columns = np.mgrid[:48, :30]
        assert np.array_equal(kept.at(rows.ravel(), columns.ravel()), faces.ravel())
        assert np.array_equal(kept.at_pixels(), faces[1::3, 1::3].ravel())
        assert kept.nbytes == 18 * 15 * size
    assert (FaceMap(np.full((6, 6), -1), 500).at_pixels() == -1).all()


def test_hiding_is_exact():
    """A small square before a large one: points, their depth, and what hides them."""
    faces = np.array([[0, 2, 1], [0, 3, 2], [4, 6, 5], [4, 7, 6]])
    corners = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    small, large = (np.column_stack([half * corners, np.full(4, z)]) for half, z in ((0.2, 2.0), (1.0, 4.0)))
    vertices = np.stack([np.concatenate([small + [0.3 * t, 0, 0], large]) for t in range(2)]).astype(np.float32)
    puppet = SimpleNamespace(topology=MeshTopology(faces, 8), regions=SimpleNamespace(rest=vertices[0]))
    intrinsics = np.array([[64.0, 0, 32], [0, 64, 32], [0, 0, 1]])
    body = BodySurface(vertices, puppet, intrinsics, 64)  # type: ignore[arg-type]
    body.draw(shared_renderer())
    points = body.at(0, np.array([2, 2, 3]), body.rays(np.array([[32.5, 32.0], [45.0, 20.0], [20.0, 45.0]])))
    assert np.allclose(points.weights.sum(axis=1), 1.0)
    places = body.places(0, points)
    assert np.allclose(places[:, 2], 4.0) and np.allclose(body.project(places[1:]), [[45.0, 20.0], [20.0, 45.0]])
    assert body.sees(0, points, places, body.project(places)).tolist() == [False, True, True]
    # in the next frame the small square has gone 9.6 pixels to the right: 35.2 to 48 of the picture
    assert body.sees(1, points, places, body.project(places)).tolist() == [True, True, True]
    aside = body.at(0, np.array([2]), body.rays(np.array([[40.0, 30.0]])))
    hidden = body.places(1, aside)
    assert body.sees(0, aside, hidden, body.project(hidden)).tolist() == [True]
    assert body.sees(1, aside, hidden, body.project(hidden)).tolist() == [False]
    away = SurfacePoints(np.array([0]), np.array([[0.2, 0.3, 0.5]]))
    body.vertices = vertices * np.array([-1, 1, 1], np.float32)  # mirrored: every triangle shows its back
    place = body.places(0, away)
    assert body.sees(0, away, place, body.project(place)).tolist() == [False]
