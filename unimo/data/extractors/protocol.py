"""What labels raw video: the `MotionExtractor` protocol and the `PersonTrack`s that it gives.

In: a video file. Out: who is seen when, and that person's SMPL-X motion in the camera's frame, with a confidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from unimo.errors import UniMoError
from unimo.motion.motion import Motion


class ExtractorError(UniMoError):
    """An extractor's program failed, or gave back something that does not belong to the video it was given."""


@dataclass(frozen=True, eq=False)
class PersonTrack:
    """One person over some frames of a video.

    Attributes:
        frames: (T,) int64 frame numbers of the video, rising; frames without the person are left out.
        motion: T rows, camera axes, with intrinsics in pixels of the upright video.
        confidence: (T,) float32 in 0..1.
        boxes: (T, 4) float32 left, top, right, bottom in pixels.
    """

    frames: np.ndarray
    motion: Motion
    confidence: np.ndarray
    boxes: np.ndarray


class MotionExtractor(Protocol):
    """Something that labels video, such as `GvhmrExtractor` or `MediapipeExtractor`."""

    @property
    def name(self) -> str:
        """What the command line calls it."""
        ...

    def extract(self, video: Path) -> list[PersonTrack]:
        """The people of a video, the largest first; empty when nobody is found.

        Raises:
            InputError: the video cannot be read.
            MissingAssetError: the extractor's environment is not installed.
            ExtractorError: the extractor's program failed.
        """
        ...
