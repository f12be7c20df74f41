"""Pictures of single clips for the report: video, predicted body and true body, frame by frame, as one JPEG sheet.

In: clips as `unimo synth` writes them and the folders of runs. Out: a `Strip`, whose sheet the page's script plays.
Frames that are too many are thinned and panels are small, so that a page with a dozen strips stays below 10 MB.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from unimo.body.names import PARENTS
from unimo.data.clips import PARAMETERS
from unimo.data.report_pictures import jpeg_uri
from unimo.errors import InputError, UniMoError
from unimo.evaluation.html.runs import Run
from unimo.evaluation.outcome import load_predictions
from unimo.media.video import read_video
from unimo.motion.frames import joint_positions
from unimo.motion.motion import Motion
from unimo.motion.npz import load_motion
from unimo.render.overlay import BODY_COLOR, overlay
from unimo.render.shading import Vector

PANEL, SMALL_PANEL = 192, 128
MOST_FRAMES = 33
PREDICTED: Vector = (0.95, 0.60, 0.28)
# of the view from the side
_PAPER, _SHOWN_METRES = (40, 40, 40), 2.2
# panels of the whole page, times frames, above which panels are small
_MANY = 900


@dataclass(frozen=True)
class Strip:
    """Attributes: uri of the sheet, its frames and columns; panel labels; size (H, W) of one frame; shown fps."""

    uri: str
    frames: int
    columns: int
    panels: list[str]
    size: tuple[int, int]
    fps: float


def panel_side(clips: int, panels: int, frames: int) -> int:
    """Pixels of a panel, so that so many clips with so many panels make a page of bearable size."""
    return PANEL if clips * panels * min(frames, MOST_FRAMES) <= _MANY else SMALL_PANEL


def motion_strip(folder: Path, runs: Sequence[Run], clip: str, side: int) -> Strip:
    """A clip's video, every run's predicted body over it (first seed), and the true body over it.

    With one run there is also a view from the side, both skeletons with their pelvises together, as MPJPE has them:
    what is wrong in depth is not seen from the front.

    Raises:
        UniMoError: the clip or a prediction cannot be read or drawn.
    """
    frames, truth = _read_clip(folder, clip)
    panels = {"video": _squares(frames, side)}
    for run in runs:
        name = "predicted" if len(runs) == 1 else f"predicted, {run.label}"
        panels[name] = _drawn(frames, predicted_motion(run, clip, truth), side, PREDICTED)
    panels["truth"] = _drawn(frames, truth, side)
    if len(runs) == 1:
        panels["from the side"] = side_view(truth, predicted_motion(runs[0], clip, truth), side)
    return _strip(panels, truth.fps)


def generated_strip(folder: Path, runs: Sequence[Run], clip: str, side: int) -> Strip:
    """The clip that gave the reference picture, every run's generated video, and its generated body over that.

    Raises:
        UniMoError: the clip, a video or a motion cannot be read or drawn.
    """
    frames, truth = _read_clip(folder, clip)
    panels = {"reference clip": _squares(frames, side)}
    for run in runs:
        made = read_video(run.folder / f"{clip}-seed{run.seeds[0]}.mp4")[: len(frames)]
        name = "" if len(runs) == 1 else f", {run.label}"
        panels[f"generated video{name}"] = _squares(made, side)
        panels[f"and its motion{name}"] = _drawn(made, predicted_motion(run, clip, truth), side, PREDICTED)
    return _strip(panels, truth.fps)


def predicted_motion(run: Run, clip: str, truth: Motion) -> Motion:
    """What a run predicted for a clip with its first seed, in the clip's camera.

    Raises:
        InputError: the run kept no predictions, or they do not fit the clip.
    """
    if clip not in run.names:
        raise InputError(f"{run.label} tells nothing of this clip", str(run.path))
    arrays, row = _predictions(run.folder), run.names.index(clip)
    shape = tuple(arrays["transl"].shape)
    if shape[0] != len(run.names) or shape[2] != len(truth):
        what = f"the predictions are of {shape[0]} clips of {shape[2]} frames, the run of {len(run.names)}"
        raise InputError(f"{what} and the clip of {len(truth)}", str(run.folder))
    pose, betas, orient, transl = (arrays[key][row, 0].numpy() for key in PARAMETERS)
    return Motion(pose, betas, orient, transl, truth.fps, body=truth.body, intrinsics=truth.intrinsics)


def side_view(truth: Motion, predicted: Motion, side: int) -> np.ndarray:
    """(T,side,side,3): both skeletons from the right of the camera, pelvises in the middle; blue is true."""
    pictures = [Image.new("RGB", (2 * side, 2 * side), _PAPER) for _ in range(len(truth))]
    for motion, color in ((truth, BODY_COLOR), (predicted, PREDICTED)):
        joints = joint_positions(motion)
        about = (joints - joints[:, :1]) * (2 * side / _SHOWN_METRES) + side
        for picture, points in zip(pictures, about[..., [2, 1]], strict=True):
            draw = ImageDraw.Draw(picture)
            for joint, parent in enumerate(PARENTS):
                if parent >= 0:
                    ends = (tuple(points[parent]), tuple(points[joint]))
                    draw.line(ends, fill=tuple(round(255 * part) for part in color), width=side // 32)
    return _squares(np.stack([np.asarray(picture) for picture in pictures]), side)


@lru_cache(maxsize=4)
def _predictions(folder: Path) -> dict[str, Tensor]:
    if not folder.is_dir():
        what = "the run's predictions are not beside its file"
        raise InputError(what, str(folder), "move the folder along with the JSON file, or run the evaluation again")
    return load_predictions(folder)


def _read_clip(folder: Path, clip: str) -> tuple[np.ndarray, Motion]:
    place = folder / "clips" / clip
    frames, motion = read_video(place / "rgb.mp4"), load_motion(place / "motion.npz")
    if len(frames) != len(motion) or motion.axes != "camera" or motion.intrinsics is None:
        raise InputError("the clip's video and motion do not belong together", str(place))
    return frames, motion


def _drawn(frames: np.ndarray, motion: Motion, side: int, color: Vector = BODY_COLOR) -> np.ndarray:
    """(T,side,side,3): the body over frames of the size it is shown in, where it is sharper than when enlarged."""
    shown = _squares(frames, side)
    if motion.intrinsics is None:
        raise InputError("the motion has no intrinsics")
    camera = motion.intrinsics * np.array([[side / frames.shape[2]], [side / frames.shape[1]], [1.0]])
    return np.stack(list(overlay(shown, motion[: len(shown)], camera, color=color)))


def _squares(frames: np.ndarray, side: int) -> np.ndarray:
    """Frames (T,H,W,3) as (T,side,side,3)."""
    return np.stack([
        np.asarray(Image.fromarray(frame).resize((side, side), Image.Resampling.LANCZOS)) for frame in frames
    ])  # fmt: skip


def _strip(panels: dict[str, np.ndarray], fps: float) -> Strip:
    count = min(map(len, panels.values()))
    if count == 0:
        raise UniMoError("a clip has no frames")
    step = math.ceil(count / MOST_FRAMES)
    film = np.concatenate([panel[:count:step] for panel in panels.values()], axis=2)
    columns = max(1, round(math.sqrt(len(film) * film.shape[1] / film.shape[2])))
    rows = math.ceil(len(film) / columns)
    size = film.shape[1:3]
    sheet = np.zeros((rows * size[0], columns * size[1], 3), np.uint8)
    for index, picture in enumerate(film):
        top, left = index // columns * size[0], index % columns * size[1]
        sheet[top : top + size[0], left : left + size[1]] = picture
    return Strip(jpeg_uri(sheet), len(film), columns, list(panels), (size[0], size[1]), fps / step)
