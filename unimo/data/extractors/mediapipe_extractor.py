"""`MediapipeExtractor`: MediaPipe's landmarks of everybody in a video, and a body fitted to each of them.

In: a video file, or frames. Out: `PersonTrack`s, camera axes. It runs offline on a CPU; see docs/extractors.md for what
it is worth.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unimo.data.extractors.body_fit import FitSettings, fit_body
from unimo.data.extractors.mediapipe_process import LandmarkTrack, find_python, read_landmarks
from unimo.data.extractors.protocol import PersonTrack
from unimo.data.extractors.sides import mend_sides
from unimo.geometry.cameras import default_focal, intrinsics_matrix
from unimo.media.video import iter_frames, probe

SHORTEST_S, SHORTEST_FRAMES = 0.2, 5
"""Seconds and frames; who is seen for less is taken for a mistake of the detector."""


@dataclass(frozen=True)
class MediapipeExtractor:
    """Labels video with MediaPipe and the body fit.

    Args:
        focal: focal length of the video in its pixels; None takes the diagonal of the picture.
        body: the body that is fitted, "open" or "smplx".
        settings: of the fit; None takes the defaults.
    """

    focal: float | None = None
    body: str = "open"
    settings: FitSettings | None = None
    name: str = "mediapipe"

    def check(self) -> None:
        """Sees that the environment is there.

        Raises:
            MissingAssetError: it is not.
        """
        find_python()

    def extract(self, video: Path) -> list[PersonTrack]:
        """See `MotionExtractor`."""
        info = probe(video)
        return self.extract_frames((frame for _, frame in iter_frames(video)), info.height, info.width, info.fps)

    def extract_frames(self, frames: Iterable[np.ndarray], height: int, width: int, fps: float) -> list[PersonTrack]:
        """The people in frames (H, W, 3) uint8 RGB, as `extract`.

        Raises:
            MissingAssetError: the environment is not installed.
            ExtractorError: MediaPipe failed.
        """
        tracks, count = read_landmarks(frames, height, width)
        camera = intrinsics_matrix(self.focal or default_focal(width, height), width / 2, height / 2)
        return [self._fitted(track, camera, fps) for track in people(tracks, count, fps)]

    def _fitted(self, track: LandmarkTrack, camera: np.ndarray, fps: float) -> PersonTrack:
        fit = fit_body(track, camera, fps, self.body, self.settings)
        return PersonTrack(track.frames, fit.motion, fit.confidence, track.boxes())


def people(tracks: list[LandmarkTrack], count: int, fps: float) -> list[LandmarkTrack]:
    """Those who are seen long enough in a video of `count` frames, sides mended, the largest first."""
    shortest = min(count, max(SHORTEST_S * fps, SHORTEST_FRAMES))
    return sorted((mend_sides(track, fps)[0] for track in tracks if len(track) >= shortest), key=_size, reverse=True)


def _size(track: LandmarkTrack) -> float:
    """Area of the boxes of all frames, in pixels."""
    left, top, right, bottom = track.boxes().T
    return float(((right - left) * (bottom - top)).sum())
