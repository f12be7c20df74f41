"""The library on npz: AMASS's spellings and our own, zips, subjects, the pelvis, and files that are no motions."""

from __future__ import annotations

import logging
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.motion.amass_sample import pelvis_path, save_amass, y_up
from tests.motion.cmu_sample import standing
from unimo.errors import InputError
from unimo.motion.frames import joint_positions, pelvis_positions
from unimo.motion.library import MotionLibrary
from unimo.motion.npz import SMPLX_REST_PELVIS, save_motion


@pytest.fixture(autouse=True)
def no_licensed_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNIMO_BODY_DIR", "")


@pytest.mark.parametrize(
    ("file", "kind"), [("walk_stageii.npz", "smplx"), ("walk_poses.npz", "smplh"), ("walk_poses.npz", "smpl")]
)
def test_every_spelling_of_amass_gives_the_open_body_on_the_same_pelvis_path(tmp_path: Path, file, kind) -> None:
    save_amass(tmp_path / "ACCAD" / "Female1General_c3d" / file, 60, kind, fps=120.0)
    (named,) = MotionLibrary.from_files([tmp_path])
    motion = named.motion
    assert (named.subject, named.name) == ("Female1General_c3d", f"Female1General_c3d/{file[:-4]}")
    assert (motion.axes, motion.body, motion.fps, len(motion)) == ("world", "open", 120, 60)
    assert not motion.betas.any()
    np.testing.assert_allclose(pelvis_positions(motion), y_up(pelvis_path(60)), atol=1e-5)
    joints = joint_positions(motion)
    assert (joints[:, 15, 1] > joints[:, 0, 1]).all() and (joints[:, 0, 1] > joints[:, 10, 1]).all()


def test_a_motion_of_ours_in_camera_axes_is_brought_to_world_axes(tmp_path: Path, make_motion) -> None:
    camera = np.tile(np.diag([1.0, -1.0, -1.0, 1.0]), (40, 1, 1))
    camera[:, :3, 3] = [0.5, 1.2, 3.0]
    mine = {body: make_motion(40, fps=15, body=body, cam2world=camera) for body in ("open", "smplx")}
    for body, motion in mine.items():
        save_motion(tmp_path / body / "motion.npz", motion)
    library = {named.subject: named.motion for named in MotionLibrary.from_files([tmp_path])}
    rests = {"open": pelvis_positions(mine["open"]) - mine["open"].transl, "smplx": SMPLX_REST_PELVIS}
    for body, motion in library.items():
        seen = mine[body].transl + rests[body]
        assert (motion.axes, motion.body, motion.fps) == ("world", "open", 15)
        np.testing.assert_allclose(pelvis_positions(motion), seen * [1, -1, -1] + [0.5, 1.2, 3.0], atol=1e-5)
    np.testing.assert_allclose(library["open"].betas, mine["open"].betas, atol=1e-6)
    assert not library["smplx"].betas.any()


def test_what_is_no_motion_is_left_out_with_its_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "CMU" / "01"
    good = save_amass(folder / "walk_stageii.npz").read_bytes()
    np.savez(folder / "female_stagei.npz", gender="female", betas=np.zeros(16))
    np.savez(folder / "shape.npz", betas=np.zeros(16), gender="neutral")
    np.savez(folder / "pickled_poses.npz", poses=np.zeros((3, 156)), trans=np.array([{"a": 1}], dtype=object))
    (folder / "cut_poses.npz").write_bytes(good[: len(good) // 2])
    (folder / "flipped_poses.npz").write_bytes(good[:900] + b"\xff" * 200 + good[1100:])
    (folder / "more.zip").write_bytes(b"PK")
    (folder / "notes.txt").write_text("no motion")
    with caplog.at_level(logging.WARNING, "unimo.motion.library"):
        library = MotionLibrary.from_files([tmp_path])
    reasons = dict(library.skipped)
    assert [named.name for named in library] == ["01/walk_stageii"] and len(reasons) == 6
    for name in ("01/shape", "01/female_stagei"):
        assert reasons[name].startswith("not a motion: `trans`")
    assert "trans holds pickled Python objects" in reasons["01/pickled_poses"]
    assert "is cut off" in reasons["01/cut_poses"] and "damaged" in reasons["01/flipped_poses"]
    assert reasons["more"] == "a damaged .zip file"
    lines = [record.getMessage() for record in caplog.records if record.name == "unimo.motion.library"]
    assert len(lines) == 6 and not any("\n" in line for line in lines)
    assert any(str(folder / "shape.npz") in line for line in lines)


def test_bvh_npz_and_zips_stand_beside_each_other(tmp_path: Path) -> None:
    source = tmp_path / "source"
    inner = save_amass(source / "KIT" / "3" / "turn_poses.npz", kind="smplh")
    (source / "cmu_02_01.bvh").write_text(standing(3))
    (source / "deep").mkdir()
    with zipfile.ZipFile(source / "deep" / "Subjects.zip", "w") as archive:
        archive.write(inner, "MPI/50002/chicken_poses.npz")
        archive.write(inner, "loose_poses.npz")
    library = MotionLibrary.from_files([source])
    assert [named.subject for named in library] == ["3", "02", "50002", "Subjects"]
    assert np.array_equal(library[0].motion.transl, library[3].motion.transl)
    chosen = MotionLibrary.from_files([source], subjects={"50002"})
    assert [named.name for named in chosen] == ["50002/chicken_poses"]


def test_nothing_to_use_is_one_message_that_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no .npz or .bvh file here: it is empty\n.*\n.*stageii"):
        MotionLibrary.from_files([tmp_path])
    (tmp_path / "a.fbx").touch()
    with pytest.raises(InputError, match=r"no .npz or .bvh file here: only 1 .fbx\n"):
        MotionLibrary.from_files([tmp_path])
    np.savez(tmp_path / "shape.npz", betas=np.zeros(16))
    with pytest.raises(InputError, match=r"none of the files \(1 .npz\) can be used; the first reason: not a motion"):
        MotionLibrary.from_files([tmp_path])


def test_short_motions_are_left_out_and_only_short_ones_refused(tmp_path: Path) -> None:
    for name, frames in (("long", 61), ("short", 31)):
        save_amass(tmp_path / "a" / f"{name}_stageii.npz", frames)
    library = MotionLibrary.from_files([tmp_path])
    assert [named.name for named in library.at_least(2.0)] == ["a/long_stageii"]
    with pytest.raises(InputError, match=r"as a window needs \(2.50 s\)\n.*2 motions, the longest a/long_stageii"):
        library.at_least(2.5)
