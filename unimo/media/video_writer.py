"""Frames → video files.

In: uint8 RGB frames (H, W, 3), one at a time, and a frame rate. Out: an H.264 file (mp4, mov or mkv) that appears
whole or not at all, with metadata tags such as comment="AI-generated". No sound.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream

from unimo.errors import InputError
from unimo.files import atomic_write
from unimo.media.checks import MIN_SIDE

SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv")
METADATA_KEYS = ("title", "artist", "album", "comment", "description", "copyright", "date", "genre")
"""Tags that every player shows; mp4 drops others without a word."""


def write_video(
    path: str | Path,
    frames: Iterable[np.ndarray],
    fps: float | Fraction,
    metadata: Mapping[str, str] | None = None,
    crf: float = 18,
    full_chroma: bool = False,
    reproducible: bool = False,
) -> int:
    """Writes a video, frame by frame.

    Args:
        path: ends in .mp4, .mov, .m4v or .mkv.
        frames: uint8 (H, W, 3) RGB each, all of one size (an array (T, H, W, 3) will do).
        fps: frames per second; 29.97 and its kin are best given as a fraction, 30000/1001.
        metadata: tags; keys from `METADATA_KEYS`.
        crf: 0 to 51; 18 looks the same as the source to most eyes, 1 to 4 is near-lossless, for data.
        full_chroma: keep colour at full resolution (yuv444p) instead of half (yuv420p): for data that comes back to
            this package; web browsers and many players refuse it. yuv420p needs even sizes: an odd last row or
            column is doubled, so that the file is one pixel larger.
        reproducible: the same frames give the same bytes, in any process and on any number of cores, at some cost in
            time and size: for data that is known by its hash.

    Returns:
        The number of frames written.

    Raises:
        InputError: no frames, frames of a wrong type, of differing or too small sizes; bad suffix, fps, crf or tag.
    """
    path = Path(path)
    rate = _check_arguments(path, fps, metadata, crf)
    iterator = iter(frames)
    first = next(iterator, None)
    if first is None:
        raise InputError("there are no frames to write", str(path), "give at least one frame")
    _check_frame(first, first.shape, path)
    pixel_format = "yuv444p" if full_chroma else "yuv420p"
    with atomic_write(path) as temporary, av.open(str(temporary), "w") as container:
        container.metadata.update(metadata or {})
        stream = _add_stream(container, first, rate, pixel_format, crf, reproducible)
        count = 0
        for frame in chain([first], iterator):
            _check_frame(frame, first.shape, path)
            container.mux(stream.encode(_to_frame(frame, count, rate, pixel_format)))
            count += 1
        container.mux(stream.encode())
    return count


def _check_arguments(path: Path, fps: float | Fraction, metadata: Mapping[str, str] | None, crf: float) -> Fraction:
    """Returns the frame rate as a fraction."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"cannot write a video as '{path.suffix}'", str(path), f"use one of {', '.join(SUFFIXES)}")
    if not 0 < fps <= 1000:
        raise InputError(f"a frame rate must lie above 0 and up to 1000 per second, not {fps}", str(path))
    if not 0 <= crf <= 51:
        raise InputError(f"crf must lie between 0 and 51, not {crf}", str(path))
    unknown = sorted(set(metadata or {}) - set(METADATA_KEYS))
    if unknown:
        raise InputError(f"unknown video tag '{unknown[0]}'", str(path), f"use one of {', '.join(METADATA_KEYS)}")
    return Fraction(fps).limit_denominator(1001)


def _check_frame(frame: np.ndarray, shape: tuple[int, ...], path: Path) -> None:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or min(frame.shape[:2]) < MIN_SIDE:
        wanted = f"uint8 (H, W, 3) with at least {MIN_SIDE}×{MIN_SIDE} pixels"
        raise InputError(f"a video frame must be {wanted}, not {frame.dtype} {frame.shape}", str(path))
    if frame.shape != shape:
        raise InputError(f"video frames differ in size: {shape} and then {frame.shape}", str(path))


def _add_stream(
    container: OutputContainer, first: np.ndarray, rate: Fraction, pixel_format: str, crf: float, reproducible: bool
) -> VideoStream:
    height, width = first.shape[:2]
    # x264's macroblock tree reads memory that it never wrote: a picture of 32 or 64 pixels then differs now and then
    tree = {"mbtree": "0"} if reproducible else {}
    stream = container.add_stream("libx264", rate=rate, options={"crf": str(crf), "preset": "medium", **tree})
    even = 2 if pixel_format == "yuv420p" else 1
    stream.width, stream.height = width + width % even, height + height % even
    stream.pix_fmt = pixel_format
    context = stream.codec_context
    context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
    context.color_primaries = context.color_trc = 1  # BT.709, which players assume only for large pictures
    # x264's result depends on its number of threads: one for small data clips, so that they are the same on any machine
    context.thread_count = 1 if reproducible or width * height <= 512 * 512 else 0
    return stream


def _to_frame(frame: np.ndarray, index: int, rate: Fraction, pixel_format: str) -> av.VideoFrame:
    height, width = frame.shape[:2]
    if pixel_format == "yuv420p" and (height % 2 or width % 2):
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
    picture = picture.reformat(format=pixel_format, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
    picture.pts, picture.time_base = index, 1 / rate
    return picture
