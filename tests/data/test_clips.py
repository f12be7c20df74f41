"""Clip folders: what the synthetic engine writes is read back, and unusable folders are refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unimo.data.clips import load_clips
from unimo.errors import InputError
from unimo.media.video_writer import write_video
from unimo.motion.motion import Motion
from unimo.motion.npz import save_motion

SIDE, FRAMES = 36, 5


def write_clip(folder: Path, index: int, frames: int = FRAMES, fps: float = 15.0, side: int = SIDE) -> Path:
    """One clip in the engine's format: a flat picture of its own grey, a mask whose row t is set in frame t."""
    path = folder / "clips" / f"{index:06d}"
    path.mkdir(parents=True)
    rgb = np.full((frames, side, side, 3), 40 * (index + 1), np.uint8)
    write_video(path / "rgb.mp4", rgb, fps, crf=4, full_chroma=True)
    intrinsics = np.array([[40.0 + index, 0, side / 2], [0, 40.0 + index, side / 2], [0, 0, 1]])
    zeros = np.zeros((frames, 3))
    motion = Motion(np.zeros((frames, 21, 3)), np.full(10, index), zeros, zeros + index, fps, intrinsics=intrinsics)
    save_motion(path / "motion.npz", motion)
    mask = np.zeros((frames, side, side), bool)
    mask[np.arange(frames), np.arange(frames)] = True
    np.savez_compressed(path / "annotations.npz", mask=np.packbits(mask, axis=-1))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index in range(3):
        write_clip(tmp_path, index)
    records = [{"name": f"{index:06d}", "subject": f"s{index}", "driver": "some driver"} for index in range(3)]
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return tmp_path


def test_clips_are_read_in_order(folder: Path) -> None:
    (folder / "clips" / ".000003.part").mkdir()
    clips = load_clips(folder)
    assert clips.names == ["000000", "000001", "000002"] and len(clips) == 3 and clips.fps == 15
    assert clips.frames.shape == (3, FRAMES, SIDE, SIDE, 3)
    np.testing.assert_allclose(clips.frames.mean((1, 2, 3, 4)), [40, 80, 120], atol=2)
    np.testing.assert_array_equal(clips.motions["transl"][2], np.full((FRAMES, 3), 2))
    np.testing.assert_array_equal(clips.intrinsics[:, 0, 0], [40, 41, 42])
    mask = clips.masks(np.array([1]))
    assert mask.shape == (1, FRAMES, SIDE, SIDE) and mask[0, 2, 2].all() and mask.sum() == FRAMES * SIDE
    assert [record["subject"] for record in clips.records] == ["s0", "s1", "s2"]


def test_count_takes_the_first_and_the_hash_names_what_was_read(folder: Path) -> None:
    whole, two = load_clips(folder), load_clips(folder, count=2)
    assert two.names == whole.names[:2] and two.sha256 != whole.sha256
    assert load_clips(folder).sha256 == whole.sha256
    save_motion(folder / "clips/000001/motion.npz", load_motion_shifted(folder))
    assert load_clips(folder, count=2).sha256 != two.sha256


def load_motion_shifted(folder: Path) -> Motion:
    from unimo.motion.npz import load_motion

    motion = load_motion(folder / "clips/000001/motion.npz")
    return Motion(
        motion.body_pose, motion.betas, motion.global_orient, motion.transl + 1, 15.0, intrinsics=motion.intrinsics
    )


def no_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def no_clips(folder: Path) -> None:
    shutil.rmtree(folder / "clips")


def no_motion(folder: Path) -> None:
    (folder / "clips/000001/motion.npz").unlink()


def no_mask(folder: Path) -> None:
    np.savez(folder / "clips/000001/annotations.npz", other=np.zeros(3))


def damaged_annotations(folder: Path) -> None:
    (folder / "clips/000001/annotations.npz").write_bytes(b"PK not really")


def narrow_mask(folder: Path) -> None:
    np.savez(folder / "clips/000001/annotations.npz", mask=np.zeros((FRAMES, SIDE, 2), np.uint8))


def longer_clip(folder: Path) -> None:
    shutil.rmtree(folder / "clips/000001")
    write_clip(folder, 1, frames=FRAMES + 1)


def faster_clip(folder: Path) -> None:
    shutil.rmtree(folder / "clips/000001")
    write_clip(folder, 1, fps=30.0)


def shorter_motion(folder: Path) -> None:
    shutil.copy(write_clip(folder / "other", 0, frames=3) / "motion.npz", folder / "clips/000001/motion.npz")


def broken_manifest(folder: Path) -> None:
    (folder / "manifest.jsonl").write_text('{"name": "000000"}\nnot json\n')


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_folder, "no such folder"),
        (no_clips, "holds no clips"),
        (no_motion, "has no motion.npz"),
        (no_mask, "annotations cannot be read"),
        (damaged_annotations, "annotations cannot be read"),
        (narrow_mask, "not packed bits of 36 pixels"),
        (longer_clip, "frames of the clip is 6, 5 is wanted"),
        (faster_clip, "fps of the clip is 30.0, 15.0 is wanted"),
        (shorter_motion, "the video has 5 frames, the motion 3"),
        (broken_manifest, "line 2 of the manifest"),
    ],
)
def test_unusable_folders_are_refused(folder: Path, spoil: Callable[[Path], None], message: str) -> None:
    spoil(folder)
    with pytest.raises(InputError, match=message):
        load_clips(folder)


def test_the_bundles_wishes_are_checked(folder: Path) -> None:
    for wish in ({"frames": 9}, {"fps": 24.0}, {"side": 32}, {"body": "smplx"}):
        with pytest.raises(InputError, match=f"{next(iter(wish))} of the clip is"):
            load_clips(folder, **wish)
    with pytest.raises(InputError, match="5 clips are wanted, the folder holds 3"):
        load_clips(folder, count=5)
    with pytest.raises(InputError, match="this is a file"):
        load_clips(folder / "manifest.jsonl")
