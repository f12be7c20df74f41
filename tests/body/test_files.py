"""The licensed body's file: found, read without pickle, or a message that says what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unimo.body import BodyModel, load_body
from unimo.body.files import REQUIRED_KEYS, SMPLX_FILE, licensed_body_path, read_numeric_body
from unimo.errors import InputError, MissingAssetError


@pytest.fixture()
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    load_body("open")  # from the real cache, before it is changed
    monkeypatch.setenv("UNIMO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("UNIMO_BODY_DIR", raising=False)
    return tmp_path


def _some_body(extra_object: bool = False) -> dict[str, np.ndarray]:
    """The open body under the licensed name, with the pickled tables that the real file also holds."""
    with np.load(load_body("open").path, allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    arrays["posedirs"] = np.zeros((len(arrays["v_template"]), 3, 486), np.float32)
    arrays["posedirs"][:100, 0, 5] = 0.01
    if extra_object:
        arrays["part2num"] = np.array({"head": 15}, dtype=object)
    return arrays


def test_missing_file_names_the_places_and_the_remedy(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNIMO_BODY_DIR", str(empty_cache / "mine"))
    with pytest.raises(MissingAssetError) as caught:
        licensed_body_path()
    text = str(caught.value)
    assert str(empty_cache / "mine" / SMPLX_FILE) in text
    assert str(empty_cache / "cache" / "bodies" / SMPLX_FILE) in text
    assert "https://smpl-x.is.tue.mpg.de" in text and "UNIMO_BODY_DIR" in text


@pytest.mark.filterwarnings("ignore")
def test_file_is_rewritten_without_pickle_and_its_pose_directions_count(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    arrays = _some_body(extra_object=True)
    folder = empty_cache / "mine"
    folder.mkdir()
    np.savez(folder / SMPLX_FILE, **arrays)
    monkeypatch.setenv("UNIMO_BODY_DIR", str(folder))
    path = licensed_body_path()
    assert path.parent == empty_cache / "cache" / "bodies"
    with np.load(path, allow_pickle=False) as copy:
        assert "part2num" not in copy.files
        assert all(np.array_equal(copy[key], arrays[key]) for key in REQUIRED_KEYS)
    body = BodyModel("smplx", path)
    pose = torch.randn(2, 22, 3, generator=torch.Generator().manual_seed(0)) * 0.4
    from unimo.geometry.rotations import axis_angle_to_matrix

    with torch.no_grad():
        expected = body.smplx(batch_size=2)(
            betas=torch.zeros(2, 10), global_orient=pose[:, 0], body_pose=pose[:, 1:].flatten(1),
            transl=torch.zeros(2, 3),
        )  # fmt: skip
    vertices = body.vertices(axis_angle_to_matrix(pose), torch.zeros(2, 10), torch.zeros(2, 3))
    assert (vertices - expected.vertices).abs().max() < 1e-5
    assert (vertices - load_body("open").vertices(axis_angle_to_matrix(pose), torch.zeros(2, 10), torch.zeros(2, 3))
            ).abs().max() > 1e-4  # fmt: skip


def test_pickled_array_is_refused(tmp_path: Path) -> None:
    arrays = {key: np.zeros(3) for key in REQUIRED_KEYS}
    arrays["weights"] = np.array({"a": 1}, dtype=object)
    np.savez(tmp_path / "body.npz", **arrays)
    with pytest.raises(InputError, match="without pickle"):
        read_numeric_body(tmp_path / "body.npz")


def test_incomplete_file_and_no_npz_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "body.npz", v_template=np.zeros(3))
    with pytest.raises(InputError, match="lacks the arrays f, shapedirs"):
        read_numeric_body(tmp_path / "body.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(InputError, match="cannot be read"):
        read_numeric_body(tmp_path / "text.npz")
