"""How well MediaPipe and the body fit read motion: over clips with known answers, and on files without.

In: clips as `unimo evaluate capture` takes them, or videos and pictures. Out: flat dictionaries, units in their keys.
Errors over clips are those of `evaluate_capture`: the same joints, alignment, camera of each clip with its true focal
length, and constant pose, so that the two can be set side by side.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch

from unimo.bundle import Bundle
from unimo.data.clips import Clips
from unimo.data.extractors.body_fit import fit_body
from unimo.data.extractors.mediapipe_extractor import MediapipeExtractor, people
from unimo.data.extractors.mediapipe_process import read_landmarks
from unimo.data.extractors.protocol import PersonTrack
from unimo.errors import InputError
from unimo.evaluation.clip_motions import Parts, true_parts
from unimo.evaluation.constant_pose import ConstantPose
from unimo.evaluation.pose_errors import clip_joints, pose_errors, with_accel_per_second
from unimo.evaluation.summary import Numbers, prefixed, ratios, summarize
from unimo.geometry.cameras import default_focal, intrinsics_matrix
from unimo.media.images import read_image
from unimo.media.source import FrameSource
from unimo.media.suffixes import IMAGE_SUFFIXES
from unimo.motion.motion import Motion
from unimo.result import Progress


def evaluate_extractor(clips: Clips, bundle: Bundle, body: str = "open", progress: Progress | None = None) -> Numbers:
    """Labels every clip and measures the errors in its own camera.

    Args:
        clips: with true motion of the body `body`.
        bundle: whose constant pose is the baseline; nothing else of it is used.
        body: "open" or "smplx".
        progress: see `Progress`.

    Returns:
        The keys of `evaluate_capture` as far as they apply, and `clips_found`, `frames_found` (share of frames in which
        the person is found), `several` (clips in which more than one is), `seconds_per_frame`. Clips in which nobody is
        found are left out of the errors.

    Raises:
        MissingAssetError: MediaPipe's environment is not installed.
        InputError: nobody is found in any clip, or the bundle stores no constant pose.
    """
    stored = bundle.info.training.get("constant_pose")
    if stored is None:
        raise InputError("the bundle stores no constant pose to measure against", str(bundle.path), "--bundle mini")
    started = time.perf_counter()
    count, length, height, width = clips.frames.shape[:4]
    motions: dict[int, Motion] = {}
    seen = several = 0
    for index in range(count):
        chosen = MediapipeExtractor(float(clips.intrinsics[index, 0, 0]), body)
        tracks = chosen.extract_frames(list(clips.frames[index]), height, width, clips.fps)
        several += len(tracks) > 1
        if tracks:
            seen += len(tracks[0].frames)
            motions[index] = _whole(tracks[0], length)
        if progress:
            progress("labelling clips", index + 1, count)
    if not motions:
        raise InputError("nobody was found in any clip")
    seconds = time.perf_counter() - started
    found = sorted(motions)
    truth = {key: value[found] for key, value in true_parts(clips).items()}
    per_clip = with_accel_per_second(pose_errors(_parts([motions[i] for i in found]), truth, body), clips.fps)
    focal = bundle.settings.canonical_focal * bundle.settings.side
    scale = torch.from_numpy(clips.intrinsics[found, 0, 0] / focal).float()
    baseline = with_accel_per_second(
        ConstantPose.from_json(stored).clip_errors(clip_joints(truth, body), truth["rotations"][:, :, 0], scale, body),
        clips.fps,
    )
    return {
        "clips": count,
        "clips_found": len(found),
        "frames_found": seen / (count * length),
        "several": several,
        "fps": clips.fps,
        **summarize(per_clip),
        **prefixed("constant_pose", baseline),
        **ratios(per_clip, baseline, "constant_pose"),
        "seconds_per_frame": seconds / (count * length),
    }


def measure_reprojection(path: Path, focal: float | None = None, body: str = "open") -> Numbers:
    """Fits the largest person of a video or picture and measures how near the landmarks of the picture come.

    Args:
        path: a video or a picture.
        focal: pixels; None takes the diagonal.
        body: "open" or "smplx".

    Returns:
        `people`, `frames`, `found` (share of frames), `reprojection_px`, `reprojection_share` (of the longer side of
        the box around the person, mean over frames), `confidence`, `landmark_seconds_per_frame`,
        `fit_seconds_per_frame`.

    Raises:
        InputError: the file cannot be read, or nobody is in it.
        MissingAssetError: MediaPipe's environment is not installed.
    """
    still = path.suffix.lower() in IMAGE_SUFFIXES
    source = FrameSource.of(read_image(path)[None], 30) if still else FrameSource.of(path)
    started = time.perf_counter()
    tracks, count = read_landmarks((frame for _, frame in source), source.height, source.width)
    between = time.perf_counter()
    found = people(tracks, count, source.fps)
    if not found:
        raise InputError("nobody was found in it", str(path))
    track = found[0]
    focal = focal or default_focal(source.width, source.height)
    camera = intrinsics_matrix(focal, source.width / 2, source.height / 2)
    fit = fit_body(track, camera, source.fps, body)
    return {
        "people": len(found),
        "frames": count,
        "found": len(track) / count,
        "reprojection_px": float(fit.reprojection_px.mean()),
        "reprojection_share": float((fit.reprojection_px / fit.size_px).mean()),
        "confidence": float(fit.confidence.mean()),
        "landmark_seconds_per_frame": (between - started) / count,
        "fit_seconds_per_frame": (time.perf_counter() - between) / len(track),
    }


def _whole(track: PersonTrack, length: int) -> Motion:
    """The motion of all frames of a clip: what is missing is interpolated, or held at the ends."""
    positions = np.interp(np.arange(length), track.frames, np.arange(len(track.frames)))
    return track.motion.at(positions, track.motion.fps)


def _parts(motions: list[Motion]) -> Parts:
    return {
        "rotations": torch.stack([torch.from_numpy(motion.rotations()) for motion in motions]),
        "betas": torch.stack([torch.from_numpy(motion.betas) for motion in motions]),
        "transl": torch.stack([torch.from_numpy(motion.transl) for motion in motions]),
    }
