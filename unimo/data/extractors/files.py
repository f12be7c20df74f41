"""What `unimo data extract` writes of a video's people: motion and confidence of each, and an overlay of all.

DIR/motion.npz and DIR/confidence.npy are of the largest person, DIR/person_01/… of the next. Their rows are frames of
the video without a gap, from the person's first to the last: missing ones are interpolated and have confidence 0.
`extras` of the motion: extractor, first_frame (of the video), mean_confidence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from unimo.data.extractors.protocol import PersonTrack
from unimo.files import atomic_write
from unimo.motion.motion import Motion
from unimo.motion.npz import save_motion
from unimo.render.overlay import overlay

COLORS = ((0.55, 0.70, 0.92), (0.93, 0.62, 0.45), (0.60, 0.85, 0.55), (0.85, 0.60, 0.85))


def person_folder(folder: Path, number: int) -> Path:
    """Where the files of a person go; number 0 is the largest."""
    return folder if number == 0 else folder / f"person_{number:02d}"


def without_gaps(track: PersonTrack) -> tuple[Motion, np.ndarray]:
    """The motion with a row for every frame from the first to the last, and its confidence (N,), 0 in gaps."""
    frames = np.arange(track.frames[0], track.frames[-1] + 1)
    positions = np.interp(frames, track.frames, np.arange(len(track.frames)))
    confidence = np.zeros(len(frames), np.float32)
    confidence[track.frames - frames[0]] = track.confidence
    whole = track.motion if len(frames) == len(track.frames) else track.motion.at(positions, track.motion.fps)
    return whole, confidence


def save_tracks(folder: Path, tracks: Sequence[PersonTrack], extractor: str) -> list[Path]:
    """Writes motion and confidence of everybody.

    Returns:
        The files.
    """
    files = []
    for number, track in enumerate(tracks):
        place = person_folder(folder, number)
        motion, confidence = without_gaps(track)
        notes = {
            "extractor": extractor,
            "first_frame": int(track.frames[0]),
            "mean_confidence": round(float(confidence.mean()), 4),
        }
        save_motion(place / "motion.npz", replace(motion, extras={**(motion.extras or {}), **notes}))
        with atomic_write(place / "confidence.npy") as path:
            np.save(path, confidence)
        files += [place / "motion.npz", place / "confidence.npy"]
    return files


def draw_tracks(frames: Iterable[np.ndarray], tracks: Sequence[PersonTrack]) -> Iterator[np.ndarray]:
    """Yields the frames (H, W, 3) uint8 with everybody's body over them; frames without people as they are."""
    for number, track in enumerate(tracks):
        frames = _drawn(frames, track, COLORS[number % len(COLORS)])
    yield from frames


def _drawn(frames: Iterable[np.ndarray], track: PersonTrack, color: tuple[float, float, float]) -> Iterator[np.ndarray]:
    """One person drawn over the frames of the track; the overlay asks for a frame only when it draws it."""
    mine = set(track.frames.tolist())
    waiting: list[np.ndarray] = []

    def asked_for() -> Iterator[np.ndarray]:
        while True:
            yield waiting.pop()

    drawn = overlay(asked_for(), track.motion, color=color)
    for index, frame in enumerate(frames):
        if index in mine:
            waiting.append(frame)
            yield next(drawn)
        else:
            yield frame
