"""Resampling is by nearest frame in time, keeps the clip's length, and can be undone on results."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unimo.errors import InputError
from unimo.media.timeline import SourceTimeline, resample_stream


def stream(times: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:
    return ((float(time), np.array(index)) for index, time in enumerate(times))


@pytest.mark.parametrize(
    ("count", "rate", "fps", "wanted"),
    [
        (60, 60, 15, 15),
        (30, 30000 / 1001, 15, 15),
        (30, 30, 30, 30),
        (24, 24, 15, 15),
        (15, 15, 30, 30),
        (1, 30, 15, 1),
        (17, 30, 15, 9),
    ],
)
def test_length_in_seconds_is_kept(count: int, rate: float, fps: float, wanted: int) -> None:
    assert len(list(resample_stream(stream(np.arange(count) / rate), fps))) == wanted
    rounded = np.round(np.arange(count) / rate, 3)  # as webm stores times
    assert len(list(resample_stream(stream(rounded), fps))) == wanted


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.002, 0.3), min_size=0, max_size=40), st.floats(1, 60), st.floats(-2, 100))
def test_every_frame_is_the_nearest_in_time(steps: list[float], fps: float, start: float) -> None:
    times = start + np.concatenate([[0], np.cumsum(steps)])
    timeline = SourceTimeline(fps)
    result = list(resample_stream(stream(times), fps, timeline))
    chosen = np.array([int(frame) for _, frame in result])
    targets = np.array([time for time, _ in result])
    distance = np.abs(targets[:, None] - times)
    assert np.all(distance[np.arange(len(targets)), chosen] <= distance.min(axis=1) + 1e-9)
    assert np.allclose(targets, start + np.arange(len(targets)) / fps)
    assert np.allclose(timeline.target_times, targets) and np.allclose(timeline.source_times, times)


def test_results_return_to_the_clips_own_times() -> None:
    times = 5 + np.array([0, 0.03, 0.05, 0.21, 0.3, 0.4])
    timeline = SourceTimeline(15)
    result = list(resample_stream(stream(times), 15, timeline))
    measured = np.array([time for time, _ in result]) ** 2  # any result at the fixed rate
    restored = np.interp(timeline.target_positions, np.arange(len(result)), measured)
    assert np.allclose(restored, times**2, atol=0.02)
    assert len(restored) == len(times)


def test_one_frame_is_held_at_a_time() -> None:
    asked = []

    def source() -> Iterator[tuple[float, np.ndarray]]:
        for index in range(10):
            asked.append(index)
            yield index / 30, np.array(index)

    result = resample_stream(source(), 30)
    for index in range(8):
        assert int(next(result)[1]) == index and len(asked) <= index + 2


def test_empty_and_bad_rates() -> None:
    assert list(resample_stream(iter(()), 15)) == []
    for fps in (0, -1, float("inf"), float("nan")):
        with pytest.raises(InputError, match="positive"):
            resample_stream(iter(()), fps)
    with pytest.raises(InputError, match="timeline"):
        resample_stream(iter(()), 15, SourceTimeline(24))
