"""VBench's arithmetic: known numbers, its roundings, and what must not matter."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from unimo.metrics.flicker import temporal_flickering
from unimo.metrics.vbench import (
    appearance_overall,
    consistency,
    is_dynamic,
    largest_motion_px,
    motion_overall,
    motion_smoothness,
    motion_threshold_px,
    pairs_needed,
    sampled_frames,
)


def test_consistency_of_known_features() -> None:
    along, across = [1.0, 0.0], [0.0, 1.0]
    assert float(consistency(torch.tensor([along, along, along]))) == pytest.approx(1)
    # to the previous one and to the first: (0, 0), then (1, 0)
    assert float(consistency(torch.tensor([along, across, across]))) == pytest.approx(0.25)
    # opposite features count as 0, not as -1
    opposite = [-1.0, 0.0]
    assert float(consistency(torch.tensor([along, opposite, along]))) == pytest.approx(0.25)
    assert consistency(torch.tensor([along])).isnan()


def test_consistency_knows_no_lengths_but_the_order() -> None:
    features = torch.randn(4, 6, 8, generator=torch.Generator().manual_seed(0)) + 1
    values = consistency(features)
    lengths = torch.rand(4, 6, 1, generator=torch.Generator().manual_seed(1)) + 0.1
    torch.testing.assert_close(consistency(features * lengths), values)
    torch.testing.assert_close(consistency(features[2]), values[2])
    assert (consistency(features.flip(1)) - values).abs().min() > 1e-4
    assert (consistency(features + 5) > values).all()


def test_motion_smoothness_looks_at_the_odd_frames() -> None:
    frames = np.random.default_rng(0).integers(0, 200, (5, 4, 6, 3), np.uint8)
    between = frames.copy()
    assert motion_smoothness(frames, between) == 1
    between[::2] = 0
    assert motion_smoothness(frames, between) == 1
    between[1] = frames[1] + 51
    assert motion_smoothness(frames, between) == pytest.approx(1 - 0.2 / 2)
    assert motion_smoothness(255 - frames, 255 - between) == pytest.approx(0.9)
    # of six frames the last has nothing behind it
    assert motion_smoothness(np.concatenate([frames, frames[:1]]), between) == pytest.approx(0.9)
    assert math.isnan(motion_smoothness(frames[:1], between[:1]))
    for wrong in (between[:4], between[:, :2]):
        with pytest.raises(ValueError, match="need interpolated frames"):
            motion_smoothness(frames, wrong)


def test_temporal_flickering_forgives_an_offset_and_not_a_contrast() -> None:
    video = np.random.default_rng(0).integers(20, 180, (5, 8, 9, 3), np.uint8)
    value = temporal_flickering(video)
    assert 0.7 < value < 0.9
    for same in (video + 20, 255 - video, video[::-1], video[:, ::-1], video[..., ::-1]):
        assert temporal_flickering(same) == pytest.approx(value)
    assert temporal_flickering(video // 2) > value + 0.05
    assert temporal_flickering(video[[0, 2, 4, 1, 3]]) != value


def test_the_longest_twentieth_of_the_flow_counts() -> None:
    flow = torch.zeros(2, 10, 10)
    flow[:, 0, 0] = torch.tensor([3.0, 4.0])
    flow[0, 5, :4] = torch.tensor([10.0, -10, 10, 5])
    assert float(largest_motion_px(flow)) == pytest.approx((10 + 10 + 10 + 5 + 5) / 5)
    assert float(largest_motion_px(flow, 0.039)) == pytest.approx(10)  # 3.9 pixels are 3
    assert largest_motion_px(flow[:, :1]).isnan()
    # neither place nor direction matters
    turned = torch.stack([flow, flow.flip(-1), -flow.flip(0)])
    assert largest_motion_px(turned).tolist() == pytest.approx([8, 8, 8])


def test_thresholds_and_roundings() -> None:
    assert motion_threshold_px(512, 512) == 12 and motion_threshold_px(720, 256) == 6
    # Python rounds half to even: 2.5 to 2, 3.5 to 4, 5.5 to 6
    assert [pairs_needed(count) for count in (2, 10, 14, 17, 22)] == [0, 2, 4, 4, 6]
    # 65 frames: 22 sampled at 24 and 25 frames/s, 17 at 30, as the paper's videos; all below 12
    assert [len(sampled_frames(65, fps)) for fps in (24, 25, 30, 7, 12)] == [22, 22, 17, 65, 33]
    assert sampled_frames(9, 24).tolist() == [0, 3, 6]
    assert sampled_frames(9, 20).tolist() == [0, 2, 4, 6, 8]  # 2.5 to 2


def test_a_video_is_dynamic_from_enough_large_motions_on() -> None:
    still, moving = 12.0, 12.01  # strictly more than the threshold
    assert not is_dynamic([still] * 21, 512, 512)
    assert is_dynamic([still] * 15 + [moving] * 6, 512, 512)
    assert not is_dynamic([still] * 16 + [moving] * 5, 512, 512)
    assert is_dynamic([moving] * 6 + [still] * 15, 512, 600) and not is_dynamic([moving] * 21, 600, 600)
    # VBench's own corner: of two sampled frames none need move
    assert is_dynamic([0.0], 512, 512) and not is_dynamic([], 512, 512)
    assert is_dynamic(torch.tensor([13.0] * 4), 512, 512)


def test_overall_is_a_plain_mean() -> None:
    assert appearance_overall(0.9535, 0.9512, 0.5166) == pytest.approx(0.8071)
    assert motion_overall(0.9951, 0.9928, 0.45) == pytest.approx(0.8126, abs=5e-5)
    assert motion_overall(0, 0, 0.3) == pytest.approx(0.1)
