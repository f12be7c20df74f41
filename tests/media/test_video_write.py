"""Writing videos: what is written comes back; nothing is half-written."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from unimo.errors import InputError
from unimo.media.video import iter_frames, probe, read_video, write_video

from .conftest import number, numbered, quadrants


def moving(count: int = 9, height: int = 64, width: int = 96) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    frames = [np.stack([columns * 2 + 3 * t, rows * 3, (columns + rows) % 256], -1) % 256 for t in range(count)]
    return np.stack(frames).astype(np.uint8)


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((first.astype(float) - second) ** 2)))


def test_frames_rate_and_tag_come_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "video.mp4"
    written = write_video(path, (numbered(i) for i in range(20)), Fraction(30000, 1001), {"comment": "AI-generated"})
    assert written == 20
    assert [number(f) for f in read_video(path)] == list(range(20))
    assert probe(path).fps == pytest.approx(30000 / 1001)
    assert [t for t, _ in iter_frames(path)] == pytest.approx(np.arange(20) * 1001 / 30000, abs=1e-4)
    with av.open(str(path)) as container:
        assert container.metadata["comment"] == "AI-generated"
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"


def test_colours_come_back(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", [quadrants()] * 2, 15, crf=1)
    corners = (slice(8, None, 30), slice(8, None, 30))
    assert np.abs(read_video(tmp_path / "a.mp4")[0][corners].astype(int) - quadrants()[corners]).max() <= 4


def test_near_lossless_for_data(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", moving(), 15, crf=1, full_chroma=True)
    assert psnr(read_video(tmp_path / "a.mp4"), moving()) > 42


def test_same_frames_same_bytes(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, moving(), 15)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_odd_sizes_gain_a_row_and_a_column_or_none_with_full_chroma(tmp_path: Path) -> None:
    frames = moving(3, 45, 63)
    write_video(tmp_path / "a.mp4", frames, 15, crf=5)
    padded = read_video(tmp_path / "a.mp4")
    assert padded.shape == (3, 46, 64, 3)
    assert psnr(padded[:, :45, :63], frames) > 25
    write_video(tmp_path / "b.mp4", frames, 15, full_chroma=True)
    assert read_video(tmp_path / "b.mp4").shape == frames.shape


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    def failing():
        yield quadrants()
        raise RuntimeError("stop")

    path = tmp_path / "video.mp4"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError):
        write_video(path, failing(), 15)
    with pytest.raises(InputError, match="no frames"):
        write_video(path, [], 15)
    with pytest.raises(InputError, match="differ in size"):
        write_video(path, [quadrants(), quadrants(32, 32)], 15)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("a.avi", {}, "cannot write a video as '.avi'"),
        ("a.mp4", {"fps": 0}, "frame rate"),
        ("a.mp4", {"crf": 60}, "crf"),
        ("a.mp4", {"metadata": {"coment": "x"}}, "unknown video tag 'coment'"),
        ("a.mp4", {"frames": np.zeros((2, 32, 32, 3))}, "uint8"),
        ("a.mp4", {"frames": np.zeros((2, 8, 8, 3), np.uint8)}, "at least 16×16"),
    ],
)
def test_bad_arguments(tmp_path: Path, name: str, arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_video(tmp_path / name, **({"frames": [quadrants()], "fps": 15} | arguments))
    assert not list(tmp_path.iterdir())
