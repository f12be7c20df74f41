"""What motions show, in words: an `index.csv` in the folder, in the zip or beside it, and indices that are no good."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from tests.motion.amass_sample import save_amass
from unimo.motion.files import MotionFile, find_files
from unimo.motion.library import MotionLibrary

INDEX = 'subject,clip,seconds,description\n07,walk_poses,3.1,"walks, then ""stops"""\n07, run_poses ,1,  runs \n'


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    for name in ("walk_poses", "run_poses", "other_poses"):
        save_amass(tmp_path / "subject" / f"{name}.npz", 20)
    return tmp_path / "subject"


def texts(source: Path) -> dict[str, str]:
    return {Path(file.member or file.path).stem: file.text for file in find_files([source])}


def test_the_index_in_the_folder_is_read_with_its_quotes(folder: Path) -> None:
    (folder / "index.csv").write_text("\ufeff" + INDEX, encoding="utf-8")
    assert texts(folder) == {"walk_poses": 'walks, then "stops"', "run_poses": "runs", "other_poses": ""}
    library = MotionLibrary.from_files([folder])
    assert {named.name: named.text for named in library}["subject/walk_poses"] == 'walks, then "stops"'


@pytest.mark.parametrize("where", ["beside", "same folder", "top"])
def test_the_index_of_a_zip_lies_in_it_or_beside_it(folder: Path, tmp_path: Path, where: str) -> None:
    path = tmp_path / "packs" / "pack.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("walk_poses", "other_poses"):
            archive.write(folder / f"{name}.npz", f"deep/{name}.npz")
        if where != "beside":
            archive.writestr("deep/index.csv" if where == "same folder" else "index.csv", INDEX)
    if where == "beside":
        (path.parent / "index.csv").write_text(INDEX)
    else:  # the one inside is nearer
        (path.parent / "index.csv").write_text("clip,description\nwalk_poses,wrong\nother_poses,beside\n")
    assert texts(path) == {
        "walk_poses": 'walks, then "stops"', "other_poses": "" if where == "beside" else "beside",
    }  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [b"", b"clip\nwalk_poses\n", b"name,description\nwalk_poses,walks\n", b"\x00\xff\xfe\x81",
     b'clip,description\n"walk', b"clip,description\nwalk_poses,   \n",
     b"clip,description\nwalk_poses," + b"x" * 200_000],
)  # fmt: skip
def test_an_index_that_is_no_good_is_no_index(folder: Path, content: bytes) -> None:
    (folder / "index.csv").write_bytes(content)
    assert set(texts(folder).values()) == {""}


def test_bytes_that_are_no_utf8_and_rows_too_long_do_not_spoil_the_others(folder: Path) -> None:
    (folder / "index.csv").write_bytes(b"clip,description\nother_poses,caf\xe9\nwalk_poses,walks,one,more\nrun_poses\n")
    assert texts(folder) == {"walk_poses": "walks", "run_poses": "", "other_poses": "caf\ufffd"}


def test_a_changed_index_is_read_anew(folder: Path) -> None:
    index = folder / "index.csv"
    file = MotionFile(folder / "walk_poses.npz")
    assert file.text == ""
    for time, word in ((1_000_000_000, "walks"), (2_000_000_000, "strolls")):
        index.write_text(f"clip,description\nwalk_poses,{word}\n")
        os.utime(index, (time, time))
        assert file.text == word
