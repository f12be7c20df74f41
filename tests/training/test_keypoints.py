"""Joints on the grid of tokens, and the head that finds them."""

from __future__ import annotations

import numpy as np
import torch

from unimo.motion.features import NUM_FEATURES
from unimo.training.keypoints import KeypointHead, keypoint_targets, spread_over_cells


def upright(transl: tuple[float, float, float]) -> np.ndarray:
    """(1,9,145) features of a person in rest pose who stands still."""
    features = np.zeros((1, 9, NUM_FEATURES), np.float32)
    features[..., :126] = np.tile([1, 0, 0, 0, 1, 0], 21)
    features[..., 136:142] = [1, 0, 0, 0, -1, 0]  # feet down in camera axes
    features[:, 0, 142:] = transl
    return features


def test_joints_stand_where_the_camera_sees_them() -> None:
    points = keypoint_targets(torch.from_numpy(upright((0.0, 0.0, 3.0))), 1.2, 2)
    assert points.shape == (1, 2, 2, 22, 3)
    head, foot = points[0, 0, 0, 15], points[0, 0, 0, 10]
    assert head[1] < points[0, 0, 0, 0, 1] < foot[1]  # y points down
    moved = keypoint_targets(torch.from_numpy(upright((0.5, 0.0, 3.0))), 1.2, 2)
    assert torch.allclose(moved[..., 0] - points[..., 0], torch.full((1, 2, 2, 22), 0.2), atol=0.03)
    assert torch.equal(points[:, 0, 0], points[:, 0, 1])


def test_a_point_is_spread_over_its_four_cells() -> None:
    weights = spread_over_cells(torch.tensor([[0.5, 0.5], [0.0625, 0.9375], [-3.0, 9.0]]), 8, 8)
    assert torch.allclose(weights.sum(-1), torch.ones(3))
    assert sorted(weights[0].nonzero().flatten().tolist()) == [27, 28, 35, 36]
    assert weights[1, 56] == 1 and weights[2, 56] == 1  # outside points go to the nearest cell


def test_the_head_learns_to_find_joints() -> None:
    torch.manual_seed(0)
    head, targets = KeypointHead(16), torch.rand(4, 2, 2, 22, 3)
    hidden = torch.randn(4, 2 * 16, 16, requires_grad=True)
    optimizer = torch.optim.Adam([hidden, *head.parameters()], lr=0.1)
    first = head.loss(hidden, targets, 4, 4)[1]
    for _ in range(60):
        optimizer.zero_grad()
        head.loss(hidden, targets, 4, 4)[0].backward()
        optimizer.step()
    last = head.loss(hidden, targets, 4, 4)[1]
    assert first["keypoint_loss"] > 2.5 and last["keypoint_loss"] < first["keypoint_loss"] - 0.5
    assert last["keypoint_depth_m"] < 0.5 * first["keypoint_depth_m"]


def test_depth_is_counted_from_the_pelvis_and_away_from_the_camera() -> None:
    features = torch.from_numpy(upright((0.0, 0.0, 3.0)))
    rest = keypoint_targets(features, 1.2, 2)[0, 0, 0, :, 2]
    features[..., 136:142] = torch.tensor([-1.0, 0, 0, 0, -1, 0])  # turned round: back to the camera
    turned = keypoint_targets(features, 1.2, 2)[0, 0, 0, :, 2]
    toes = 10
    assert rest[0] == 0 and rest[toes] < -0.05 and turned[toes] > 0.05
