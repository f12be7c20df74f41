"""Frames that the engine hands over while it writes: all of them, in order, once, as they stand in the result."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ar_model import Engine, Sampling, SequenceLayout, UniMoTransformer
from ar_model.config import DepthConfig
from ar_model.sequence import MOTION, VISUAL

Maker = Callable[..., UniMoTransformer]
FRAME = {"motion_layout": "frame", "depth": DepthConfig(dim=24, layers=1, heads=2, ffn_hidden=32, code_dim=5)}


@pytest.mark.parametrize(("changes", "speculate"), [({}, 0), ({}, 5), (FRAME, 0)], ids=["token", "ahead", "frame"])
def test_every_frame_arrives_in_order_before_the_rest_is_written(
    small_model: Maker, changes: dict, speculate: int
) -> None:
    engine, told, seen = Engine(small_model(**changes), speculate=speculate), [], []
    first = torch.randint(50, (2, 2, 2), generator=torch.Generator().manual_seed(0))
    visual, motion = engine.generate_video_motion(
        first, 3, 17, Sampling(), [1, 2, 3, 4], 2,
        lambda done, total: told.append(done), stream=lambda piece, ids: seen.append((piece, ids, len(told))),
    )  # fmt: skip
    order = [(piece.modality, piece.index) for piece, _, _ in seen]
    assert order == [
        (VISUAL, 1), *((MOTION, frame) for frame in range(9)),
        (VISUAL, 2), *((MOTION, frame) for frame in range(9, 17)),
    ]  # fmt: skip
    for piece, ids, _ in seen:
        whole = visual[:, piece.index].flatten(1) if piece.modality == VISUAL else motion[:, piece.index]
        assert torch.equal(ids, whole)
    # a frame is there while others are still being written
    assert [when for *_, when in seen] == sorted(when for *_, when in seen) and seen[0][2] < seen[5][2] < seen[-1][2]


def test_pieces_are_the_frames_of_a_sequence() -> None:
    layout = SequenceLayout("i2vm", 2, 1, 2, 9)
    found = [(piece.modality, piece.index, piece.start, piece.stop) for piece in layout.pieces]
    frames = [(MOTION, frame, 6 + 36 * frame, 42 + 36 * frame) for frame in range(9)]
    assert found == [(VISUAL, 0, 1, 3), (VISUAL, 1, 4, 6), *frames]
    video = SequenceLayout("video", 3, 1, 2, begin_of_video=True)
    assert [(piece.index, piece.start, piece.stop) for piece in video.pieces] == [(0, 1, 3), (1, 3, 5), (2, 5, 7)]


def test_a_frame_that_was_given_in_part_arrives_whole(small_model: Maker) -> None:
    layout, seen = SequenceLayout("v2m", 2, 2, 2, 9), []
    tokens = layout.build(torch.zeros(1, 2, 2, 2, dtype=torch.int64), torch.zeros(1, 9, 36, dtype=torch.int64))
    engine, given = Engine(small_model()), layout.condition_length + 46
    done = engine.complete(tokens, layout, given, Sampling(), [0], stream=lambda piece, ids: seen.append((piece, ids)))
    assert [piece.index for piece, _ in seen] == list(range(1, 9))
    assert torch.equal(seen[0][1], done[:, given - 10 : given + 26])


@torch.inference_mode()
def test_a_model_with_a_begin_row_begins_its_videos_with_it(small_model: Maker) -> None:
    model = small_model(visual_embedding_rows=54)
    first = torch.randint(50, (1, 2, 2), generator=torch.Generator().manual_seed(0))
    layout = SequenceLayout("video", 3, 2, 2, begin_of_video=True)
    visual = torch.zeros(1, 3, 2, 2, dtype=torch.int64)
    visual[:, 0] = first
    whole = Engine(model).complete(layout.build(visual, begin_id=50), layout, 5, Sampling(), [3])
    assert torch.equal(Engine(model).generate_video(first, 3, Sampling(), [3]), layout.invert(whole)[0])
