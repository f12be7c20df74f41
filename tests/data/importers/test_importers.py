"""Every importer on a file of its published layout: where the pelvis is, what is up, rates, gaps, and bad files."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from tests.data.importers import published as p
from tests.motion.amass_sample import pelvis_path, save_amass, y_up
from unimo.body.names import JOINT_NAMES
from unimo.data.importers import importer
from unimo.data.importers.base import ImportedMotion, ImportOptions
from unimo.data.importers.bodies import at_pelvis, pelvis, to_y_up, turned
from unimo.errors import InputError
from unimo.media.video_writer import write_video
from unimo.motion.frames import joint_positions, transform
from unimo.motion.motion import Motion

HEAD = JOINT_NAMES.index("head")
RATE = ImportOptions(fps=25)


def read(name: str, source: Path, options: ImportOptions | None = None) -> list[ImportedMotion]:
    reader = importer(name)
    return [each for unit in reader.find(source) for each in reader.read(unit, options or ImportOptions())]


def in_world(motion: Motion) -> Motion:
    """The motion in its world, by the rule x_world = cam2world x_camera about the pelvis."""
    assert motion.axes == "camera" and motion.cam2world is not None
    rotation, offset = motion.cam2world[:, :3, :3].astype(np.float64), motion.cam2world[:, :3, 3]
    rest = pelvis(motion) - motion.transl
    return transform(motion, rotation, offset, rest, "world")


def open_body(motion: Motion) -> Motion:
    return at_pelvis(replace(motion, body="open", betas=np.zeros(10)), pelvis(motion))


def check_camera(motion: Motion, truth: p.Walk, rows: slice = slice(None)) -> None:
    """Pose, pelvis and upright picture in the camera, against the truth."""
    assert motion.axes == "camera"
    np.testing.assert_allclose(motion.body_pose, truth.body[rows], atol=1e-4)
    np.testing.assert_allclose(pelvis(motion), truth.camera_pelvis[rows], atol=1e-4)
    turn = Rotation.from_rotvec(motion.global_orient).inv() * Rotation.from_matrix(truth.camera_orient[rows])
    assert turn.magnitude().max() < 1e-4
    joints = joint_positions(open_body(motion))
    assert (joints[..., 2] > 1).all()
    height = joints[..., 1] / joints[..., 2]
    assert (height[:, HEAD] < height[:, 0]).all()  # higher in the picture


def check_world(motion: Motion, truth: p.Walk, rows: slice = slice(None), shift: bool = False) -> None:
    """Pelvis, root and y up in the world; `shift` allows a constant offset."""
    world = motion if motion.axes == "world" else in_world(motion)
    off = pelvis(world) - truth.pelvis[rows]
    np.testing.assert_allclose(off, np.broadcast_to(off[0] if shift else 0, off.shape), atol=2e-4)
    turn = Rotation.from_rotvec(world.global_orient).inv() * Rotation.from_matrix(truth.orient[rows])
    assert turn.magnitude().max() < 2e-4
    joints = joint_positions(open_body(world))
    assert (joints[:, HEAD, 1] > joints[:, 0, 1] + 0.3).all()


def check_trap(motion: Motion, truth: p.Walk, rest: np.ndarray, rows: slice = slice(None)) -> None:
    """The pelvis is right, and one whose translation was mapped without J0 would be far off."""
    np.testing.assert_allclose(pelvis(motion), truth.camera_pelvis[rows], atol=1e-4)
    world = truth.pelvis[rows] - rest
    naive = np.einsum("tij,tj->ti", truth.world2cam[rows, :3, :3], world) + truth.world2cam[rows, :3, 3] + rest
    assert np.linalg.norm(naive - pelvis(motion), axis=1).min() > 0.3


def video(path: Path, fps: float, frames: int = 8) -> Path:
    write_video(path, np.zeros((frames, 48, 64, 3), np.uint8), fps)
    return path


def test_gvhmr(tmp_path: Path):
    truth = p.walk()
    p.write_gvhmr(tmp_path / "dance", truth)
    (one,) = read("gvhmr", tmp_path, RATE)
    assert (one.name, one.subject, one.motion.fps, one.motion.body) == ("dance", "dance", 25, "smplx")
    check_camera(one.motion, truth)
    check_world(one.motion, truth)
    check_trap(one.motion, truth, p.SMPLX_J0)
    np.testing.assert_allclose(one.motion.cam2world, truth.cam2world, atol=2e-4)
    np.testing.assert_allclose(one.motion.intrinsics, p.INTRINSICS)
    # the camera's place without J0
    rotation = truth.cam2world[:, :3, :3]
    camera, world = truth.camera_pelvis - p.SMPLX_J0, truth.pelvis - p.SMPLX_J0
    naive = world - np.einsum("tij,tj->ti", rotation, camera)
    assert np.linalg.norm(naive - truth.cam2world[:, :3, 3], axis=1).min() > 0.3


def test_gvhmr_takes_its_rate_from_the_original_video_only(tmp_path: Path):
    p.write_gvhmr(tmp_path / "out/dance", p.walk(8))
    video(tmp_path / "out/dance/0_input_video.mp4", 30)  # as the demo relabels it
    with pytest.raises(InputError, match="every video 30 fps") as caught:
        read("gvhmr", tmp_path / "out")
    assert "--fps" in str(caught.value)
    original = video(tmp_path / "videos/dance.mp4", 24)
    (one,) = read("gvhmr", tmp_path / "out", ImportOptions(video=tmp_path / "videos"))
    assert one.motion.fps == pytest.approx(24) and one.video == str(original)


def test_gvhmr_runs_no_code(tmp_path: Path):
    sentinel, path = tmp_path / "ran", tmp_path / "hmr4d_results.pt"

    class Runs:
        def __reduce__(self):
            return open, (str(sentinel), "w")

    torch.save({"smpl_params_incam": Runs()}, path)
    with pytest.raises(InputError, match="safely"):
        read("gvhmr", path, RATE)
    assert not sentinel.exists()


def test_wham(tmp_path: Path):
    truth = p.walk()
    frames = np.concatenate([np.arange(10, 30), np.arange(50, 70)])  # not seen in between
    p.write_wham(tmp_path / "street", truth, frames)
    first, second = read("wham", tmp_path, RATE)
    assert (first.name, second.name) == ("street_3_f000010", "street_3_f000050")
    assert first.subject == second.subject == "street"
    np.testing.assert_array_equal(second.frames, np.arange(50, 70))
    for one, rows in ((first, slice(0, 20)), (second, slice(20, 40))):
        assert one.motion.fps == 25 and one.motion.body == "open" and not one.motion.betas.any()
        assert one.notes["betas"] == [0.5] * 10
        check_camera(one.motion, truth, rows)
        check_world(one.motion, truth, rows, shift=True)
        check_trap(one.motion, truth, p.SMPL_J0["neutral"], rows)
    # trans_world is the middle of the hips: taken for SMPL's translation, the pelvis would sink by 0.3 m
    assert np.linalg.norm(truth.orient @ p.MID_HIP + p.SMPL_J0["neutral"], axis=1).min() > 0.3
    lowest = min(joint_positions(in_world(each.motion))[..., 1].min() for each in (first, second))
    assert 0 < lowest < 0.12  # soles on the floor, joints above


def test_wham_takes_its_own_focal_length_from_the_video(tmp_path: Path):
    p.write_wham(tmp_path / "out/street", p.walk(6), np.arange(6))
    video(tmp_path / "videos/street.mp4", 24)
    (one,) = read("wham", tmp_path / "out", ImportOptions(video=tmp_path / "videos"))
    assert one.motion.fps == pytest.approx(24)
    np.testing.assert_allclose(one.motion.intrinsics, [[80, 0, 32], [0, 80, 24], [0, 0, 1]])


def test_amass_in_both_spellings_of_the_rate(tmp_path: Path):
    save_amass(tmp_path / "CMU/01/a_stageii.npz", 30, "smplx", 120)
    save_amass(tmp_path / "CMU/02/b_poses.npz", 30, "smplh", 60)
    np.savez(tmp_path / "CMU/01/a_stagei.npz", betas=np.zeros(16))
    np.savez(tmp_path / "CMU/01/shape.npz", betas=np.zeros(16))
    first, second = read("amass", tmp_path)
    assert (first.subject, first.motion.fps, first.motion.body) == ("CMU_01", 120, "smplx")
    assert (second.subject, second.motion.fps, second.motion.body) == ("CMU_02", 60, "open")
    assert first.gender == "female" and not first.motion.betas.any()  # not the neutral body's
    for one in (first, second):
        assert one.motion.axes == "world"
        np.testing.assert_allclose(pelvis(one.motion), y_up(pelvis_path(30)), atol=1e-4)
        joints = joint_positions(open_body(one.motion))
        assert (joints[:, HEAD, 1] > joints[:, 0, 1] + 0.3).all()
    # transl turned as if it were the pelvis
    rest = p.SMPLX_J0
    naive = y_up(pelvis_path(30) - rest) + rest
    assert np.linalg.norm(naive - pelvis(first.motion), axis=1).min() > 0.3
    with pytest.raises(InputError, match="120 frames/s, not 30"):
        read("amass", tmp_path / "CMU/01", ImportOptions(fps=30))


def test_threedpw(tmp_path: Path):
    truth, valid = p.walk(), np.ones(40, dtype=bool)
    valid[5:9] = False
    p.write_threedpw(tmp_path / "sequenceFiles/train/courtyard_walk_00.pkl", truth, valid)
    (one,) = read("3dpw", tmp_path)
    assert (one.name, one.subject, one.gender) == ("courtyard_walk_00_0", "3dpw_courtyard_walk_00_0", "female")
    assert one.motion.fps == 30 and one.motion.body == "open" and one.notes["up"] == "+z"
    np.testing.assert_array_equal(one.valid, valid)
    np.testing.assert_array_equal(one.frames, np.arange(40))  # not img_frame_ids, which are at 60 Hz
    check_camera(one.motion, truth)
    check_world(one.motion, truth)
    check_trap(one.motion, truth, p.SMPL_J0["female"])


def test_threedpw_holds_the_camera_where_it_is_broken(tmp_path: Path):
    truth = p.walk(20)
    content = p.threedpw_content(truth, np.ones(20, dtype=bool))
    content["cam_poses"][3:6] = np.nan
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({key.encode(): value for key, value in content.items()}))
    (one,) = read("3dpw", tmp_path)
    np.testing.assert_array_equal(np.flatnonzero(~one.valid), [3, 4, 5])
    check_world(one.motion, truth)  # right all the same
    check_camera(one.motion[6:], truth, slice(6, None))


def test_rich(tmp_path: Path):
    truth, frames = p.walk(20, moving=False), np.concatenate([np.arange(7, 17), np.arange(40, 50)])
    source = p.write_rich(tmp_path, truth, frames)
    first, second = read("rich", source)
    assert (first.name, first.subject, first.gender) == ("Gym_003_walk1_003_f000007", "rich_003", "male")
    assert second.frames is not None and second.frames[0] == 40 and first.motion.fps == 30
    assert not first.motion.betas.any() and first.notes["betas"] == [1.0] * 10
    for one, rows in ((first, slice(0, 10)), (second, slice(10, 20))):
        check_camera(one.motion, truth, rows)
        check_trap(one.motion, truth, p.SMPLX_J0, rows)
        assert one.notes["up"] == "+z"
        check_world(one.motion, truth, rows)
        np.testing.assert_allclose(one.motion.intrinsics, p.INTRINSICS)


def test_rich_without_its_world_has_none(tmp_path: Path):
    source = p.write_rich(tmp_path, p.walk(5, moving=False), np.arange(5))
    (tmp_path / "multicam2world/Gym_multicam2world.json").unlink()
    (tmp_path / "resource/gender.json").unlink()
    (one,) = read("rich", source)
    assert one.motion.cam2world is None and one.gender == "unknown" and not one.motion.betas.any()


def test_bedlam(tmp_path: Path):
    truth = p.walk()
    frames = np.concatenate([np.arange(0, 100, 5), np.arange(200, 300, 5)])  # 6 fps, once out of the picture
    p.write_bedlam(tmp_path / "20221010_closeup_suburb.npz", truth, frames)
    first, second = read("bedlam", tmp_path)
    assert first.motion.fps == 6 and first.subject == "bedlam_rp_aaron_posed_002"
    np.testing.assert_array_equal(second.frames, np.arange(200, 300, 5))
    assert first.notes["rotate_pictures"] == "90 degrees clockwise"
    np.testing.assert_allclose(first.motion.betas[0], np.linspace(0, 1, 11)[:10], atol=1e-6)
    for one, rows in ((first, slice(0, 20)), (second, slice(20, 40))):
        check_camera(one.motion, truth, rows)
        check_world(one.motion, truth, rows)
        np.testing.assert_allclose(one.motion.intrinsics, p.INTRINSICS)
    # trans_cam alone lacks the camera's distance
    alone = np.load(tmp_path / "20221010_closeup_suburb.npz")["trans_cam"][:20]
    assert np.linalg.norm(first.motion.transl - alone, axis=1).min() > 1
    check_trap(first.motion, truth, p.SMPLX_J0, slice(0, 20))


def test_bedlam_at_30_fps_and_with_a_zoom(tmp_path: Path):
    p.write_bedlam(tmp_path / "a.npz", p.walk(10), np.arange(10), zoom=True)
    (one,) = read("bedlam", tmp_path)
    assert one.motion.fps == 30 and one.motion.intrinsics is None and one.notes["focal"][-1] == 1350
    assert "rotate_pictures" not in one.notes
    with pytest.raises(InputError, match="not 6"):
        read("bedlam", tmp_path, ImportOptions(fps=6))


def test_dna_rendering(tmp_path: Path):
    pytest.importorskip("h5py")
    truth = p.walk(moving=False)
    p.write_dna_rendering(tmp_path / "0012_11_annots.smc", truth)
    (one,) = read("dna-rendering", tmp_path)
    assert (one.name, one.subject, one.gender, one.motion.fps) == ("0012_11", "dna_0012", "female", 15)
    assert one.notes["up"] == "-z" and not one.motion.betas.any()
    check_camera(one.motion, truth)
    check_trap(one.motion, truth, p.SMPLX_J0)
    check_world(one.motion, truth)


@pytest.mark.parametrize("cameras", [True, False])
def test_aist(tmp_path: Path, cameras: bool):
    truth = p.walk(moving=False)
    p.write_aist(tmp_path, truth, cameras)
    (one,) = read("aist", tmp_path)
    assert (one.subject, one.gender, one.motion.fps) == ("aist_d04", "male", 60)
    assert one.notes["scaling"] == 91
    check_world(one.motion, truth)
    if cameras:
        assert one.video == "gBR_sBM_c01_d04_mBR0_ch01.mp4"
        check_camera(one.motion, truth)
        check_trap(one.motion, truth, p.SMPL_J0["male"])
        np.testing.assert_allclose(one.motion.intrinsics, p.INTRINSICS)
    else:
        assert one.motion.axes == "world"


def test_aist_passes_over_what_it_could_not_fit(tmp_path: Path):
    path = p.write_aist(tmp_path, p.walk(5, moving=False))
    (tmp_path / "ignore_list.txt").write_text(path.stem + "\n")
    with pytest.raises(InputError, match="ignore_list"):
        read("aist", tmp_path)


def test_phalp(tmp_path: Path):
    truth = p.walk()
    rows = [*range(5, 20), *range(22, 40)]
    p.dump(p.phalp_content(truth, rows, ghosts=(20, 21)), tmp_path / "demo_clip.pkl", compress=3)
    first, second = read("phalp", tmp_path, RATE)
    assert (first.name, second.name, first.subject) == ("clip_4_f000005", "clip_4_f000022", "clip")
    np.testing.assert_array_equal(second.frames, np.arange(22, 40))  # ghosts are left out
    for one, part in ((first, slice(5, 20)), (second, slice(22, 40))):
        check_camera(one.motion, truth, part)
        check_trap(one.motion, truth, p.SMPL_J0["neutral"], part)
        assert one.motion.fps == 25 and one.motion.cam2world is None
        assert (one.motion.extras or {})["depth_is_not_metric"]
        focal = 5000 / 256 * 640
        np.testing.assert_allclose(one.motion.intrinsics, [[focal, 0, 320], [0, focal, 240], [0, 0, 1]])


def test_phalp_cuts_at_shots_and_wants_the_camera_of_the_whole_picture(tmp_path: Path):
    content = p.phalp_content(p.walk(10), list(range(10)))
    content["/tmp/clip/000005.jpg"]["shot"] = 1
    p.dump(content, tmp_path / "demo_clip.pkl")
    assert [len(one.motion) for one in read("phalp", tmp_path, RATE)] == [4, 6]
    for picture in content.values():
        del picture["camera"]
    p.dump(content, tmp_path / "demo_clip.pkl")
    with pytest.raises(InputError, match="camera_bbox only"):
        read("phalp", tmp_path, RATE)


def test_human4dit(tmp_path: Path):
    clip = "BV14s411S7aV_p2_3_00:00:00.000_00:00:04.371"
    address = "https://www.bilibili.com/video/BV14s411S7aV"
    lines = ["video_url,part,clip,start_time,end_time,smpl_file", f"{address},2,3,00:00.0,00:04.4,demo_{clip}.pkl"]
    lines += [f"{address},2,4,00:04.4,00:09.0,demo_gone.pkl", f"{address},2,5,00:09.0,00:11.0,../demo_empty.pkl"]
    (tmp_path / "videos.csv").write_text("\n".join(lines))
    p.dump(p.phalp_content(p.walk(10), list(range(10))), tmp_path / f"smpl/demo_{clip}.pkl", compress=3)
    (tmp_path / "smpl/demo_empty.pkl").write_bytes(b"")
    reader = importer("human4dit")
    whole, empty, gone = reader.find(tmp_path)
    (one,) = reader.read(whole, RATE)
    assert (one.subject, one.video) == ("BV14s411S7aV", f"{clip}.mp4")
    assert one.notes["end_time"] == "00:04.4" and one.notes["video_url"] == address
    check_camera(one.motion, p.walk(10))
    with pytest.raises(InputError, match="empty, as the published ones are"):
        list(reader.read(empty, RATE))
    with pytest.raises(InputError, match="not here"):
        list(reader.read(gone, RATE))


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("sign", [1, -1])
def test_the_axis_that_is_up_is_found(axis: int, sign: int):
    truth = p.walk(6)
    pose = p.smpl_pose(truth.orient, truth.body)
    upright = Motion(truth.body, np.zeros(10), pose[:, :3], truth.pelvis, 30, axes="world")
    up = sign * np.eye(3)[axis]
    lay = Rotation.align_vectors([up], [[0, 1, 0]])[0].as_matrix()
    rotation, found = to_y_up(turned(upright, lay))
    assert found == f"{'+' if sign > 0 else '-'}{'xyz'[axis]}"
    np.testing.assert_allclose(rotation @ up, [0, 1, 0], atol=1e-9)
    assert np.linalg.det(rotation) == pytest.approx(1)


def test_people_who_lie_do_not_say_what_is_up():
    turns = np.outer(np.linspace(0, 2 * np.pi, 12, endpoint=False), [1, 0, 0])
    rolling = Motion(np.zeros((12, 21, 3)), np.zeros(10), turns, np.zeros((12, 3)), 30, axes="world")
    with pytest.raises(InputError, match="which axis"):
        to_y_up(rolling)


def test_records_are_json(tmp_path: Path):
    path = p.write_aist(tmp_path, p.walk(5, moving=False))
    (one,) = read("aist", path)
    assert json.loads(json.dumps(one.notes)) == one.notes
