"""The library on BVH: what it finds, whom it takes, what it keeps, and what it says of files it cannot use."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.motion.cmu_sample import standing
from unimo.body import load_body
from unimo.errors import InputError
from unimo.motion import files as files_module
from unimo.motion.files import subject_of
from unimo.motion.library import MotionLibrary


@pytest.fixture()
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A zip of two subjects' clips, and a cache of its own."""
    load_body("open").low_poly(1000)  # from the real cache, before it is changed
    monkeypatch.setenv("UNIMO_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "pack.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("cmu_02_01.bvh", standing(3))
        archive.writestr("deep/cmu_60_04_p1.bvh", standing(4, lradius=(0, -45, 0)))
        archive.writestr("README.txt", "no motion")
    return path


@pytest.mark.parametrize(
    ("name", "subject"), [("cmu_02_01", "02"), ("35_12", "35"), ("cmu_60_04_p1", "60"), ("walk", "walk")]
)
def test_subject_is_read_from_the_name(name: str, subject: str) -> None:
    assert subject_of(name) == subject


def test_clips_come_from_zips_in_order_and_are_kept(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    first = MotionLibrary.from_files([pack], progress=lambda done, total: seen.append((done, total)))
    assert [named.name for named in first] == ["cmu_02_01", "cmu_60_04_p1"]
    assert first.subjects == ("02", "60") and seen == [(1, 2), (2, 2)] and first.skipped == ()
    assert first[0].motion.axes == "world" and len(first[1].motion) == 4

    def never(*args: object) -> None:
        raise AssertionError("the cache was not used")

    monkeypatch.setattr(files_module, "retarget", never)
    again = MotionLibrary.from_files([pack])
    assert np.array_equal(again[1].motion.body_pose, first[1].motion.body_pose)


def test_subjects_are_chosen(pack: Path) -> None:
    assert [named.subject for named in MotionLibrary.from_files([pack], subjects={"02"})] == ["02"]
    with pytest.raises(InputError, match="have no subject 99\n.*\n.*out of: 02, 60"):
        MotionLibrary.from_files([pack], subjects={"02", "99"})


def test_a_damaged_cache_is_made_anew(pack: Path, tmp_path: Path) -> None:
    first = MotionLibrary.from_files([pack])
    kept = sorted((tmp_path / "cache" / "retargeted").iterdir())
    kept[0].write_bytes(b"PK")
    kept[1].write_bytes(kept[1].read_bytes()[:-400])
    again = MotionLibrary.from_files([pack])
    assert len(again) == 2 and again.skipped == ()
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.motion.body_pose, other.motion.body_pose)


def test_unusable_clips_are_listed_with_their_reason(pack: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "b_1.bvh").write_text(standing(2).replace("rtoes", "RightToe"))
    (folder / "c_1.bvh").write_bytes(b"\xff\xfe\x00")
    (folder / "d_1.bvh").write_text(standing(2))
    (folder / "e_1.bvh").write_text(standing(2).replace("3 Zrotation Yrotation", "3 Zrotation Zrotation", 1))
    found = MotionLibrary.from_files([folder])
    assert [named.name for named in found] == ["d_1"]
    assert [name for name, _ in found.skipped] == ["b_1", "c_1", "e_1"]
    assert "it holds no motion that can be used" in found.skipped[2][1]
    assert "lacks the joints rtoes" in found.skipped[0][1] and "not text" in found.skipped[1][1]


def test_missing_source_and_wrong_kind_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such motion file or folder"):
        MotionLibrary.from_files([tmp_path / "none"])
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(InputError, match="must be .npz or .bvh files"):
        MotionLibrary.from_files([tmp_path / "a.txt"])
