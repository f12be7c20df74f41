"""Windows over long clips, and how their videos are joined."""

from __future__ import annotations

import pytest
import torch

from visual_tokenizer.diffusion_windows import join_windows, reference_blend, reference_split, window_starts


def test_windows_cover_every_latent_frame_and_end_with_the_clip() -> None:
    for frames in range(1, 40):
        starts = window_starts(frames, 8, 2)
        assert starts == sorted(set(starts)) and starts[0] == 0
        covered = {frame for start in starts for frame in range(start, min(start + 8, frames))}
        assert covered == set(range(frames))
        if frames > 8:
            assert starts[-1] + 8 == frames
            assert all(start + 8 - following >= 2 for start, following in zip(starts, starts[1:], strict=False))
    assert window_starts(20, 8, 2) == [0, 6, 12]
    assert window_starts(21, 8, 2) == [0, 6, 12, 13]


@pytest.mark.parametrize("frames, overlap", [(0, 2), (9, 0), (9, 8)])
def test_refused_windows(frames: int, overlap: int) -> None:
    with pytest.raises(ValueError, match=f"no windows of 8 with overlap {overlap} over {frames} latent frames"):
        window_starts(frames, 8, overlap)


def test_a_constant_stays_constant_and_equal_overlaps_change_nothing() -> None:
    video = torch.randn(1, 3, 129, 2, 2, generator=torch.Generator().manual_seed(0))
    starts = [8 * start for start in window_starts(17, 8, 2)]
    torch.testing.assert_close(join_windows([video[:, :, start : start + 57] for start in starts], starts), video)
    constant = join_windows([torch.full((1, 3, 57, 2, 2), 0.3)] * len(starts), starts)
    assert torch.equal(constant, torch.full_like(video, 0.3))


def test_the_blend_runs_linearly_over_all_shared_frames() -> None:
    zero, one = torch.zeros(1, 1, 57, 1, 1), torch.ones(1, 1, 57, 1, 1)
    joined = join_windows([zero, one], [0, 48])[0, 0, :, 0, 0]
    assert joined.shape == (105,)
    assert joined[:49].eq(0).all() and joined[56:].eq(1).all()
    torch.testing.assert_close(joined[48:57], torch.linspace(0, 1, 9))


def test_refused_joins() -> None:
    video = torch.zeros(1, 1, 9, 1, 1)
    with pytest.raises(ValueError, match="a video of 9 frames at frame 10 cannot continue one of 9 frames"):
        join_windows([video, video], [0, 10])
    with pytest.raises(ValueError, match="a video of 3 frames at frame 2"):
        join_windows([video, video[:, :, :3]], [0, 2])
    with pytest.raises(ValueError, match=r"differ in length only, got \(1, 1, 9, 1, 1\) and \(1, 1, 9, 2, 1\)"):
        join_windows([video, torch.zeros(1, 1, 9, 2, 1)], [0, 8])
    with pytest.raises(ValueError, match="need as many starts"):
        join_windows([video], [1])


def test_the_reference_reflects_a_tail_and_refuses_a_short_one() -> None:
    ramp = torch.arange(11.0).view(1, 1, 11, 1, 1)
    assert [part.flatten().tolist() for part in reference_split(ramp)] == [
        [0, 1, 2, 3, 4, 5, 6, 7],
        [6, 7, 8, 9, 10, 9, 8, 7],
    ]
    with pytest.raises(ValueError, match="a tail of 4 latent frames cannot be reflected to 8"):
        reference_split(torch.zeros(1, 1, 10, 1, 1))
    parts = [torch.full((1, 1, 4, 1, 1), value) for value in (0.0, 1.0)]
    assert reference_blend(parts).flatten().tolist() == [0, 0, 0, 1, 1, 1]
