"""Sequence layouts: exact inverse, order, positions and the errors a caller can meet."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ar_model.sequence import I2VM, MOTION, SPECIAL, STG, V2M, VISUAL, SequenceLayout


@st.composite
def layouts(draw: st.DrawFn) -> SequenceLayout:
    task = draw(st.sampled_from(["v2m", "i2vm", "video"]))
    n, height, width = draw(st.integers(1, 4)), draw(st.integers(1, 5)), draw(st.integers(1, 5))
    begin = task == "video" and draw(st.booleans())
    return SequenceLayout(task, 1 + n, height, width, 0 if task == "video" else 1 + 8 * n, begin)


def random_ids(layout: SequenceLayout, batch: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    grid = (batch, layout.latent_frames, layout.height, layout.width)
    return (
        torch.randint(0, 64000, grid, generator=generator),
        torch.randint(0, 512, (batch, layout.frames, 36), generator=generator),
    )


@settings(max_examples=60, deadline=None)
@given(layout=layouts(), batch=st.integers(1, 3), seed=st.integers(0, 1000))
def test_invert_is_the_exact_inverse_of_build(layout: SequenceLayout, batch: int, seed: int) -> None:
    visual, motion = random_ids(layout, batch, seed)
    video = layout.task == "video"
    tokens = layout.build(visual, None if video else motion, 64000 if layout.begin_of_video else None)
    assert tokens.shape == (batch, len(layout))
    visual_back, motion_back = layout.invert(tokens)
    assert torch.equal(visual_back, visual)
    assert torch.equal(motion_back, motion)


@settings(max_examples=60, deadline=None)
@given(layout=layouts())
def test_every_position_has_one_place(layout: SequenceLayout) -> None:
    visual, motion = layout.visual_positions, layout.motion_positions
    assert len(visual) == layout.latent_frames * layout.cells and len(motion) == 36 * layout.frames
    assert len(set(visual.tolist()) | set(motion.tolist())) == len(visual) + len(motion)
    assert int(layout.has_position.sum()) == len(visual) + len(motion)
    specials = 0 if layout.task == "video" else 2
    assert len(layout) == len(visual) + len(motion) + specials + layout.begin_of_video
    assert int((layout.modality == SPECIAL).sum()) == specials
    targets = torch.cat([layout.targets(VISUAL), layout.targets(MOTION)]).sort().values
    assert torch.equal(targets, torch.arange(layout.condition_length, len(layout)))
    # one place in space and time: no two tokens of a modality share coordinates
    for positions in (visual, motion):
        assert len(torch.unique(layout.rope_coordinates[positions], dim=0)) == len(positions)


def test_lengths_of_the_paper_and_of_mini() -> None:
    assert len(SequenceLayout("v2m", 9, 32, 32, 65)) == 11558
    assert len(SequenceLayout("i2vm", 9, 32, 32, 65)) == 11558
    assert len(SequenceLayout("v2m", 3, 8, 8, 17)) == 806


def test_v2m_order() -> None:
    layout = SequenceLayout("v2m", 2, 1, 2, 9)
    visual, motion = torch.arange(4).view(1, 2, 1, 2) + 100, torch.arange(9 * 36).view(1, 9, 36)
    tokens = layout.build(visual, motion)[0].tolist()
    assert tokens == [V2M, 100, 101, 102, 103, STG, *range(9 * 36)]
    assert layout.condition_length == layout.prefix_length == 6


def test_i2vm_order_gives_the_first_group_nine_frames() -> None:
    layout = SequenceLayout("i2vm", 3, 1, 2, 17)
    visual, motion = torch.arange(6).view(1, 3, 1, 2) + 1000, torch.arange(17 * 36).view(1, 17, 36)
    tokens = layout.build(visual, motion)[0].tolist()
    first, second = list(range(9 * 36)), list(range(9 * 36, 17 * 36))
    assert tokens == [I2VM, 1000, 1001, STG, 1002, 1003, *first, 1004, 1005, *second]
    assert layout.condition_length == layout.prefix_length == 4


def test_video_is_causal_and_scores_from_the_second_latent_frame() -> None:
    layout = SequenceLayout("video", 3, 4, 5)
    assert layout.prefix_length == 0
    assert torch.equal(layout.targets(VISUAL), torch.arange(20, 60))


def test_shared_coordinates_align_motion_with_pixels() -> None:
    layout = SequenceLayout("v2m", 3, 8, 4, 17)
    motion = layout.shared_coordinates[layout.motion_positions].view(17, 6, 6, 3)
    visual = layout.shared_coordinates[layout.visual_positions].view(3, 8, 4, 3)
    assert torch.equal(motion[::8, 0, 0, 0], visual[:, 0, 0, 0])
    assert motion[5, 0, 0, 0] == 5 / 8
    # cells of both grids cover the same area: equal centres, and the first cell's left edge is the grid's left edge
    torch.testing.assert_close(motion[0].mean((0, 1)), visual[0].mean((0, 1)))
    assert motion[0, 0, 0, 1] == pytest.approx(8 / 12 - 0.5) and motion[0, 0, 0, 2] == pytest.approx(4 / 12 - 0.5)


def test_rope_coordinates_are_raw_integers_per_modality() -> None:
    layout = SequenceLayout("i2vm", 2, 2, 3, 9)
    motion = layout.rope_coordinates[layout.motion_positions].view(9, 6, 6, 3)
    assert motion[7, 2, 4].tolist() == [7, 2, 4]
    visual = layout.rope_coordinates[layout.visual_positions].view(2, 2, 3, 3)
    assert visual[1, 1, 2].tolist() == [1, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("t2v", 2, 1, 1, 9), "task must be one of"),
        (("v2m", 2, 4, 4, 10), "go with 9 motion frames"),
        (("v2m", 1, 4, 4, 1), "at least 2 latent frames"),
        (("video", 3, 4, 4, 17), "go with 0 motion frames"),
        (("v2m", 2, 4, 4, 9, True), "begin_of_video belongs to task 'video'"),
    ],
)
def test_impossible_layouts_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SequenceLayout(*arguments)


def test_wrong_inputs_are_refused() -> None:
    layout = SequenceLayout("v2m", 2, 2, 2, 9)
    visual, motion = random_ids(layout, 2)
    with pytest.raises(ValueError, match=r"visual_ids must be \(B, 2, 2, 2\)"):
        layout.build(visual[:, :1], motion)
    with pytest.raises(ValueError, match="needs motion ids"):
        layout.build(visual)
    with pytest.raises(ValueError, match="2 visual clips but 1 motion clips"):
        layout.build(visual, motion[:1])
    with pytest.raises(ValueError, match="must be integers"):
        layout.build(visual.float(), motion)
    with pytest.raises(ValueError, match="wrong special ids"):
        layout.invert(torch.zeros(1, len(layout), dtype=torch.int64))
    with pytest.raises(ValueError, match="tokens must be"):
        layout.invert(layout.build(visual, motion)[:, 1:])
