"""Pictures of the data report: samples in, JPEG data URIs out, the skeleton drawn on video or, without one, alone."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from unimo.data.collection import Sample
from unimo.data.statistics import world_joints
from unimo.errors import InputError
from unimo.motion.frames import joint_positions
from unimo.render.sheet import draw_skeleton

# height of one picture in pixels
TALL = 192
_PAPER = 40
_LINE = 2
# the view of a motion without a camera, radians about the vertical
_TURN = 0.6
_SHOWN_METRES = 2.1


def middle_picture(sample: Sample) -> str:
    """The middle frame of a sample with its skeleton.

    Raises:
        InputError: its video cannot be read, or has fewer frames than the motion.
    """
    return jpeg_uri(_pictures(sample, np.array([len(sample.motion) // 2]))[0])


def strip(sample: Sample, frames: int = 8) -> str:
    """Frames evenly over a sample, side by side, with the skeleton; errors as `middle_picture`."""
    rows = np.unique(np.linspace(0, len(sample.motion) - 1, frames).round().astype(int))
    return jpeg_uri(np.concatenate(_pictures(sample, rows), axis=1))


def _pictures(sample: Sample, rows: np.ndarray) -> list[np.ndarray]:
    """The frames `rows` of a sample, `TALL` pixels high."""
    motion = sample.motion
    joints = joint_positions(motion)
    if sample.read_frames is None:
        return [_stick_figure(places) for places in world_joints(motion, joints)[rows]]
    video = sample.read_frames()
    if len(video) < len(motion):
        raise InputError(f"the video of {sample.name} has {len(video)} frames, its motion {len(motion)}")
    pictures = []
    for row in rows:
        scale = max(1, round(TALL / video.shape[1]))
        width = max(1, round(_LINE * scale * video.shape[1] / TALL))
        frame = video[row]
        if motion.axes == "camera" and motion.intrinsics is not None:
            seen = joints[row] @ motion.intrinsics.T
            frame = draw_skeleton(frame, seen[:, :2] / np.maximum(seen[:, 2:], 0.05), scale, width)
        pictures.append(_resized(frame))
    return pictures


def _stick_figure(places: np.ndarray) -> np.ndarray:
    """(TALL, TALL, 3): joints (22, 3), y up, seen level from a little aside, the pelvis in the middle."""
    right = np.array([np.cos(_TURN), 0.0, -np.sin(_TURN)])
    about = (places - places[0]) * (TALL / _SHOWN_METRES)
    pixels = np.stack([about @ right, -about[:, 1]], axis=-1) + TALL / 2
    return _resized(draw_skeleton(np.full((TALL, TALL, 3), _PAPER, np.uint8), pixels, 2, 2 * _LINE))


def _resized(picture: np.ndarray) -> np.ndarray:
    width = round(picture.shape[1] * TALL / picture.shape[0])
    return np.asarray(Image.fromarray(picture).resize((width, TALL), Image.Resampling.LANCZOS))


def jpeg_uri(picture: np.ndarray) -> str:
    """(H, W, 3) uint8 as the text that stands in the `src` of an `img`."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
