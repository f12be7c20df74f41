"""The files of one clip: a rendered `Clip` in, a folder out; docs/formats.md says what they hold.

Arrays are NumPy archives without pickle, the same bytes for the same arrays. Compression is the fastest of zlib: the
higher levels take 1.4 to 4.5 times as long for a twentieth of the size.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from unimo.media.video_writer import write_video
from unimo.motion.frames import camera_to_world
from unimo.motion.npz import save_motion
from unimo.render.renderer import shared_renderer
from unimo.synth.render import Clip


def write_clip(clip: Clip, folder: Path, name: str, layers: Sequence[str]) -> None:
    """Writes a clip into `folder / name`, which appears once it is complete.

    Args:
        clip: the clip.
        folder: where clips stand.
        name: of the clip's folder.
        layers: names from `unimo.synth.layers.LAYERS`.
    """
    part = folder / f".{name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    motion = clip.motion
    write_video(part / "rgb.mp4", clip.rgb, motion.fps, crf=4, full_chroma=True, reproducible=True)
    save_motion(part / "motion.npz", motion)
    save_motion(part / "motion_world.npz", camera_to_world(motion))
    arrays = _annotations(clip)
    _save_arrays(part / "annotations.npz", arrays)
    if layers:
        _save_arrays(part / "layers.npz", clip.truth.layers(layers))
    (part / "clip.json").write_text(json.dumps(_record(clip, name, arrays, layers)))
    target = folder / name
    shutil.rmtree(target, ignore_errors=True)
    os.replace(part, target)


def _annotations(clip: Clip) -> dict[str, np.ndarray]:
    cam2world, intrinsics = clip.motion.cam2world, clip.motion.intrinsics
    assert cam2world is not None and intrinsics is not None
    return {
        "cam2world": cam2world,
        "world2cam": np.linalg.inv(cam2world.astype(np.float64)).astype(np.float32),
        "intrinsics": intrinsics,
        "keypoints2d": clip.keypoints2d,
        "keypoints3d": clip.keypoints3d,
        "keypoints_visible": clip.keypoints_visible,
        "mask": np.packbits(clip.mask, axis=-1),
    }


def _record(clip: Clip, name: str, arrays: Mapping[str, np.ndarray], layers: Sequence[str]) -> dict:
    motion, scene = clip.motion, clip.scene
    parameters = [motion.body_pose, motion.betas, motion.global_orient, motion.transl]
    measured = [arrays[key] for key in ("cam2world", "intrinsics", "keypoints2d", "keypoints3d")]
    record = {
        "name": name,
        "seed": scene.seed,
        "source": scene.source,
        "subject": clip.subject,
        "start_s": round(scene.start, 4),
        "speed": round(scene.speed, 4),
        "mirrored": scene.mirrored,
        "frames": len(motion),
        "fps": motion.fps,
        "height_fraction": round(scene.height_fraction, 4),
        "in_frame": scene.in_frame,
        "look": scene.look,
        "camera": scene.camera_kind,
        "background": scene.background,
        "layers": list(layers),
        "arrays_sha256": arrays_digest([*parameters, *measured]),
        "rgb_sha256": arrays_digest([clip.rgb]),
        "driver": shared_renderer().driver,
    }
    if scene.text:
        record["text"] = scene.text
    if scene.cut:  # what the mask shows beyond the body
        record["cut"] = asdict(scene.cut)
    return record


def arrays_digest(arrays: Sequence[np.ndarray]) -> str:
    """SHA-256 of the bytes of these arrays, in order."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """An .npz file with a fixed date inside, so that the same arrays are the same bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy")  # the date of a ZipInfo is 1980 unless told otherwise
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
