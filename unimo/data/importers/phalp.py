"""PHALP's and 4D-Humans' `demo_VIDEO.pkl` (joblib): SMPL of all tracked people in every picture of a video.

In: {picture: {time, shot, tid[], tracked_time[], smpl[], camera[], size[]}}; smpl is global_orient (1, 3, 3) and
body_pose (23, 3, 3), rotation matrices, and betas (10,); `camera` (3,) is SMPL's translation for the whole picture,
`camera_bbox` is for the crop and is not read. The focal length is 5000 / 256 x the longer side, so depth is not metric:
far away through a long lens, with the right picture. tracked_time > 0 marks ghosts, people guessed while they were not
seen: they are left out. Out: camera axes, one motion a stretch of pictures of one track, cut at shots too. The frame
number is `time`, the position of the picture.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from unimo.data.importers.base import ImportedMotion, ImportOptions, Source, find_files, rate_and_video, split_at_gaps
from unimo.data.importers.bodies import axis_angles, smpl_motion
from unimo.data.importers.fields import flat, numbers, record_of, whole
from unimo.data.unpickle import read_pickle
from unimo.errors import InputError

_PARTS = ("time", "tid", "tracked_time", "smpl", "camera", "size")
_LISTS = ("tid", "tracked_time", "smpl", "camera", "size")
# pixels, of a picture whose longer side is 256
_FOCAL, _SIDE = 5000.0, 256.0


def find(source: Path) -> list[Source]:
    """The results in a folder (`demo_*.pkl` at any depth), or one file."""
    return find_files(source, "demo_*.pkl", "demo_*.pkl of PHALP")


def read(source: Source, options: ImportOptions) -> Iterator[ImportedMotion]:
    """Every track's stretches; the subject is the video, for a person who is lost and found gets another track."""
    clip = clip_name(source.path)
    fps, video = rate_and_video(options, clip, "a result of PHALP does not say its frame rate")
    yield from tracks(source.path, clip, clip, fps, str(video) if video else None)


def clip_name(path: Path) -> str:
    """The name of the video that `demo_NAME.pkl` belongs to."""
    return path.stem.removeprefix("demo_")


def tracks(path: Path, clip: str, subject: str, fps: float, video: str | None) -> Iterator[ImportedMotion]:
    """The stretches of all tracks of a file, without ghosts.

    Raises:
        InputError: the file is damaged or of another format, or nobody is seen in it.
    """
    pictures = record_of(read_pickle(path), "the file", ())
    rows: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for name, picture in pictures.items():
        for person in _seen(record_of(picture, f"picture {name}", ())):
            rows[person["tid"]].append(person)
    if not rows:
        raise InputError("nobody is seen in this video", fix="leave it out")
    for track, people in sorted(rows.items()):
        people.sort(key=lambda person: person["time"])
        yield from _track(people, f"{clip}_{track}", subject, fps, video)


def _seen(picture: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The people of a picture who are no ghosts."""
    if "camera" not in picture and "camera_bbox" in picture:
        raise InputError("it has camera_bbox only, which is of the crop", fix="run a version that stores `camera`")
    picture = record_of(picture, "a picture", _PARTS)
    lists = {key: picture[key] for key in _LISTS}
    if any(not isinstance(each, list | tuple) or len(each) != len(picture["tid"]) for each in lists.values()):
        raise InputError("the lists of a picture differ in length", fix="run PHALP again")
    time, shot = whole(picture["time"], "time"), whole(picture.get("shot", 0), "shot")
    for place, track in enumerate(picture["tid"]):
        if whole(picture["tracked_time"][place], "tracked_time") > 0:
            continue
        smpl = record_of(picture["smpl"][place], "smpl", ("global_orient", "body_pose", "betas"))
        yield {
            "tid": whole(track, "tid"),
            "time": time,
            "shot": shot != 0,
            "root": flat(smpl["global_orient"], "global_orient", 9).reshape(1, 3, 3),
            "body": numbers(smpl["body_pose"], "body_pose", (23, 3, 3)),
            "betas": flat(smpl["betas"], "betas", 10),
            "camera": flat(picture["camera"][place], "camera", 3),
            "size": flat(picture["size"][place], "size", 2),
        }


def _track(
    people: list[dict[str, Any]], name: str, subject: str, fps: float, video: str | None
) -> Iterator[ImportedMotion]:
    times = np.array([person["time"] for person in people])
    if (np.diff(times) <= 0).any():
        raise InputError(f"track {name} is twice in one picture", fix="run PHALP again")
    matrices = np.concatenate([np.stack([p[key] for p in people]) for key in ("root", "body")], axis=1)
    pose = axis_angles(matrices).reshape(len(people), 72)
    height, width = people[0]["size"]
    focal = _FOCAL / _SIDE * max(height, width)
    motion = smpl_motion(
        pose,
        np.stack([person["camera"] for person in people]),
        fps,
        axes="camera",
        intrinsics=np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]),
        extras={"source": "phalp", "source_model": "smpl", "depth_is_not_metric": True},
    )
    betas = np.mean([person["betas"] for person in people], axis=0)
    imported = ImportedMotion(name, subject, motion, times, video, notes={"betas": np.round(betas, 5).tolist()})
    yield from split_at_gaps(imported, breaks=np.array([person["shot"] for person in people]))
