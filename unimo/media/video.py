"""Video files → frames, streaming; with the names of timeline.py and video_writer.py, all of video at one place.

In: a video file of any container and codec that FFmpeg (inside PyAV) reads. Out: uint8 RGB frames (H, W, 3),
upright: the rotation and mirror tags that phones write are applied; with each frame its own time in seconds. Sound
is ignored. A damaged or cut file gives the frames that can be read, with a warning in the log; none at all is an
`InputError`. Non-square pixels are not stretched and HDR is not tone-mapped.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError, InvalidDataError
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from unimo.errors import InputError
from unimo.media.checks import check_file, check_size
from unimo.media.timeline import SourceTimeline, resample_stream
from unimo.media.video_writer import write_video

__all__ = [
    "SourceTimeline",
    "VideoInfo",
    "check_whole",
    "iter_frames",
    "probe",
    "read_video",
    "resample_stream",
    "write_video",
]

logger = logging.getLogger(__name__)

_CUT = "the file is damaged or was cut short: copy or download it again, or record it anew"


@dataclass(frozen=True)
class VideoInfo:
    """What a video file is, without decoding more than one frame.

    Attributes:
        frames: number of frames, as the file states it, else counted from its packets.
        fps: mean frames per second.
        width, height: pixels of the upright picture, as `iter_frames` gives it.
        rotation: degrees counter-clockwise by which the stored picture is turned for viewing: 0, 90, 180 or 270.
        duration: seconds.
        codec: FFmpeg's name, as "h264" or "vp9".
    """

    frames: int
    fps: float
    width: int
    height: int
    rotation: int
    duration: float
    codec: str


def probe(path: str | Path) -> VideoInfo:
    """Looks at a video file and decodes its first frame.

    Raises:
        InputError: see `iter_frames`.
    """
    path = check_file(path, "video")
    with _open(path) as (container, stream):
        frame = next(_decode(container, stream, path))
        upright = _upright(frame, frame.width, frame.height)
        rate = _rate(stream)
        declared = _declared_duration(container, stream)
        count = stream.frames
        codec = stream.codec_context.name
        rotation = _rotation(frame)
    if not count:
        with _open(path) as (container, stream):
            count = sum(1 for packet in container.demux(stream) if packet.size)
    height, width = upright.shape[:2]
    return VideoInfo(count, rate, width, height, rotation, declared or count / rate, codec)


def iter_frames(path: str | Path) -> Iterator[tuple[float, np.ndarray]]:
    """Streams a video's frames; memory does not grow with its length.

    Args:
        path: a video file.

    Returns:
        Iterator of (time, frame): seconds as the file states them (rising; they need be neither even nor start at
        0), and uint8 (H, W, 3) RGB, upright. All frames have the size of the first.

    Raises:
        InputError: at once when the file is missing, a folder or empty; at the first frame when it is not a video
            (text, sound only), has no frame that can be decoded, or is smaller than 16×16.
    """
    return _iterate(check_file(path, "video"))


def read_video(path: str | Path, fps: float | None = None, max_frames: int | None = None) -> np.ndarray:
    """Reads a whole video into memory (3·H·W bytes a frame; use `iter_frames` for long ones).

    Args:
        path: a video file.
        fps: resample to this rate by the nearest frame in time; None keeps every frame.
        max_frames: stop after this many frames.

    Returns:
        uint8 (T, H, W, 3) RGB, upright.

    Raises:
        InputError: see `iter_frames`; bad `fps`; `max_frames` below 1.
    """
    if max_frames is not None and max_frames < 1:
        raise InputError(f"max_frames must be at least 1, not {max_frames}")
    stream = iter_frames(path)
    if fps is not None:
        stream = resample_stream(stream, fps)
    return np.stack([frame for _, frame in islice(stream, max_frames)])


@contextmanager
def _open(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Opens a file and finds its moving picture."""
    try:
        # a playlist must not reach for the network
        container = av.open(str(path), metadata_errors="ignore", options={"protocol_whitelist": "file"})
    except FFmpegError as error:
        what = "this file is not a video that can be read"
        fix = "give an mp4, mov, mkv or webm file (for a picture: `unimo generate --image`)"
        if _is_mp4(path):
            what, fix = f"{what} (its index, 'moov', is missing)", _CUT
        raise InputError(what, str(path), fix) from error
    with container:
        # FFmpeg also takes any .txt for a film of a terminal, and a song's cover for a video
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if container.format.name == "tty":
            streams = []
        if not container.streams and _is_mp4(path):
            raise InputError(
                "this file is not a video that can be read (its index, 'moov', is damaged)", str(path), _CUT
            )
        if not streams:
            what = "this file has sound but no picture" if container.streams.audio else "this file holds no video"
            raise InputError(what, str(path), "give a video file")
        streams[0].thread_type = "AUTO"
        yield container, streams[0]


def _is_mp4(path: Path) -> bool:
    with path.open("rb") as handle:
        return handle.read(8)[4:8] in (b"ftyp", b"mdat", b"moov")


def _iterate(path: Path) -> Iterator[tuple[float, np.ndarray]]:
    with _open(path) as (container, stream):
        step = 1 / _rate(stream)
        size: tuple[int, int] | None = None
        previous: float | None = None
        for frame in _decode(container, stream, path):
            size = size or (frame.width, frame.height)
            time = frame.time
            if previous is not None and (time is None or time <= previous):
                time = previous + step  # raw streams and broken files carry no usable times
            previous = 0.0 if time is None else time
            yield previous, _upright(frame, *size)


def _decode(container: InputContainer, stream: VideoStream, path: Path) -> Iterator[VideoFrame]:
    """Decodes what can be decoded; warns about the rest; no frame at all is an error."""
    count = damaged = 0
    start = end = 0.0
    try:
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except InvalidDataError:
                damaged += 1
                continue
            for frame in frames:
                if not count:
                    check_size(frame.width, frame.height, path, "video")
                    start = frame.time or 0.0
                count += 1
                end = max(end, (frame.time or 0.0) + _shown_for(frame, stream))
                yield frame
    except FFmpegError as error:
        damaged += 1
        logger.debug("%s: reading stopped: %s", path, error)
    if not count:
        raise InputError("no frame of this video can be decoded", str(path), _CUT)
    declared = _declared_duration(container, stream)
    missing = declared - (end - start) if declared else 0.0
    if damaged or missing > max(0.25, 0.05 * declared):
        message = "%s: the file is damaged or was cut short: %d frames read, %d damaged parts skipped, %.1f s missing"
        logger.warning(message, path, count, damaged, max(missing, 0.0))


def check_whole(path: str | Path, wanted: int | None = None) -> None:
    """Refuses a file that was cut short, without decoding it: its index promises more than the file holds.

    A file is cut when more than 2 % and more than two frames are missing at its end; where the container does not count
    its frames, when more than 5 % and more than a quarter of a second are. Damage inside a whole file is not looked
    for.

    Args:
        path: a video file.
        wanted: only the first frames are needed; the rest may be missing.

    Raises:
        InputError: the file is cut; see `iter_frames` for other reasons.
    """
    path = check_file(path, "video")
    count, first, last = 0, math.inf, -math.inf
    with _open(path) as (container, stream):
        declared, promised, rate = stream.frames, _declared_duration(container, stream), _rate(stream)
        try:
            for packet in container.demux(stream):
                if not packet.size:
                    continue
                count += 1
                if packet.pts is not None and packet.time_base:
                    start = float(packet.pts * packet.time_base)
                    first = min(first, start)
                    last = max(last, start + (float((packet.duration or 0) * packet.time_base) or 1 / rate))
        except FFmpegError as error:
            logger.debug("%s: reading stopped: %s", path, error)
    if not count or not promised or (wanted is not None and count >= wanted):
        return
    missing = promised - max(last - first, 0.0)
    if declared:
        # a phone's trimmed clip also holds fewer frames than it counts, but lasts as long as it says
        step = max((last - first) / count, 1 / rate)
        cut = declared - count > max(2, 0.02 * declared) and missing > max(2.5 * step, 0.02 * promised)
        kept = f"{count} of {declared} frames are"
    else:
        cut = missing > max(0.25, 0.05 * promised)
        kept = f"{max(last - first, 0.0):.1f} of {promised:.1f} seconds are"
    if cut:
        fix = (
            "copy, download or export it again; to use what is left: "
            f"ffmpeg -i {path.name} -c copy whole{path.suffix}, or --frames {count}"
        )
        raise InputError(f"the file is damaged or was cut short: {kept} there", str(path), fix)


def _rate(stream: VideoStream) -> float:
    return float(stream.average_rate or stream.guessed_rate or 25)


def _shown_for(frame: VideoFrame, stream: VideoStream) -> float:
    """Seconds for which the frame stays on the screen."""
    return float(frame.duration * frame.time_base) if frame.duration and frame.time_base else 1 / _rate(stream)


def _declared_duration(container: InputContainer, stream: VideoStream) -> float:
    """Seconds of picture that the file promises; 0 when it does not say."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    # the container's own length may be that of the sound
    return container.duration / av.time_base if container.duration and not container.streams.audio else 0.0


def _matrix(frame: VideoFrame) -> np.ndarray:
    """The frame's display matrix: (x, y) stored → (x, y) shown is [[m0, m1], [m2, m3]] transposed; y points down."""
    side_data = frame.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return np.eye(2, dtype=np.int32)
    return np.frombuffer(bytes(side_data), np.int32).reshape(3, 3)[:2, :2]


def _rotation(frame: VideoFrame) -> int:
    return round(frame.rotation / 90) * 90 % 360


def _upright(frame: VideoFrame, width: int, height: int) -> np.ndarray:
    """The frame as uint8 (H, W, 3) RGB as it is to be seen; `width` and `height` are those of the stored picture."""
    pixels = frame.to_ndarray(format="rgb24", width=width, height=height)
    (xx, xy), (yx, yy) = _matrix(frame).tolist()
    if abs(xx) + abs(yy) >= abs(xy) + abs(yx):
        flip_x, flip_y = xx < 0, yy < 0
    else:
        pixels = pixels.transpose(1, 0, 2)
        flip_x, flip_y = yx < 0, xy < 0
    return np.ascontiguousarray(pixels[:: -1 if flip_y else 1, :: -1 if flip_x else 1])
