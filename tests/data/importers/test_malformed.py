"""Files that are broken or of another kind: every importer says so with an `InputError`, whatever is in them."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.data.importers import published as p
from tests.data.importers.test_importers import RATE, read
from unimo.data.importers import FORMATS, importer
from unimo.data.importers.base import ImportOptions
from unimo.errors import InputError

JUNK = (None, "x", [], {}, np.zeros(0), np.array(np.nan), np.zeros((2, 2)), [np.zeros(3)], 10**400)


def remove(key: str) -> Callable[[dict], None]:
    return lambda content: content.pop(key)


def spoil(key: str, value: Any) -> Callable[[dict], None]:
    return lambda content: content.update({key: value})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (remove("cam_poses"), "no cam_poses"),
        (spoil("poses", []), "list of people"),
        (spoil("poses", [np.zeros((20, 70))]), r"shape \(20, 70\)"),
        (spoil("trans", [np.zeros((19, 3))]), "common length"),
        (spoil("trans", [np.full((20, 3), np.nan)]), "NaN"),
        (spoil("trans", ["text"]), "array of numbers"),
        (spoil("genders", []), "no person 0"),
        (spoil("cam_poses", np.zeros((20, 4, 4))), "no frame has a camera"),
    ],
)
def test_malformed_pickles(tmp_path: Path, change: Callable[[dict], None], words: str):
    content = p.threedpw_content(p.walk(20), np.ones(20, dtype=bool))
    change(content)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match=words):
        read("3dpw", tmp_path)


def test_malformed_arrays_and_rates_of_the_rest(tmp_path: Path):
    truth = p.walk(8)
    results = torch.load(p.write_gvhmr(tmp_path / "g", truth), weights_only=True)
    torch.save({**results, "smpl_params_global": {}}, tmp_path / "g/hmr4d_results.pt")
    with pytest.raises(InputError, match="smpl_params_global has no body_pose"):
        read("gvhmr", tmp_path / "g", RATE)
    path = p.write_wham(tmp_path / "w", truth, np.array([1, 2, 3, 3, 4, 5, 6, 7]))
    with pytest.raises(InputError, match="do not rise"):
        read("wham", path, RATE)
    with pytest.raises(InputError, match="--fps RATE"):
        read("wham", path)
    np.savez(tmp_path / "b.npz", imgname=["a/a_0001.png"])
    with pytest.raises(InputError, match="no pose_cam"):
        read("bedlam", tmp_path / "b.npz")
    content = p.phalp_content(truth, list(range(8)))
    content["/tmp/clip/000001.jpg"]["smpl"][0]["body_pose"] = np.zeros((23, 3, 3))
    p.dump(content, tmp_path / "demo_clip.pkl")
    with pytest.raises(InputError, match="no rotations"):
        read("phalp", tmp_path, RATE)
    (tmp_path / "list.csv").write_text("a,b\n")
    with pytest.raises(InputError, match="its rows are not"):
        read("human4dit", tmp_path / "list.csv")


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "human4dit"])
@pytest.mark.parametrize("content", [b"", b"\x80\x04}.", b"PK\x03\x04", b"no such thing"])
def test_empty_and_foreign_files(tmp_path: Path, name: str, content: bytes):
    if name == "dna-rendering":
        pytest.importorskip("h5py")
    path = tmp_path / "seq/00001/003.pkl"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(InputError):
        read(name, tmp_path if name == "rich" else path, ImportOptions())


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_there(tmp_path: Path, name: str):
    with pytest.raises(InputError):
        importer(name).find(tmp_path)
    with pytest.raises(InputError):
        importer(name).find(tmp_path / "missing")


def test_unknown_format():
    with pytest.raises(InputError, match="unknown format 'bvh'") as caught:
        importer("bvh")
    assert "gvhmr" in (caught.value.fix or "")


def places(content: Any) -> Iterator[tuple]:
    """Every key and index in nested dictionaries and lists."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in pairs:
        yield (key,)
        yield from ((key, *rest) for rest in places(value))


def contents() -> dict[str, dict]:
    truth = p.walk(4)
    pictures = p.phalp_content(truth, [0, 1])
    return {
        "3dpw": p.threedpw_content(truth, np.ones(4, dtype=bool)),
        "phalp": {key: pictures[key] for key in list(pictures)[:2]},
    }


@pytest.mark.parametrize("name", ["3dpw", "phalp"])
def test_junk_in_any_place_is_an_input_error(tmp_path: Path, name: str):
    content, options = contents()[name], RATE if name == "phalp" else ImportOptions()
    path, refused = tmp_path / "demo_a.pkl", 0
    path.write_bytes(pickle.dumps(content))
    assert read(name, path, options)
    for place in places(content):
        for junk in JUNK:
            spoiled = copy.deepcopy(content)
            inner: Any = spoiled
            for key in place[:-1]:
                inner = inner[key]
            inner[place[-1]] = junk
            path.write_bytes(pickle.dumps(spoiled))
            try:
                read(name, path, options)
            except InputError:
                refused += 1
    assert refused > 80
