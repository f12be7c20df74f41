"""What a bad video gets: what is wrong, where, what to do; never a traceback of a library."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from unimo.errors import InputError
from unimo.media.source import FrameSource
from unimo.media.video import check_whole, iter_frames, probe, read_video

from .conftest import encode, numbered


def refusal(path: Path) -> str:
    """The message that every way of reading gives for this file."""
    messages = set()
    for read in (probe, read_video, lambda p: list(iter_frames(p))):
        with pytest.raises(InputError) as caught:
            read(path)
        assert str(path) in str(caught.value) and "try: " in str(caught.value)
        messages.add(caught.value.what)
    assert len(messages) == 1
    return messages.pop()


def noise(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 255, (count, 48, 64, 3), dtype=np.uint8))


def test_missing_folder_empty(tmp_path: Path) -> None:
    assert "no such video file" in refusal(tmp_path / "none.mp4")
    assert "folder" in refusal(tmp_path)
    (tmp_path / "empty.mp4").touch()
    assert "empty (0 bytes)" in refusal(tmp_path / "empty.mp4")


def test_missing_file_is_told_before_the_first_frame_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such video"):
        iter_frames(tmp_path / "none.mp4")


@pytest.mark.parametrize("name", ["notes.mp4", "notes.txt"])
def test_text(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("this is no film\n" * 50)
    assert "video" in refusal(tmp_path / name)


def test_mp4_without_index(tmp_path: Path, clip: Path) -> None:
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(clip.read_bytes()[: clip.read_bytes().index(b"moov") - 4])
    assert "'moov', is missing" in refusal(cut)


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "libx264"), (".webm", "libvpx-vp9")])
def test_cut_in_the_middle_gives_the_frames_there_are(
    tmp_path: Path, suffix: str, codec: str, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"movflags": "faststart"} if suffix == ".mp4" else {}
    whole = encode(tmp_path / f"whole{suffix}", noise(40), codec=codec, options=options)
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with caplog.at_level(logging.WARNING):
        assert len(read_video(whole)) == 40
        assert not caplog.records
        assert 5 < len(read_video(cut)) < 30
    assert "was cut short" in caplog.text and str(cut) in caplog.text


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "libx264"), (".webm", "libvpx-vp9")])
def test_a_cut_clip_is_refused_as_source_unless_its_beginning_is_enough(
    tmp_path: Path, suffix: str, codec: str
) -> None:
    options = {"movflags": "faststart"} if suffix == ".mp4" else {}
    whole = encode(tmp_path / f"whole{suffix}", noise(60), codec=codec, options=options)
    assert FrameSource.of(whole).frames == 60
    for share in (0.5, 0.8):
        cut = tmp_path / f"cut{suffix}"
        cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])
        with pytest.raises(InputError, match="was cut short: .* there\n.*looked: .*cut.*\n.*try: ") as caught:
            FrameSource.of(cut)
        assert ("of 60 frames" in caught.value.what) == (suffix == ".mp4")
        assert len(list(FrameSource.of(cut, limit=5))) == 5


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {}),
        ("a.mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}),
        ("a.mkv", "libx264", {}),
        ("a.avi", "libx264", {}),
        ("a.ts", "libx264", {}),
    ],
)
def test_whole_clips_pass(tmp_path: Path, name: str, codec: str, options: dict) -> None:
    sound = "aac" if name.endswith(("mp4", "mkv")) else None  # a second of it: longer than the picture
    path = encode(tmp_path / name, noise(20), codec=codec, options=options, sound=sound)
    check_whole(path)
    uneven = [Fraction(i * i, 90) for i in range(20)]
    if name.endswith(("mp4", "mkv")):
        check_whole(encode(tmp_path / f"uneven_{name}", noise(20), uneven, codec=codec, options=options))


def test_a_trimmed_clip_passes(tmp_path: Path) -> None:
    """An edit list that shows only the first 10 of 40 frames, as phones write it."""
    data = bytearray(encode(tmp_path / "whole.mp4", noise(40)).read_bytes())
    entry = data.index(b"elst") + 12  # version and flags, count, then the segment's duration
    data[entry : entry + 4] = (int.from_bytes(data[entry : entry + 4], "big") // 4).to_bytes(4, "big")
    (tmp_path / "trimmed.mp4").write_bytes(data)
    check_whole(tmp_path / "trimmed.mp4")


def test_cut_before_the_first_frame(tmp_path: Path) -> None:
    whole = encode(tmp_path / "whole.mp4", noise(40), options={"movflags": "faststart"})
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.read_bytes().index(b"mdat") + 8])
    assert "no frame of this video can be decoded" in refusal(cut)


def test_damage_in_the_middle_is_stepped_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = encode(tmp_path / "whole.mp4", noise(40))
    data = bytearray(path.read_bytes())
    middle = data.index(b"mdat") + len(data) // 2
    data[middle : middle + 20000] = bytes(20000)
    path.write_bytes(data)
    assert 5 < len(read_video(path)) <= 40


def test_sound_only_and_no_frames(tmp_path: Path) -> None:
    assert "sound but no picture" in refusal(encode(tmp_path / "a.mp4", [], sound="aac", picture=False))
    assert "video" in refusal(encode(tmp_path / "b.mp4", []))


def test_too_small(tmp_path: Path) -> None:
    path = encode(tmp_path / "small.mp4", [numbered(1, 8, 8)] * 2)
    assert "8×8 pixels: too small, the minimum is 16×16" in refusal(path)


def test_bad_arguments(clip: Path) -> None:
    refused: tuple[dict, ...] = ({"fps": 0}, {"fps": float("nan")}, {"max_frames": 0})
    for arguments in refused:
        with pytest.raises(InputError):
            read_video(clip, **arguments)
