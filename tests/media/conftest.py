"""Tiny media files for these tests, made in a temporary folder."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest


def quadrants(height: int = 48, width: int = 64) -> np.ndarray:
    """A picture (H, W, 3) with four differently coloured corners: red, green / blue, white."""
    picture = np.full((height, width, 3), 255, np.uint8)
    picture[: height // 2, : width // 2] = (255, 0, 0)
    picture[: height // 2, width // 2 :] = (0, 255, 0)
    picture[height // 2 :, : width // 2] = (0, 0, 255)
    return picture


def numbered(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A grey picture whose brightness is 4 · index (index up to 60)."""
    return np.full((height, width, 3), 4 * index, np.uint8)


def number(frame: np.ndarray) -> int:
    """The index that `numbered` was given."""
    return round(float(frame.mean()) / 4)


def encode(
    path: Path,
    frames: Sequence[np.ndarray],
    times: Sequence[Fraction] | None = None,
    rate: Fraction = Fraction(30),
    codec: str = "libx264",
    sound: str | None = None,
    picture: bool = True,
    options: dict[str, str] | None = None,
) -> Path:
    """Writes frames at any times (default: evenly) and, if asked, a second of sound; not by this project's writer."""
    times = times or [i / rate for i in range(len(frames))]
    with av.open(str(path), "w", options=options or {}) as container:
        video = container.add_stream(codec, rate=rate, options={"crf": "10"}) if picture else None
        if video is not None:
            shape = frames[0].shape if len(frames) else (48, 64)
            video.height, video.width = shape[:2]
            video.pix_fmt = "yuv444p" if shape[0] % 2 or shape[1] % 2 else "yuv420p"
            video.codec_context.time_base = Fraction(1, 90000)
        audio = container.add_stream(sound, rate=48000) if sound else None
        container.start_encoding()
        if video is not None:
            for frame, time in zip(frames, times, strict=True):
                item = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format=video.pix_fmt)
                item.pts, item.time_base = round(time * 90000), Fraction(1, 90000)
                container.mux(video.encode(item))
            container.mux(video.encode())
        if audio is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.float32), format="fltp", layout="mono")
            silence.sample_rate, silence.pts, silence.time_base = 48000, 0, Fraction(1, 48000)
            container.mux(audio.encode(silence))
            container.mux(audio.encode())
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """20 numbered frames at 30 per second, H.264."""
    return encode(tmp_path / "clip.mp4", [numbered(i) for i in range(20)])
