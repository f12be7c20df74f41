"""Windows: cover every clip, stream with bounded memory, and blend back to the same motion."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from unimo.errors import InputError
from unimo.motion.motion import Motion
from unimo.motion.windows import MotionBlender, blend, pad_motion, stream_windows, window_spans

SETTINGS = [(17, 4), (33, 8), (17, 0), (17, 16), (1, 0)]


@pytest.mark.parametrize(("window", "overlap"), SETTINGS)
def test_spans_cover_every_length_and_streaming_gives_the_same(window, overlap):
    for frames in [*range(1, 200), *range(200, 2001, 37), 2000]:
        spans = list(window_spans(frames, window, overlap))
        assert spans[0][0] == 0 and spans[-1][1] == frames
        assert all(stop - start == min(window, frames) for start, stop in spans)
        assert all(
            later[0] > former[0] and former[1] - later[0] >= overlap
            for former, later in zip(spans[:-1], spans[1:], strict=True)
        )
        assert all(former[1] - later[0] == overlap for former, later in zip(spans[:-2], spans[1:-1], strict=True))
        streamed = list(stream_windows(range(frames), window, overlap))
        assert [(start, stop) for start, stop, _ in streamed] == spans
        for start, stop, items in streamed:
            assert items == [*range(start, stop), *[stop - 1] * (window - (stop - start))]


def test_no_window_is_wasted():
    assert list(window_spans(17, 17, 4)) == [(0, 17)]
    assert list(window_spans(30, 17, 4)) == [(0, 17), (13, 30)]
    assert list(window_spans(31, 17, 4)) == [(0, 17), (13, 30), (14, 31)]


def test_an_empty_stream_and_bad_settings():
    assert list(stream_windows([], 17, 4)) == []
    for window, overlap in [(0, 0), (4, 4), (4, -1)]:
        with pytest.raises(ValueError, match="cannot overlap"):
            list(window_spans(10, window, overlap))


def test_streaming_holds_one_window():
    class Frame:
        pass

    alive: weakref.WeakSet = weakref.WeakSet()
    most = 0

    def source():
        nonlocal most
        for _ in range(400):
            frame = Frame()
            alive.add(frame)
            gc.collect(0)
            most = max(most, len(alive))
            yield frame

    for _ in stream_windows(source(), 17, 4):
        pass
    assert most <= 2 * 17 + 2


@pytest.mark.parametrize(
    ("window", "overlap", "frames"),
    [(17, 4, frames) for frames in (1, 2, 16, 17, 18, 30, 31, 100, 333, 2000)]
    + [(17, 0, frames) for frames in (1, 17, 18, 34, 2000)]
    + [(33, 32, frames) for frames in (1, 33, 34, 200)],
)
def test_windows_of_one_motion_blend_back_to_it(make_motion, window, overlap, frames):
    motion = make_motion(frames, cam2world=np.tile(np.eye(4), (frames, 1, 1)))
    blender, parts = MotionBlender(), []
    for start, stop in window_spans(frames, window, overlap):
        padded = pad_motion(motion[start:stop], window)
        assert len(padded) == window
        part = blender.push(start, padded[: stop - start])
        assert part is None or len(part) <= window
        parts.append(part)
    parts = [part for part in [*parts, blender.finish()] if part is not None]
    assert blender.finish() is None
    rotations = np.concatenate([part.rotations() for part in parts])
    np.testing.assert_allclose(rotations, motion.rotations(), atol=1e-5)
    for name in ("betas", "transl", "cam2world"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_allclose(joined, getattr(motion, name), atol=1e-5)


def test_an_overlap_is_linear_in_the_pelvis_and_slerps_the_rotation():
    def still(turn: float, place: float) -> Motion:
        orient = np.tile([0, turn, 0], (5, 1))
        return Motion(np.zeros((5, 21, 3)), np.zeros(10), orient, np.tile([place, 0, 4], (5, 1)), 30)

    joined = blend(still(0, 0), still(1, 2), 3)
    assert len(joined) == 7
    np.testing.assert_allclose(joined.global_orient[:, 1], [0, 0, 0.25, 0.5, 0.75, 1, 1], atol=1e-6)
    np.testing.assert_allclose(joined.transl[:, 0], [0, 0, 0.5, 1, 1.5, 2, 2], atol=1e-6)
    across = blend(still(3.0, 0), still(-3.0, 0), 1)
    np.testing.assert_allclose(np.abs(across.global_orient[4, 1]), np.pi, atol=1e-5)


def test_motions_that_do_not_fit_are_refused(make_motion):
    with pytest.raises(InputError, match="fps 30.0 and 15.0"):
        blend(make_motion(4), make_motion(4, fps=15), 1)
    with pytest.raises(InputError, match="only one of the two"):
        blend(make_motion(4), make_motion(4, cam2world=np.tile(np.eye(4), (4, 1, 1))), 1)
    with pytest.raises(InputError, match="different intrinsics"):
        blend(make_motion(4, intrinsics=np.eye(3)), make_motion(4, intrinsics=2 * np.eye(3)), 1)
    with pytest.raises(ValueError, match="overlap of 5"):
        blend(make_motion(4), make_motion(4), 5)
    with pytest.raises(InputError, match="does not fit into 3"):
        pad_motion(make_motion(4), 3)
    blender = MotionBlender()
    blender.push(0, make_motion(4))
    with pytest.raises(ValueError, match="does not follow"):
        blender.push(5, make_motion(4))
