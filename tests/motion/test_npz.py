"""`motion.npz`: exact round trip, AMASS files, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unimo.errors import InputError
from unimo.motion.frames import joint_positions, pelvis_positions
from unimo.motion.npz import SMPLH_REST_PELVIS, SMPLX_REST_PELVIS, load_motion, save_motion


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    frames=st.integers(1, 30),
    fps=st.sampled_from([15, 23.976, 30000 / 1001, 120]),
    axes=st.sampled_from(["camera", "world"]),
    body=st.sampled_from(["open", "smplx"]),
    full=st.booleans(),
)
def test_a_saved_motion_comes_back_bit_for_bit(make_motion, tmp_path, frames, fps, axes, body, full):
    fields = {}
    if full:
        fields = {
            "betas": np.random.default_rng(0).normal(size=(frames, 10)),
            "cam2world": np.tile(np.eye(4), (frames, 1, 1)),
            "intrinsics": np.eye(3) * 100,
            "extras": {"world_is_assumed": True, "note": "ü"},
        }
    motion = make_motion(frames, fps=fps, axes=axes, body=body, **fields)
    save_motion(tmp_path / "motion.npz", motion)
    again = load_motion(tmp_path / "motion.npz")
    for name in ("body_pose", "betas", "global_orient", "transl", "cam2world", "intrinsics"):
        np.testing.assert_array_equal(getattr(again, name), getattr(motion, name))
    assert (again.fps, again.axes, again.body, again.extras) == (motion.fps, axes, body, motion.extras)


def test_the_file_has_the_keys_that_amass_readers_want(make_motion, tmp_path):
    motion = make_motion(7, fps=24)
    save_motion(tmp_path / "out" / "motion.npz", motion)
    with np.load(tmp_path / "out" / "motion.npz", allow_pickle=False) as file:
        assert file["poses"].shape == (7, 165) and file["trans"].shape == (7, 3) and file["betas"].shape == (10,)
        np.testing.assert_array_equal(file["poses"][:, :3], file["root_orient"])
        np.testing.assert_array_equal(file["poses"][:, 3:66], file["pose_body"])
        assert not file["poses"][:, 66:].any()
        assert file["mocap_frame_rate"] == 24 and str(file["gender"]) == "neutral"
        assert str(file["surface_model_type"]) == "smplx" and str(file["axes"]) == "camera"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["motion.npz"]


def test_the_same_motion_is_the_same_file(make_motion, tmp_path):
    for name in ("a.npz", "b.npz"):
        save_motion(tmp_path / name, make_motion(7))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def standing_z_up(frames: int, width: int, rest: np.ndarray) -> dict[str, np.ndarray]:
    """A person who stands still at (1, 2, 0.9), z up, facing -y."""
    poses = np.zeros((frames, width))
    poses[:, 0] = np.pi / 2
    return {"poses": poses, "trans": np.tile(np.array([1, 2, 0.9]) - rest, (frames, 1)), "betas": np.ones(16)}


@pytest.mark.parametrize("key", ["mocap_framerate", "mocap_frame_rate"])
def test_an_smplh_file_becomes_a_y_up_motion_of_the_open_body(tmp_path, key):
    np.savez(
        tmp_path / "walk_poses.npz",
        **standing_z_up(4, 156, SMPLH_REST_PELVIS),
        gender=np.array(b"male"),
        dmpls=np.zeros((4, 8)),
        **{key: 120.0},
    )
    motion = load_motion(tmp_path / "walk_poses.npz")
    assert (motion.axes, motion.body, motion.fps, len(motion)) == ("world", "open", 120, 4)
    assert motion.extras == {"source": "amass", "source_model": "smplh", "source_gender": "male"}
    np.testing.assert_allclose(pelvis_positions(motion), np.tile([1, 0.9, -2], (4, 1)), atol=1e-5)
    np.testing.assert_allclose(motion.rotations()[:, 0], np.tile(np.eye(3), (4, 1, 1)), atol=1e-6)
    joints = joint_positions(motion)[0]
    assert joints[15, 1] > joints[0, 1] > joints[10, 1]


def test_an_smplx_file_keeps_its_betas(tmp_path, monkeypatch):
    monkeypatch.delenv("UNIMO_BODY_DIR", raising=False)
    data = standing_z_up(3, 165, SMPLX_REST_PELVIS)
    np.savez(tmp_path / "walk_stageii.npz", **data, gender="neutral", surface_model_type="smplx", mocap_frame_rate=60.0)
    motion = load_motion(tmp_path / "walk_stageii.npz")
    assert (motion.axes, motion.body, motion.fps) == ("world", "smplx", 60)
    np.testing.assert_array_equal(motion.betas, np.ones((3, 10)))
    # the licensed body, when it is here, gives another rest pelvis by a few centimetres
    np.testing.assert_allclose(motion.transl + SMPLX_REST_PELVIS, np.tile([1, 0.9, -2], (3, 1)), atol=0.1)


def test_root_orient_and_pose_body_stand_for_poses(tmp_path):
    data = standing_z_up(3, 156, SMPLH_REST_PELVIS)
    poses = data.pop("poses")
    np.savez(tmp_path / "a.npz", **data, root_orient=poses[:, :3], pose_body=poses[:, 3:66], fps=30)
    assert load_motion(tmp_path / "a.npz").body == "smplx"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"poses": np.zeros((3, 75))}, r"poses has shape \(3, 75\)"),
        ({"trans": np.zeros((2, 3))}, "expected"),
        ({"poses": np.zeros((0, 165)), "trans": np.zeros((0, 3))}, "at least one frame"),
        ({"trans": np.full((3, 3), np.nan)}, "transl holds a value that is NaN"),
        ({"betas": np.zeros(4)}, r"betas has shape \(4,\)"),
        ({"fps": None}, "does not say its frame rate"),
        ({"mocap_framerate": 60.0}, "two frame rates"),
        ({"fps": -1.0}, "positive"),
        ({"fps": np.array("30")}, "fps is not one number"),
        ({"trans": None}, "not a motion"),
        ({"axes": "sideways"}, "axes 'sideways'"),
        ({"axes": 3}, "axes is not a text"),
        ({"body": "smpl", "axes": "world"}, "body 'smpl'"),
        ({"extras": "{", "axes": "world"}, "extras is not JSON"),
        ({"unimo_format": 99, "axes": "world"}, "newer than this program"),
        ({"betas": np.array([{"a": 1}], dtype=object)}, "betas holds pickled Python objects"),
    ],
)
def test_malformed_files_are_refused_with_their_path(tmp_path, change, message):
    data = {**standing_z_up(3, 165, SMPLX_REST_PELVIS), "fps": 30.0, **change}
    path = tmp_path / "bad.npz"
    np.savez(path, **{key: value for key, value in data.items() if value is not None})
    with pytest.raises(InputError, match=message) as caught:
        load_motion(path)
    assert "bad.npz" in str(caught.value)


def test_unreadable_files_are_refused(tmp_path, make_motion):
    save_motion(tmp_path / "good.npz", make_motion(5))
    whole = (tmp_path / "good.npz").read_bytes()
    files = {
        "empty.npz": b"",
        "text.npz": b"not a zip file",
        "cut.npz": whole[: len(whole) // 2],
        "flipped.npz": whole[:900] + bytes(200) + whole[1100:],
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name):
            load_motion(tmp_path / name)
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(InputError, match="not a .npz file"):
        load_motion(tmp_path / "one.npy")
    with pytest.raises(InputError, match="no motion file here"):
        load_motion(tmp_path / "absent.npz")


def test_extras_that_are_not_json_leave_no_file(tmp_path, make_motion):
    with pytest.raises(InputError, match="cannot be written as JSON"):
        save_motion(tmp_path / "motion.npz", make_motion(3, extras={"array": np.zeros(2)}))
    assert not list(tmp_path.iterdir())


def test_a_pose_said_twice_must_be_the_same(tmp_path, make_motion):
    save_motion(tmp_path / "good.npz", make_motion(5))
    with np.load(tmp_path / "good.npz") as data:
        arrays = dict(data)
    load_motion(tmp_path / "good.npz")
    for value in (np.nan, 0.5):
        poses = arrays["poses"].copy()
        poses[3, 3] += value
        np.savez(tmp_path / "bad.npz", **{**arrays, "poses": poses})
        with pytest.raises(InputError, match="poses differs from root_orient and pose_body"):
            load_motion(tmp_path / "bad.npz")
