"""TAPVid-3D's scores: known numbers, its median scaling, thresholds by depth, and what must not matter."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from unimo.metrics.tracks import TrackScores, tapvid3d_scores

FOCAL = torch.tensor([100.0, 100.0])
Sides = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


@pytest.fixture
def clip() -> Sides:
    """Prediction, truth (2, 9, 7, 3) metres, and both visibilities."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(2, 9, 7, 3, generator=generator, dtype=torch.float64) * 0.5
    target[..., 2] += 4
    predicted = target + 0.1 * torch.randn(target.shape, generator=generator, dtype=torch.float64)
    seen, true = (torch.rand(2, 9, 7, generator=generator) < 0.8 for _ in range(2))
    return predicted, target, seen, true


def changed(clip: Sides, change: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """All scores, with the same done to all four sides."""
    predicted, target, seen, true = (change(side) for side in clip)
    return values(tapvid3d_scores(predicted, target, seen, true, FOCAL))


def values(scores: TrackScores) -> torch.Tensor:
    return torch.cat([scores.jaccard, scores.within, scores.occlusion_accuracy[..., None]], -1)


def line(*z: float) -> torch.Tensor:
    """One point that moves along the axis: (1, T, 3)."""
    return torch.tensor([[[0.0, 0.0, depth] for depth in z]], dtype=torch.float64)


def test_known_numbers() -> None:
    """At 4 m and 100 px, a pixel is 4 cm. Five frames: hit, 3 px off, hidden (a false alarm), missed, both hidden."""
    true = torch.tensor([[1, 1, 0, 1, 0]], dtype=torch.bool)
    seen = torch.tensor([[1, 1, 1, 0, 0]], dtype=torch.bool)
    target = line(4, 4, 4, 4, 4)
    predicted = target + torch.tensor([[[0, 0, 0], [0, 0.12, 0], [0, 0, 0], [0, 0, 0], [9, 9, 9]]]) * 1.0
    # the medians are 4 and the mean of 4 and √16.0144 (an even number): the scale is 1 within 0.0003, under a mm
    scores = tapvid3d_scores(predicted, target, seen, true, FOCAL)
    assert scores.within.tolist() == pytest.approx([2 / 3, 2 / 3, 1, 1, 1])
    # hits / (3 visible + false alarms): the hidden frame always, the second frame until it is within
    assert scores.jaccard.tolist() == pytest.approx([1 / 5, 1 / 5, 2 / 4, 2 / 4, 2 / 4])
    assert float(scores.occlusion_accuracy) == pytest.approx(3 / 5)
    assert float(scores.average_jaccard) == pytest.approx((0.2 + 0.2 + 1.5) / 5)
    assert float(scores.average_within) == pytest.approx((4 / 3 + 3) / 5)


def test_thresholds_grow_with_depth_and_shrink_with_the_focal_length() -> None:
    target, all_seen = line(4, 4, 4, 8), torch.ones(1, 4, dtype=torch.bool)
    predicted = target.clone()
    predicted[0, 1, 1] = predicted[0, 3, 1] = 0.06

    def first(focal: list[float]) -> float:
        return float(tapvid3d_scores(predicted, target, all_seen, all_seen, torch.tensor(focal)).within[0])

    assert first([100, 100]) == 0.75  # 6 cm are more than a pixel at 4 m, and less at 8 m
    assert first([25, 400]) == 0.75  # only fx fy matters
    assert first([300, 300]) == 0.5
    assert first([50, 50]) == 1


def test_the_scale_is_that_of_median_distances_from_the_camera() -> None:
    one, two = (torch.ones(1, count, dtype=torch.bool) for count in (1, 2))
    aside, ahead = torch.tensor([[[3.0, 0, 4]]]), torch.tensor([[[0.0, 0, 4]]])
    # by distances 5 / 4, which leaves √10 m; by depths 1, which would leave 3 m; 16 pixels are 3.08 m
    assert float(tapvid3d_scores(ahead, aside, one, one, torch.tensor([20.8, 20.8])).within[4]) == 0
    # the median of 1 and 3 is 2, so that both stay 1 m off; a pixel is 0.2 m
    found = tapvid3d_scores(line(1, 3), line(2, 2), two, two, torch.tensor([10.0, 10.0]))
    assert found.within.tolist() == [0, 0, 0, 1, 1]


def test_a_global_scale_is_forgiven_and_an_offset_is_not(clip) -> None:
    predicted, target, seen, true = clip

    def scored(ours: torch.Tensor) -> torch.Tensor:
        return values(tapvid3d_scores(ours, target, seen, true, FOCAL))

    scores = scored(predicted)
    rates = torch.tensor([0.01, 50.0])[:, None, None, None]
    torch.testing.assert_close(scored(rates * predicted), scores)
    assert scored(predicted + 0.5)[:, :10].sum() < scores[:, :10].sum() - 1
    # a scale of its own for every track is not
    each = torch.linspace(0.8, 1.2, 9)[:, None, None]
    assert scored(each * predicted)[:, :10].sum() < scores[:, :10].sum() - 1


def test_the_scene_s_scale_and_the_order_of_points_and_frames_do_not_matter(clip) -> None:
    predicted, target, seen, true = clip
    scores = values(tapvid3d_scores(predicted, target, seen, true, FOCAL))
    assert ((scores > 0.05) & (scores < 0.95)).sum() > 10
    torch.testing.assert_close(values(tapvid3d_scores(3 * predicted, 3 * target, seen, true, FOCAL)), scores)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(changed(clip, lambda side: side[:, order].flip(2)), scores)
    torch.testing.assert_close(changed(clip, lambda side: side.transpose(1, 2)), scores)
    torch.testing.assert_close(changed(clip, lambda side: side[1]), scores[1])


def test_a_distant_outlier_does_not_move_the_scale_but_hidden_points_count_for_nothing(clip) -> None:
    predicted, target, seen, true = clip
    wild_target, wild = target.clone(), predicted.clone()
    wild_target[~true], wild[~true & ~seen] = torch.nan, torch.nan
    scores = values(tapvid3d_scores(predicted, target, seen, true, FOCAL))
    torch.testing.assert_close(values(tapvid3d_scores(wild, wild_target, seen, true, FOCAL)), scores)
    far = predicted.clone()
    place = tuple((seen & true).nonzero()[0])
    far[place] *= 100
    assert (values(tapvid3d_scores(far, target, seen, true, FOCAL)) - scores).abs().max() < 0.1


def test_visibility_matters_to_jaccard_and_oa_and_not_to_apd(clip) -> None:
    _, target, _, true = clip
    right = tapvid3d_scores(target, target, true, true, FOCAL)
    assert (values(right) == 1).all()
    everywhere = tapvid3d_scores(target, target, torch.ones_like(true), true, FOCAL)
    assert (everywhere.within == 1).all() and (everywhere.jaccard < 0.9).all()
    assert (everywhere.occlusion_accuracy < 0.9).all()


def test_nothing_visible() -> None:
    target, none, all_ = line(4, 4), torch.zeros(1, 2, dtype=torch.bool), torch.ones(1, 2, dtype=torch.bool)
    unseen = tapvid3d_scores(target, target, none, all_, FOCAL)
    assert (unseen.within == 0).all() and (unseen.jaccard == 0).all() and unseen.occlusion_accuracy == 0
    assert tapvid3d_scores(target, target, all_, none, FOCAL).within.isnan().all()
    assert (tapvid3d_scores(target, target, all_, none, FOCAL).jaccard == 0).all()


def test_shapes_that_do_not_fit_are_refused(clip) -> None:
    predicted, target, seen, true = clip
    for sides in ((predicted[:, :1], target, seen), (predicted, target, seen[:1]), (seen, true, seen)):
        with pytest.raises(ValueError, match="their visibilities"):
            tapvid3d_scores(*sides, true, FOCAL)
