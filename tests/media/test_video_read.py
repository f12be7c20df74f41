"""Reading videos as phones, browsers and editors make them."""

from __future__ import annotations

import struct
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from unimo.media.video import iter_frames, probe, read_video

from .conftest import encode, number, numbered, quadrants

# display matrix (a, b, c, d) of the mp4 header: shown x = a·x + c·y, shown y = b·x + d·y; what that does to an array
ORIENTATIONS = {
    "none": ((1, 0, 0, 1), lambda a: a, 0),
    "phone held upright": ((0, 1, -1, 0), lambda a: np.rot90(a, -1), 270),
    "upside down": ((-1, 0, 0, -1), lambda a: np.rot90(a, 2), 180),
    "quarter turn left": ((0, -1, 1, 0), lambda a: np.rot90(a, 1), 90),
    "mirrored": ((-1, 0, 0, 1), lambda a: a[:, ::-1], None),
    "mirrored and turned": ((0, 1, 1, 0), lambda a: a.transpose(1, 0, 2), None),
}


def patch_matrix(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Writes the display matrix into the mp4's track header, as a phone does."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    assert struct.unpack_from(">9i", data, start)[8] == 1 << 30
    struct.pack_into(">9i", data, start, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_rotation_tag_is_applied(tmp_path: Path, name: str) -> None:
    matrix, turn, degrees = ORIENTATIONS[name]
    path = encode(tmp_path / "phone.mp4", [quadrants()] * 3)
    patch_matrix(path, matrix)
    wanted = turn(quadrants())
    frames, info = read_video(path), probe(path)
    assert frames.shape == (3, *wanted.shape)
    assert (info.height, info.width) == wanted.shape[:2]
    assert degrees is None or info.rotation == degrees
    corners = (slice(8, None, 30), slice(8, None, 30))
    assert np.abs(frames[0][corners].astype(int) - wanted[corners]).max() < 40


@pytest.mark.parametrize(
    ("codec", "suffix", "sound"),
    [
        ("libx264", ".mp4", None),
        ("libx264", ".mp4", "aac"),
        ("libvpx-vp9", ".webm", None),
        ("libvpx-vp9", ".webm", "libopus"),
    ],
)
def test_codecs_with_and_without_sound(tmp_path: Path, codec: str, suffix: str, sound: str | None) -> None:
    path = encode(tmp_path / f"clip{suffix}", [numbered(i) for i in range(12)], codec=codec, sound=sound)
    items = list(iter_frames(path))
    assert [number(frame) for _, frame in items] == list(range(12))
    assert np.allclose([time for time, _ in items], np.arange(12) / 30, atol=1e-3)
    info = probe(path)
    assert (info.frames, info.width, info.height, info.rotation) == (12, 64, 48, 0)
    assert info.codec == {"libx264": "h264", "libvpx-vp9": "vp9"}[codec] and info.fps == pytest.approx(30)
    assert sound or info.duration == pytest.approx(12 / 30, abs=0.02)


@pytest.mark.parametrize("rate", [Fraction(30000, 1001), Fraction(60), Fraction(24000, 1001)])
def test_rates_of_phones(tmp_path: Path, rate: Fraction) -> None:
    path = encode(tmp_path / "clip.mp4", [numbered(i) for i in range(30)], rate=rate)
    assert np.allclose([time for time, _ in iter_frames(path)], np.arange(30) / float(rate), atol=1e-4)
    assert probe(path).fps == pytest.approx(float(rate), rel=1e-3)


def test_variable_times_are_kept(tmp_path: Path) -> None:
    times = [Fraction(n, 100) for n in (0, 3, 5, 20, 21, 50)]
    path = encode(tmp_path / "screen.mp4", [numbered(i) for i in range(6)], times)
    assert [time for time, _ in iter_frames(path)] == pytest.approx([float(t) for t in times], abs=1e-3)


def test_odd_size(tmp_path: Path) -> None:
    path = encode(tmp_path / "odd.mp4", [quadrants(45, 63)] * 2)
    assert read_video(path).shape == (2, 45, 63, 3)


@pytest.mark.parametrize("count", [1, 2000])
def test_any_length_in_constant_memory(tmp_path: Path, count: int) -> None:
    path = encode(tmp_path / "long.mp4", [numbered(i % 60, 32, 32) for i in range(count)])
    tracemalloc.start()
    assert sum(1 for _ in iter_frames(path)) == count == probe(path).frames
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * 32 * 32 * 3


def test_read_video_at_another_rate_and_with_a_limit(clip: Path) -> None:
    assert [number(f) for f in read_video(clip, fps=15)] == list(range(0, 20, 2))
    assert [number(f) for f in read_video(clip, max_frames=3)] == [0, 1, 2]
    assert read_video(clip, fps=30).shape == (20, 48, 64, 3)
