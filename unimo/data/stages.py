"""The stages between a video and its samples, each a plain function: one source in, clips with tokens out.

probe → cut at shot changes → label → keep single-person stretches → resample, letterbox and cut into clips → tokenise.
A source's samples depend on its files, the settings and the bundle alone. Motion is in camera axes, metres, radians;
a clip's frames are uint8 (T, side, side, 3) RGB. `samples_of` puts the stages together; a source that cannot be used
ends in an `Unusable` with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from unimo.data.extractors.protocol import MotionExtractor, PersonTrack
from unimo.data.shots import find_shots
from unimo.data.sources import Source
from unimo.errors import InputError
from unimo.geometry.cameras import default_focal, intrinsics_matrix
from unimo.media.letterbox import Letterbox
from unimo.media.timeline import SourceTimeline, resample_stream
from unimo.media.video import VideoInfo, check_whole, iter_frames, probe
from unimo.motion.files import of_open_body
from unimo.motion.frames import with_one_shape, world_to_camera
from unimo.motion.motion import Motion
from unimo.motion.npz import load_motion

NOBODY, SEVERAL, SHORT = "nobody seen surely", "more than one person", "shorter than a clip"
"""Why seconds of a video are left out."""


@dataclass(frozen=True)
class Cutting:
    """How clips are cut: `frames` at `fps`, a new one every `stride` frames, of `side` pixels, for the body `body`."""

    fps: float
    frames: int
    stride: int
    side: int
    body: str
    min_confidence: float


@dataclass(frozen=True)
class Stretch:
    """Frames start..stop of a video in one shot with one person, who is `track`."""

    start: int
    stop: int
    track: PersonTrack


@dataclass(frozen=True, eq=False)
class ClipPlan:
    """A clip before its pixels: which frames of the video it shows, and their motion.

    Attributes:
        frames: (T,) int64 frame numbers of the video, one may repeat.
        motion: T rows at the clip's rate, camera axes, intrinsics in pixels of the upright video.
        start_s: seconds of the video's clock at which it starts.
        confidence: mean over the clip, 0..1.
    """

    frames: np.ndarray
    motion: Motion
    start_s: float
    confidence: float


def look_at(source: Source) -> tuple[VideoInfo, np.ndarray, list[int]]:
    """Stages 1 and 2: what the video is, the time of every frame (N,), and the first frame of every shot.

    Raises:
        InputError: the video cannot be read, or was cut short.
    """
    info = probe(source.video)
    check_whole(source.video)
    if source.is_clip:
        times = np.array([time for time, _ in iter_frames(source.video)])
        return info, times, [0]
    times, shots = find_shots(iter_frames(source.video))
    return info, times, shots


def label(source: Source, info: VideoInfo, frames: int, extractor: MotionExtractor | None) -> list[PersonTrack]:
    """Stage 3: who is seen when, from the motion file beside the video, else by the extractor.

    A motion file is taken as sure (confidence 1), row i belongs to frame i.

    Raises:
        InputError: the motion file does not belong to the video, or there is neither file nor extractor.
    """
    if source.motion is None:
        if extractor is None:
            what = "there is no motion beside this video, and no extractor was chosen"
            raise InputError(what, str(source.video), "--extractor mediapipe or gvhmr")
        return extractor.extract(source.video)
    motion = load_motion(source.motion)
    if len(motion) != frames:
        raise InputError(f"the video has {frames} frames, the motion beside it {len(motion)}", str(source.motion))
    # one frame has no rate
    if frames > 1 and abs(motion.fps - info.fps) > 0.01 * info.fps:
        what = f"the video has {info.fps:g} frames per second, the motion beside it says {motion.fps:g}"
        raise InputError(what, str(source.motion), "give the motion the rate of the video that it belongs to")
    motion = world_to_camera(motion)
    boxes = np.tile(np.array([0, 0, info.width, info.height], np.float32), (frames, 1))
    return [PersonTrack(np.arange(frames), motion, np.ones(frames, np.float32), boxes)]


def single_person(
    tracks: Sequence[PersonTrack], shots: Sequence[int], times: np.ndarray, min_confidence: float
) -> tuple[list[Stretch], Counter[str]]:
    """Stage 4: the stretches, inside shots, in which exactly one person is seen surely, always the same one.

    Args:
        tracks: the people of the video.
        shots: first frames of the shots.
        times: (N,) seconds of the frames.
        min_confidence: from which a person counts as seen.

    Returns:
        stretches in order, and the seconds left out by reason.
    """
    count = len(times)
    people, who = np.zeros(count, np.int64), np.full(count, -1)
    for number, track in enumerate(tracks):
        seen = track.frames[track.confidence >= min_confidence]
        people[seen] += 1
        who[seen] = number
    lasts = frame_lengths(times)
    left_out = Counter({NOBODY: float(lasts[people == 0].sum()), SEVERAL: float(lasts[people > 1].sum())})
    who[people != 1] = -1
    changes = set(np.flatnonzero(np.diff(who)) + 1) | set(shots) | {0}
    borders = [*sorted(int(i) for i in changes), count]
    spans = zip(borders[:-1], borders[1:], strict=True)
    return [Stretch(a, b, tracks[who[a]]) for a, b in spans if b > a and who[a] >= 0], left_out


def cut_clips(stretch: Stretch, times: np.ndarray, info: VideoInfo, cutting: Cutting) -> tuple[list[ClipPlan], float]:
    """Stage 5 without pixels: resamples a stretch and cuts it into clips.

    Frames are the nearest in time; motion is interpolated to the same times (slerp), or taken as it is where they are
    the motion's own.

    Returns:
        clips in order, and the seconds left out because they fill no clip.
    """
    own = times[stretch.start : stretch.stop]
    timeline = SourceTimeline(cutting.fps)
    stream = resample_stream(((t, np.array(i)) for i, t in enumerate(own)), cutting.fps, timeline)
    chosen = np.array([int(index) for _, index in stream])
    positions = np.interp(timeline.target_times, own, np.arange(len(own)))
    first = int(np.searchsorted(stretch.track.frames, stretch.start))
    rows = slice(first, first + len(own))
    motion, confidence = stretch.track.motion[rows], stretch.track.confidence[rows]
    plans = []
    for start in range(0, len(chosen) - cutting.frames + 1, cutting.stride):
        part = slice(start, start + cutting.frames)
        moved = fit_motion(motion_at(motion, positions[part], cutting.fps), info, cutting.body)
        sure = float(confidence[chosen[part]].mean())
        plans.append(ClipPlan(stretch.start + chosen[part], moved, float(timeline.target_times[start]), sure))
    used = cutting.frames + (len(plans) - 1) * cutting.stride if plans else 0
    return plans, max(0.0, len(chosen) - used) / cutting.fps


def clip_frames(source: Source, plans: Sequence[ClipPlan], box: Letterbox) -> Iterator[np.ndarray]:
    """Stage 5's pixels: the letterboxed frames (T, side, side, 3) of each clip in turn; the video is read once.

    Clips start and end later than the one before.
    """
    wanted = {int(index) for plan in plans for index in plan.frames}
    held: dict[int, np.ndarray] = {}
    stream = enumerate(iter_frames(source.video))
    for plan in plans:
        first, last = int(plan.frames[0]), int(plan.frames[-1])
        held = {index: frame for index, frame in held.items() if index >= first}
        while last not in held:
            index, (_, frame) = next(stream)
            if index in wanted:
                held[index] = box.apply(frame)
        yield np.stack([held[int(index)] for index in plan.frames])


def motion_at(motion: Motion, positions: np.ndarray, fps: float) -> Motion:
    """The motion at fractional frame numbers, as rows of its own where all of them are whole."""
    whole = np.round(positions)
    steps = np.unique(np.diff(whole))
    # a thousandth of a frame: what times rounded by a container are off
    if np.abs(positions - whole).max() < 1e-3 and len(steps) == 1 and steps[0] >= 1:
        return replace(motion[int(whole[0]) : int(whole[-1]) + 1 : int(steps[0])], fps=fps)
    return motion.at(positions, fps)


def fit_motion(motion: Motion, info: VideoInfo, body: str) -> Motion:
    """The motion with one shape, on the wanted body, with intrinsics (the default focal length if there are none).

    The rotations of an SMPL-X motion go to the open body with zero betas, and the pelvis keeps its path.

    Raises:
        InputError: a motion of the open body where SMPL-X is wanted.
    """
    if motion.intrinsics is None:
        focal = default_focal(info.width, info.height)
        motion = replace(motion, intrinsics=intrinsics_matrix(focal, info.width / 2, info.height / 2))
    if motion.body != body:
        if body != "open":
            raise InputError(f"the motion is of the body {motion.body!r}, the bundle knows {body!r}")
        motion = of_open_body(motion)
    return motion if (motion.betas == motion.betas[:1]).all() else with_one_shape(motion)


def frame_lengths(times: np.ndarray) -> np.ndarray:
    """Seconds until the next frame, (N,); the last frame lasts as long as the mean one, a single frame not at all."""
    gaps = np.diff(times)
    return np.append(gaps, gaps.mean() if len(gaps) else 0.0)
