"""Agreement of layers on hand-made arrays: right ones measure nothing, wrong ones what they are wrong by."""

from __future__ import annotations

import numpy as np
import pytest

from unimo.metrics.ground_truth import (
    inverse_error,
    mask_iou,
    normal_angles,
    normals_of_depth,
    outline_difference,
    pixel_centres,
    reprojection_errors,
    round_trip_errors,
    sample_bilinear,
    surface_distances,
    warp_errors,
)

SIDE = 32
INTRINSICS = np.array([[40.0, 0, SIDE / 2], [0, 40.0, SIDE / 2], [0, 0, 1]])


def picture(shift: float = 0.0) -> np.ndarray:
    """(SIDE, SIDE, 3) uint8: smooth waves, moved to the right by `shift` pixels."""
    x, y = np.moveaxis(pixel_centres(SIDE, SIDE), -1, 0)
    grey = 128 + 60 * np.sin((x - shift) / 2.5) + 40 * np.cos(y / 3)
    return np.repeat(grey[..., None], 3, axis=-1).astype(np.uint8)


def plane_depth(normal: np.ndarray, distance: float) -> np.ndarray:
    """(SIDE, SIDE) depth of the plane normal · x = -distance."""
    rays = np.concatenate([(pixel_centres(SIDE, SIDE) - SIDE / 2) / 40, np.ones((SIDE, SIDE, 1))], axis=-1)
    return -distance / (rays @ normal)


def test_reprojection() -> None:
    points = np.array([[[0.0, 0.0, 2.0], [0.5, -0.25, 4.0]]])
    pixels = np.array([[[16.0, 16.0], [21.0, 13.5]]])
    np.testing.assert_allclose(reprojection_errors(points, INTRINSICS, pixels), 0, atol=1e-12)
    np.testing.assert_allclose(reprojection_errors(points, INTRINSICS, pixels + 0.5), np.sqrt(0.5))
    assert np.isinf(reprojection_errors(points * [1, 1, -1], INTRINSICS, pixels)).all()


def test_mask_iou() -> None:
    mask = np.zeros((2, 8, 8), bool)
    assert mask_iou(mask, mask) == 1.0
    mask[:, 2:6, 2:6] = True
    assert mask_iou(mask, mask) == 1.0
    assert mask_iou(mask, np.roll(mask, 2, axis=2)) == pytest.approx(8 / 24)
    with pytest.raises(ValueError, match="differ in shape"):
        mask_iou(mask, mask[:1])


@pytest.mark.parametrize("side", [32, 256])
def test_a_shift_of_an_outline_shows_at_any_size(side: int) -> None:
    mask = np.zeros((side, side), bool)
    mask[side // 4 : side // 2, side // 4 : 3 * side // 4] = True
    assert outline_difference(mask, mask) == 0.0
    assert 0.5 < outline_difference(np.roll(mask, 1, axis=0), mask) < 1.0
    few = mask.copy()
    few[0, 0] = True
    assert outline_difference(few, mask) == pytest.approx(1 / (1.5 * side - 4))
    assert outline_difference(few, np.zeros_like(mask)) == np.inf
    assert outline_difference(np.zeros_like(mask), np.zeros_like(mask)) == 0.0


def test_bilinear_samples_know_where_the_centres_are() -> None:
    ramp = pixel_centres(6, 9)
    places = np.array([[0.5, 0.5], [3.25, 2.0], [8.5, 5.5], [12.0, -3.0]])
    np.testing.assert_allclose(sample_bilinear(ramp, places), [[0.5, 0.5], [3.25, 2.0], [8.5, 5.5], [8.5, 0.5]])
    np.testing.assert_allclose(sample_bilinear(ramp[..., 0], places), [0.5, 3.25, 8.5, 8.5])


def test_a_right_flow_explains_the_change_and_a_wrong_one_does_not() -> None:
    flow, valid = np.zeros((SIDE, SIDE, 2)), np.zeros((SIDE, SIDE), bool)
    flow[..., 0], valid[:, 4:-4] = 2.0, True
    warped, still = warp_errors(picture(), picture(2.0), flow, valid)
    assert len(warped) == SIDE * (SIDE - 8)
    assert warped.mean() < 1.0 and still.mean() > 20
    backwards, _ = warp_errors(picture(), picture(2.0), -flow, valid)
    assert backwards.mean() > still.mean()
    swapped, _ = warp_errors(picture(), picture(2.0), flow[..., ::-1], valid)
    assert swapped.mean() > 10
    assert len(warp_errors(picture(), picture(), 0.1 * flow, valid)[0]) == 0  # what hardly moves is not measured


def test_there_and_back() -> None:
    forward, valid = np.zeros((SIDE, SIDE, 2)), np.zeros((SIDE, SIDE), bool)
    forward[..., 1], valid[:20] = 1.5, True
    np.testing.assert_allclose(round_trip_errors(forward, -forward, valid), 0)
    np.testing.assert_allclose(round_trip_errors(forward, forward, valid), 3.0)


def test_points_off_the_surface() -> None:
    depth = np.full((SIDE, SIDE), 2.0)
    depth[:, 16:] = 3.0
    pixels = np.array([[8.0, 8.0], [8.0, 8.0], [16.0, 8.0], [31.9, 31.9]])
    np.testing.assert_allclose(surface_distances(depth, pixels, np.array([2.0, 2.3, 2.5, 2.9])), [0, 0.3, 0, 0.1])


@pytest.mark.parametrize("normal", [(0.0, 0.0, -1.0), (0.0, -0.8, -0.6), (0.6, 0.0, -0.8), (-0.48, 0.6, -0.64)])
def test_normals_of_planes_are_exact(normal: tuple[float, float, float]) -> None:
    wanted = np.array(normal)
    depth = plane_depth(wanted, 3.0)
    assert depth.min() > 0
    implied, smooth = normals_of_depth(depth, INTRINSICS)
    assert smooth[1:-1, 1:-1].all() and not smooth[0].any()
    np.testing.assert_allclose(implied[smooth], np.broadcast_to(wanted, implied[smooth].shape), atol=1e-9)
    told = np.broadcast_to(wanted, implied.shape)
    labels = np.zeros(depth.shape, bool)
    angles = normal_angles(told, depth, INTRINSICS, labels)
    assert np.nanmax(angles) < 1e-3
    np.testing.assert_allclose(angles[1:-1, 1:-1] + normal_angles(-told, depth, INTRINSICS, labels)[1:-1, 1:-1], 180)
    labels[:, 16:] = True
    known = np.isfinite(normal_angles(told, depth, INTRINSICS, labels))
    assert not known[:, 15:17].any() and known[1:-1, 1:15].all()


def test_edges_have_no_normals() -> None:
    depth = np.full((SIDE, SIDE), 2.0)
    depth[:, 16:] = 2.4
    depth[4, 4] = 0
    _, smooth = normals_of_depth(depth, INTRINSICS)
    assert not smooth[8, 15:17].any() and smooth[8, 13] and not smooth[3:6, 4].any()


def test_inverse() -> None:
    camera = np.tile(np.eye(4), (3, 1, 1))
    camera[:, :3, 3] = [1.0, 2.0, 3.0]
    assert inverse_error(np.linalg.inv(camera), camera) < 1e-12
    assert inverse_error(camera, camera) == 6.0
