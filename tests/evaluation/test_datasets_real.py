"""Real data sets as clips: the published layouts with a few pictures become windows with the true camera and motion."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.importers import published
from unimo.bundle import load_bundle
from unimo.data.clips import load_clips
from unimo.data.importers.bodies import pelvis
from unimo.errors import InputError
from unimo.evaluation import datasets_real as module
from unimo.evaluation.conventions import under_own_names
from unimo.evaluation.datasets import clips_of
from unimo.evaluation.datasets_pictures import CentredSquare, ImageFolder
from unimo.evaluation.datasets_real import on_body
from unimo.evaluation.outcome import save_evaluation
from unimo.evaluation.report import run_evaluation
from unimo.evaluation.request import ClipSource
from unimo.motion.motion import Motion
from unimo.motion.npz import load_motion

SETTINGS = load_bundle("debug").settings  # 9 frames at 15 per second, 32 pixels: 17 rows at 30
HEIGHT, WIDTH = 480, 640
pytestmark = pytest.mark.usefixtures("empty_cache")


def write_pictures(folder: Path, names: list[str]) -> None:
    """Grey pictures, each 5 brighter than the one before."""
    folder.mkdir(parents=True)
    for index, name in enumerate(names):
        Image.new("RGB", (WIDTH, HEIGHT), (5 * index,) * 3).save(folder / name)


@pytest.fixture
def threedpw(tmp_path: Path) -> tuple[Path, object]:
    truth = published.walk(60)
    valid = np.ones(60, bool)
    valid[40] = False
    root = tmp_path / "3dpw"
    published.write_threedpw(root / "sequenceFiles/test/courtyard_walk_00.pkl", truth, valid)
    published.write_threedpw(root / "sequenceFiles/train/downtown_00.pkl", truth, valid)
    write_pictures(root / "imageFiles/courtyard_walk_00", [f"image_{i:05d}.jpg" for i in range(51)])
    return root, truth


def grey(folder: Path) -> np.ndarray:
    """(N,T) brightness in the middle of the pictures."""
    frames = load_clips(folder).frames
    return frames[:, :, 16, 16].mean(-1)


def test_windows_of_3dpw_have_their_pictures_motion_and_camera(threedpw: tuple) -> None:
    root, truth = threedpw
    write_pictures_left(root)
    folder, about = clips_of(ClipSource(dataset="3dpw", data=root), SETTINGS)
    # rows 0-39 hold two windows of 17 rows, 41-59 one; only the test sequences are read
    assert about["windows"] == 3 and about["name"] == "3dpw" and "field_protocol_not_followed" in about
    clips = load_clips(folder, None, SETTINGS.frames, SETTINGS.fps, SETTINGS.side, "open")
    starts = [0, 17, 41]
    expected = np.array([[5.0 * min(start + 2 * step, 50) for step in range(9)] for start in starts])
    assert [record["source"] for record in clips.records] == [f"courtyard_walk_00_0_{i:06d}" for i in starts]
    np.testing.assert_allclose(grey(folder)[:2], expected[:2], atol=3)
    for row, start in enumerate(starts[:2]):
        motion = load_motion(folder / "clips" / f"{row:06d}" / "motion.npz")
        rows = start + 2 * np.arange(9)
        np.testing.assert_allclose(pelvis(motion), truth.camera_pelvis[rows], atol=2e-3)
        np.testing.assert_allclose(motion.body_pose, truth.body[rows], atol=2e-3)
        assert motion.cam2world is not None and motion.intrinsics is not None
        # 900 pixels of 640 are 45 of 32, and the principal point is in the middle
        np.testing.assert_allclose(motion.intrinsics, [[45, 0, 16], [0, 45, 16], [0, 0, 1]], atol=1e-4)
    assert not clips.masks(np.arange(3)).any()


def test_missing_pictures_are_named(threedpw: tuple) -> None:
    root, _ = threedpw
    for path in (root / "imageFiles/courtyard_walk_00").glob("image_0003*.jpg"):
        path.unlink()
    with pytest.raises(InputError, match="picture 31 is not here"):
        clips_of(ClipSource(dataset="3dpw", data=root), SETTINGS)


def test_a_second_call_reads_the_cache_and_a_count_spreads_over_the_set(threedpw: tuple) -> None:
    root, _ = threedpw
    write_pictures_left(root)
    two, _ = clips_of(ClipSource(dataset="3dpw", data=root), SETTINGS, count=2)
    sources = [json.loads(line)["source"] for line in (two / "manifest.jsonl").read_text().splitlines()]
    assert sources == ["courtyard_walk_00_0_000000", "courtyard_walk_00_0_000041"]
    for path in (root / "imageFiles/courtyard_walk_00").iterdir():
        path.unlink()
    again, _ = clips_of(ClipSource(dataset="3dpw", data=root), SETTINGS, count=2)
    assert again == two
    with pytest.raises(InputError, match="picture 0 is not here"):
        clips_of(ClipSource(dataset="3dpw", data=root), SETTINGS, count=1)


def write_pictures_left(root: Path) -> None:
    for index in range(51, 60):
        Image.new("RGB", (WIDTH, HEIGHT)).save(root / f"imageFiles/courtyard_walk_00/image_{index:05d}.jpg")


def test_two_people_in_a_picture_are_nobodys_clip(tmp_path: Path) -> None:
    truth = published.walk(40)
    content = published.threedpw_content(truth, np.ones(40, bool))
    for key in ("poses", "trans", "betas", "genders", "campose_valid"):
        content[key] = content[key] * 2
    path = tmp_path / "3dpw/sequenceFiles/test/two_00.pkl"
    path.parent.mkdir(parents=True)
    path.write_bytes(published.python_two(content))
    with pytest.raises(InputError, match="no window of 9 frames that can be used: stretches with more than one"):
        clips_of(ClipSource(dataset="3dpw", data=tmp_path / "3dpw"), SETTINGS)


def test_windows_of_rich_go_to_the_bundles_body_and_keep_the_pelvis(tmp_path: Path) -> None:
    truth = published.walk(20, moving=False)
    frames = np.arange(100, 120)
    root = tmp_path / "rich"
    published.write_rich(root, truth, frames)
    write_pictures(root / "images/train/Gym_003_walk1/cam_00", [f"{frame:05d}_00.jpeg" for frame in frames])
    folder, about = clips_of(ClipSource(dataset="rich", data=root), SETTINGS)
    assert about["windows"] == 1
    motion = load_motion(folder / "clips/000000/motion.npz")
    assert motion.body == "open" and not motion.betas.any()
    np.testing.assert_allclose(pelvis(motion), truth.camera_pelvis[:17:2], atol=2e-3)
    np.testing.assert_allclose(grey(folder)[0], 10.0 * np.arange(9), atol=3)
    # a frame that was fetched anew makes another set, though the folder of its sequence is as it was
    assert clips_of(ClipSource(dataset="rich", data=root), SETTINGS)[0] == folder
    frame = next(root.rglob("00105/*.pkl"))
    os.utime(frame, ns=(0, frame.stat().st_mtime_ns + 10**9))
    assert clips_of(ClipSource(dataset="rich", data=root), SETTINGS)[0] != folder


def test_two_runs_at_once_make_one_set(threedpw: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    root, _ = threedpw
    write_pictures_left(root)
    written, whole = [], module.write_clip
    monkeypatch.setattr(module, "write_clip", lambda folder, *rest: (written.append(folder), whole(folder, *rest)))
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(clips_of, ClipSource(dataset="3dpw", data=root), SETTINGS) for _ in range(2)]
    assert runs[0].result() == runs[1].result() and [path.name for path in written] == ["000000", "000001", "000002"]


def test_a_set_that_was_not_finished_is_made_again(threedpw: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    root, _ = threedpw
    write_pictures_left(root)
    source, whole = ClipSource(dataset="3dpw", data=root), module.write_clip

    def fails_at_the_second(folder: Path, *arguments: object) -> None:
        if folder.name == "000001":
            raise KeyboardInterrupt
        whole(folder, *arguments)

    monkeypatch.setattr(module, "write_clip", fails_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        clips_of(source, SETTINGS)
    monkeypatch.setattr(module, "write_clip", whole)
    assert len(load_clips(clips_of(source, SETTINGS)[0])) == 3


def test_human4dit_takes_its_videos_and_says_that_its_truth_is_an_estimate(tmp_path: Path) -> None:
    from unimo.media.video_writer import write_video

    truth = published.walk(20, moving=False)
    root = tmp_path / "h4d"
    published.dump(published.phalp_content(truth, list(range(20))), root / "demo_clip_0001.pkl")
    (root / "list.csv").write_text("https://x/video/BV1,1,clip_0001,0,1,demo_clip_0001.pkl\n")
    greys = (np.arange(20) * 5)[:, None, None, None].astype(np.uint8)
    write_video(root / "clip_0001.mp4", np.broadcast_to(greys, (20, HEIGHT, WIDTH, 3)).copy(), 30)
    folder, about = clips_of(ClipSource(dataset="human4dit", data=root), SETTINGS)
    assert about["windows"] == 1 and "not a measurement" in about["truth"]
    np.testing.assert_allclose(grey(folder)[0], 10.0 * np.arange(9), atol=4)


def test_a_principal_point_off_the_middle_comes_to_the_middle() -> None:
    camera = np.array([[900.0, 0, 250.0], [0, 900.0, 240.0], [0, 0, 1]])
    square = CentredSquare.of(HEIGHT, WIDTH, camera, 128)
    frames = np.zeros((1, HEIGHT, WIDTH, 3), np.uint8)
    frames[:, 200:280, 210:290] = 255  # a white square about the principal point
    drawn = square.apply(frames)[0, :, :, 0].astype(float)
    ys, xs = np.mgrid[:128, :128] + 0.5
    assert (xs * drawn).sum() / drawn.sum() == pytest.approx(64, abs=0.2)
    assert (ys * drawn).sum() / drawn.sum() == pytest.approx(64, abs=0.2)
    assert square.intrinsics[0, 0] == pytest.approx(900 * 128 / 780)
    assert drawn.sum() / 255 == pytest.approx((80 * 128 / 780) ** 2, rel=0.03)
    with pytest.raises(InputError, match="two focal lengths"):
        CentredSquare.of(HEIGHT, WIDTH, camera * [[1.1], [1], [1]], 128)
    with pytest.raises(InputError, match="lies outside"):
        CentredSquare.of(HEIGHT, 200, camera, 128)


def test_a_body_is_exchanged_about_the_pelvis_and_its_own_betas_stay() -> None:
    motion = Motion(np.zeros((2, 21, 3)), np.ones(10), np.zeros((2, 3)), np.ones((2, 3)), 30, axes="camera")
    motion = replace(motion, body="open")
    assert on_body(motion, "open") is motion
    other = replace(motion, body="smplx")
    moved = on_body(other, "open")
    np.testing.assert_allclose(pelvis(moved), pelvis(other), atol=1e-6)
    assert moved.body == "open" and not moved.betas.any()


def test_image_names_that_are_no_numbers_are_passed_over(tmp_path: Path) -> None:
    write_pictures(tmp_path / "a", ["image_00007.jpg", "thumbs.jpg"])
    assert ImageFolder(tmp_path / "a").read(np.array([7])).shape == (1, HEIGHT, WIDTH, 3)


def test_numbers_on_real_data_do_not_go_under_the_fields_names() -> None:
    numbers = {
        "clips": 3, "mpjpe_mm": 1.0, "interval95.mpjpe_mm": [0, 2], "constant_pose.pa_mpjpe_mm": 2.0,
        "ratio_to_constant_pose.mpjpe": 0.5, "interval95.ratio_to_constant_pose.mpjpe": [0, 1],
        "root_orientation_deg": 3.0, "psnr_db": 20.0,
        "per_clip": {"clip": ["a"], "mpjpe_mm": [1.0]}, "by_joint_mm": {"pelvis": 0.0},
    }  # fmt: skip
    assert under_own_names(numbers, "open") == {
        "clips": 3, "open22.mpjpe_mm": 1.0, "interval95.open22.mpjpe_mm": [0, 2],
        "constant_pose.open22.pa_mpjpe_mm": 2.0, "ratio_to_constant_pose.open22.mpjpe": 0.5,
        "interval95.ratio_to_constant_pose.open22.mpjpe": [0, 1],
        "root_orientation_deg": 3.0, "psnr_db": 20.0,
        "per_clip": {"clip": ["a"], "open22.mpjpe_mm": [1.0]}, "by_joint_mm": {"pelvis": 0.0},
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["tokenizer", "capture", "generate"])
def test_an_evaluation_on_a_real_set_runs_and_names_what_it_is_not(threedpw: tuple, tmp_path: Path, kind: str) -> None:
    root, _ = threedpw
    write_pictures_left(root)
    evaluation = run_evaluation(kind, ClipSource(dataset="3dpw", data=root), "debug", count=9)
    save_evaluation(tmp_path / "run.json", evaluation)
    report = json.loads((tmp_path / "run.json").read_text())
    assert report["clips"] == 3 and report["header"]["dataset"]["name"] == "3dpw"
    assert "14 LSP joints" in report["header"]["dataset"]["field_protocol_not_followed"]
    assert not {"mpjpe_mm", "pa_mpjpe_mm", "accel_m_per_s2"} & {*report, *report["per_clip"]}
    if kind == "generate":
        assert "consistency.mpjpe_mm" in report["header"]["conventions"]
    else:
        assert report["open22.mpjpe_mm"] > 0 and report["first_frame_pose.open22.mpjpe_mm"] > 0
        assert report["open22.wa_mpjpe_mm"] > 0 and "mpjpe_mm" in report["header"]["conventions"]
    if kind == "tokenizer":
        assert report["psnr_in_mask_db"] is None and report["psnr_db"] > 0  # nobody has masks here
