"""Clips: pixels belong to their answers, and clips on disk do not depend on the number of workers."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from unimo.errors import InputError
from unimo.media.images import write_image
from unimo.media.video import read_video
from unimo.motion.frames import joint_positions
from unimo.motion.npz import load_motion
from unimo.synth import clip_files
from unimo.synth.engine import generate_clips
from unimo.synth.gait import gait_library
from unimo.synth.layers import LAYERS
from unimo.synth.moments import mean_light, moments_of, shutter_moments
from unimo.synth.render import render_clips, render_scene
from unimo.synth.scene import SceneConfig, sample_scene

CONFIG = SceneConfig(side=64, frames=9)
LIBRARY_SIZE = 3


@pytest.fixture(scope="module")
def library():
    return gait_library(LIBRARY_SIZE, seconds=3.0)


@pytest.fixture(scope="module")
def clips(library):
    return list(render_clips(library, range(6), CONFIG))


def test_keypoints_lie_on_the_person(clips):
    for clip in clips:
        for mask, points in zip(clip.mask, clip.keypoints2d, strict=True):
            rows, columns = np.nonzero(mask)
            assert len(rows) > 60
            low = np.array([columns.min(), rows.min()]) - 1.0
            high = np.array([columns.max(), rows.max()]) + 2.0
            assert (points >= low).all() and (points <= high).all()
        inside = clip.mask[np.arange(9)[:, None], clip.keypoints2d[..., 1].astype(int),
                           clip.keypoints2d[..., 0].astype(int)]
        assert inside.mean() > 0.85


def test_background_moves_only_with_the_camera(clips):
    changes = {True: [], False: []}
    for clip in clips:
        still = bool(np.ptp(clip.motion.cam2world, axis=0).max() < 1e-6)
        free = ~binary_dilation(clip.mask.any(axis=0), iterations=2)
        free[32:] = False  # above the shadow
        changes[still].append(np.ptp(clip.rgb[:, free].astype(int), axis=0).max())
    assert max(changes[True]) == 0
    assert max(changes[False], default=9) > 2


def test_people_differ_in_colour(clips):
    means = np.array([clip.rgb[clip.mask].mean(axis=0) for clip in clips])
    gaps = np.linalg.norm(means[:, None] - means[None], axis=-1)
    assert (gaps[np.triu_indices(len(clips), 1)] > 8).mean() > 0.8


def test_rendering_twice_gives_the_same_pixels(library, clips):
    again = render_scene(sample_scene(library, 3, CONFIG))
    assert np.array_equal(again.rgb, clips[3].rgb) and np.array_equal(again.mask, clips[3].mask)


@pytest.mark.parametrize(
    ("seed", "pelvis", "eye", "picture", "person", "area"),
    [
        (0, (31.862, 24.838), (-2.2028, 0.3527, 1.1672), (146.2, 117.4, 141.9), (82.4, 67.4, 55.7), 3105),
        (3, (19.948, 28.111), (0.0680, 0.5987, -0.6385), (127.8, 115.7, 122.5), (40.3, 52.8, 67.2), 4315),
        (1_000_000_005, (32.865, 29.195), (2.9359, 0.4187, 0.2502), (92.8, 120.0, 104.6), (67.7, 46.1, 69.7), 4650),
    ],
)
def test_a_seed_gives_the_clip_that_it_always_gave(library, seed, pelvis, eye, picture, person, area):
    """The shipped bundle is trained and measured on these clips: new kinds of scenes may not change them."""
    clip = render_scene(sample_scene(library, seed, CONFIG))
    assert np.allclose(clip.keypoints2d[4, 0], pelvis, atol=0.002)
    assert np.allclose(clip.motion.cam2world[8, :3, 3], eye, atol=0.001)
    assert np.allclose(clip.rgb.reshape(-1, 3).mean(axis=0), picture, atol=0.2)
    assert np.allclose(clip.rgb[clip.mask].mean(axis=0), person, atol=0.5)
    assert abs(int(clip.mask.sum()) - area) < 10


def test_pictures_can_stand_behind_people(library, tmp_path):
    write_image(tmp_path / "wall.png", np.full((90, 120, 3), (200, 40, 40), np.uint8))
    config = replace(CONFIG, images=str(tmp_path))
    shown = [render_scene(sample_scene(library, seed, config)) for seed in range(8)]
    with_picture = [clip for clip in shown if clip.scene.looks.room.image]
    assert 0 < len(with_picture) < 8
    assert (with_picture[0].rgb[0, 0, 0] == (200, 40, 40)).all()
    with pytest.raises(InputError, match="no such folder of background pictures"):
        sample_scene(library, 0, replace(CONFIG, images=str(tmp_path / "absent")))


def test_clips_on_disk_are_the_same_with_one_and_two_workers(library, tmp_path):
    calls = []
    config = replace(CONFIG, motion_blur=0.4, sensor_noise=3.0)
    progress = lambda *c: calls.append(c)  # noqa: E731
    one = generate_clips(library, 5, 7, tmp_path / "one", config, workers=1, progress=progress, layers=LAYERS)
    two = generate_clips(library, 5, 7, tmp_path / "two", config, workers=2, layers=LAYERS)
    assert one.read_text() == two.read_text()
    assert calls[-1] == (5, 5)
    for name in ("motion.npz", "motion_world.npz", "annotations.npz", "layers.npz", "rgb.mp4", "clip.json"):
        for index in (0, 4):
            paths = [tmp_path / run / "clips" / f"{index:06d}" / name for run in ("one", "two")]
            assert paths[0].read_bytes() == paths[1].read_bytes(), name


def test_a_stopped_run_goes_on_and_other_settings_are_refused(library, tmp_path):
    out = tmp_path / "run"
    generate_clips(library, 2, 1, out, CONFIG, workers=1)
    kept = (out / "clips" / "000000" / "rgb.mp4").stat().st_mtime_ns
    (out / "clips" / ".000002.part").mkdir()  # what a kill leaves behind
    manifest = generate_clips(library, 3, 1, out, CONFIG, workers=1)
    records = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert [record["name"] for record in records] == ["000000", "000001", "000002"]
    assert len({record["arrays_sha256"] for record in records}) == 3
    assert (out / "clips" / "000000" / "rgb.mp4").stat().st_mtime_ns == kept
    assert not list((out / "clips").glob(".*"))
    with pytest.raises(InputError, match="other settings: seed was 1, now 2; motion-blur was 0, now 0.5\n"):
        generate_clips(library, 3, 2, out, replace(CONFIG, motion_blur=0.5), workers=1)
    before = manifest.read_bytes()
    with pytest.raises(InputError, match="holds clips up to 000002, a count of 2 .*\n.*\n.*--count 3 or more"):
        generate_clips(library, 2, 1, out, CONFIG, workers=1)
    assert manifest.read_bytes() == before
    others = gait_library(LIBRARY_SIZE, seed=1, seconds=3.0)
    with pytest.raises(InputError, match="made from other motions"):
        generate_clips(others, 4, 1, out, CONFIG, workers=1)
    record = json.loads((out / "synth.json").read_text())
    del record["library"]
    (out / "synth.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="earlier version.*\n.*\n.*another --output"):
        generate_clips(library, 4, 1, out, CONFIG, workers=1)
    assert len(list((out / "clips").iterdir())) == 3
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("keep me")
    with pytest.raises(InputError, match="not empty"):
        generate_clips(library, 1, 1, tmp_path / "mine", CONFIG, workers=1)
    for place in (tmp_path / "mine" / "thesis.txt", tmp_path / "mine" / "thesis.txt" / "below"):
        with pytest.raises(InputError, match="this is a file, and clips go into a folder"):
            generate_clips(library, 1, 1, place, CONFIG, workers=1)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_run_that_ends_before_its_first_clip_leaves_nothing(library, tmp_path, monkeypatch, error):
    def full(*_):
        raise error

    monkeypatch.setattr(clip_files, "save_motion", full)
    out = tmp_path / "deep" / "run"
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else InputError):
        generate_clips(library, 1, 1, out, CONFIG, workers=1)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    generate_clips(library, 1, 1, out, CONFIG, workers=1)
    monkeypatch.setattr(clip_files, "save_motion", full)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else InputError):
        generate_clips(library, 2, 1, out, CONFIG, workers=1)
    assert [path.name for path in (out / "clips").iterdir()] == ["000000"] and (out / "synth.json").is_file()


def test_clips_say_what_is_behind_them(library, tmp_path):
    write_image(tmp_path / "wall.png", np.full((90, 120, 3), (200, 40, 40), np.uint8))
    config = replace(CONFIG, side=32, frames=2, camera="mixed", images=str(tmp_path))
    records = [generate_clips(library, 12, 0, tmp_path / "out", config, workers=1)]
    records = [json.loads(line) for line in records[0].read_text().splitlines()]
    assert {record["background"] for record in records} == {"wall.png", "procedural"}
    assert all(r["background"] == "procedural" for r in records if r["camera"] in ("pan", "orbit"))
    assert {"pan", "orbit"} & {record["camera"] for record in records}
    (tmp_path / "words.jpg").write_text("no picture")
    with pytest.raises(InputError, match="background picture cannot be read\n.*words.jpg"):
        generate_clips(library, 1, 0, tmp_path / "other", replace(config, frames=3), workers=1)
    assert not (tmp_path / "other").exists()


def test_a_library_that_cannot_serve_leaves_no_folder(library, tmp_path):
    with pytest.raises(InputError, match="no motion is as long as a clip needs"):
        generate_clips(library, 1, 1, tmp_path / "run", replace(CONFIG, frames=500), workers=1)
    assert not (tmp_path / "run").exists()


def test_clips_of_an_earlier_version_are_not_added_to(library, tmp_path):
    generate_clips(library, 1, 1, tmp_path, CONFIG, workers=1)
    record = json.loads((tmp_path / "synth.json").read_text())
    record["depth"] = record.pop("layers") == ["depth"]
    (tmp_path / "synth.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="earlier version, whose clips have other files"):
        generate_clips(library, 2, 1, tmp_path, CONFIG, workers=1)


def test_files_hold_what_was_rendered(library, tmp_path):
    generate_clips(library, 1, 1, tmp_path, CONFIG, workers=1, layers=("surface", "depth"))
    folder = tmp_path / "clips" / "000000"
    record = json.loads((folder / "clip.json").read_text())
    clip = render_scene(sample_scene(library, record["seed"], CONFIG))
    assert record["layers"] == ["depth", "surface"] and record["look"] == "basic" and record["camera"] == "default"
    frames = read_video(folder / "rgb.mp4").astype(float)
    assert frames.shape == clip.rgb.shape
    assert 10 * np.log10(255**2 / np.mean((frames - clip.rgb) ** 2)) > 38
    motion = load_motion(folder / "motion.npz")
    assert motion.axes == "camera" and np.array_equal(motion.transl, clip.motion.transl)
    world = load_motion(folder / "motion_world.npz")
    with np.load(folder / "annotations.npz") as notes:
        assert np.array_equal(np.unpackbits(notes["mask"], axis=-1).astype(bool), clip.mask)
        assert np.array_equal(notes["keypoints2d"], clip.keypoints2d)
        assert np.array_equal(notes["keypoints_visible"], clip.keypoints_visible)
        assert np.abs(notes["world2cam"] @ notes["cam2world"] - np.eye(4)).max() < 1e-5
        joints = joint_positions(world) @ notes["world2cam"][:, :3, :3].transpose(0, 2, 1)
        joints = joints + notes["world2cam"][:, None, :3, 3]
        seen = joints @ notes["intrinsics"].T
        assert np.abs(seen[..., :2] / seen[..., 2:] - notes["keypoints2d"]).max() < 0.5
    assert world.axes == "world" and joint_positions(world)[:, 15, 1].min() > 1.0
    with np.load(folder / "layers.npz") as layers:
        assert sorted(layers.files) == ["depth", "surface"]
        assert layers["depth"].dtype == layers["surface"].dtype == np.float16


def test_motion_blur_smears_the_picture_and_nothing_else(library, clips):
    blurred = render_scene(sample_scene(library, 3, replace(CONFIG, motion_blur=1.0)))
    sharp = clips[3]
    assert np.array_equal(blurred.mask, sharp.mask)
    assert np.array_equal(blurred.truth.layers(["depth"])["depth"], sharp.truth.layers(["depth"])["depth"])
    moving = np.abs(np.diff(sharp.rgb.astype(int), axis=0)).max(axis=(0, -1)) > 30
    change = np.abs(blurred.rgb.astype(int) - sharp.rgb).max(axis=(0, -1))
    assert change[moving].mean() > 10 and change[~binary_dilation(moving, iterations=4)].mean() < 3
    # the shutter's middle is the frame: smeared forwards as much as backwards
    moments = moments_of(sharp.scene)
    during = shutter_moments(moments, 4, 0.5)
    assert np.abs(during.vertices.mean(axis=0) - moments.vertices[4]).max() < 0.02
    assert np.ptp(during.vertices, axis=0).max() > 0.02
    flat = np.full((3, 2, 2, 3), 77, np.uint8)
    assert np.array_equal(mean_light(flat), flat[0])


def test_noise_belongs_to_the_seed(library, clips):
    config = replace(CONFIG, sensor_noise=6.0)
    noisy, again, other = (render_scene(sample_scene(library, seed, config)) for seed in (3, 3, 4))
    assert np.array_equal(noisy.rgb, again.rgb) and not np.array_equal(noisy.rgb, clips[3].rgb)
    grain = [clip.rgb.astype(float) - clean.rgb for clip, clean in ((noisy, clips[3]), (other, clips[4]))]
    assert 3 < grain[0].std() < 9
    assert abs(np.corrcoef(grain[0].ravel(), grain[1].ravel())[0, 1]) < 0.05
