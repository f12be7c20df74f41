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
from unimo.motion.npz import load_motion
from unimo.synth.engine import generate_clips
from unimo.synth.gait import gait_library
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


def test_depth_is_metric_and_only_on_the_person(clips):
    clip = clips[0]
    assert not clip.depth[~binary_dilation(clip.mask, iterations=2)].any()
    drawn = clip.depth[clip.mask]
    middle = clip.keypoints3d[:, 0, 2].mean()
    assert abs(np.median(drawn) - middle) < 0.4


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
    one = generate_clips(library, 5, 7, tmp_path / "one", CONFIG, workers=1, progress=lambda *c: calls.append(c))
    two = generate_clips(library, 5, 7, tmp_path / "two", CONFIG, workers=2)
    assert one.read_text() == two.read_text()
    assert calls[-1] == (5, 5)
    for name in ("motion.npz", "annotations.npz", "rgb.mp4"):
        for index in (0, 4):
            paths = [tmp_path / run / "clips" / f"{index:06d}" / name for run in ("one", "two")]
            assert paths[0].read_bytes() == paths[1].read_bytes(), name


def test_a_stopped_run_goes_on_and_other_settings_are_refused(library, tmp_path):
    out = tmp_path / "run"
    generate_clips(library, 2, 1, out, CONFIG, workers=1)
    kept = (out / "clips" / "000000" / "rgb.mp4").stat().st_mtime_ns
    (out / "clips" / ".000002.part").mkdir()  # what a kill leaves behind
    manifest = generate_clips(library, 3, 1, out, CONFIG, workers=1, depth=False)
    records = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert [record["name"] for record in records] == ["000000", "000001", "000002"]
    assert len({record["arrays_sha256"] for record in records}) == 3
    assert (out / "clips" / "000000" / "rgb.mp4").stat().st_mtime_ns == kept
    assert not list((out / "clips").glob(".*"))
    with pytest.raises(InputError, match="another seed or configuration"):
        generate_clips(library, 3, 2, out, CONFIG, workers=1)
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


def test_a_library_that_cannot_serve_leaves_no_folder(library, tmp_path):
    with pytest.raises(InputError, match="no motion is as long as a clip needs"):
        generate_clips(library, 1, 1, tmp_path / "run", replace(CONFIG, frames=500), workers=1)
    assert not (tmp_path / "run").exists()


def test_files_hold_what_was_rendered(library, tmp_path):
    generate_clips(library, 1, 1, tmp_path, CONFIG, workers=1, depth=True)
    folder = tmp_path / "clips" / "000000"
    record = json.loads((folder / "clip.json").read_text())
    clip = render_scene(sample_scene(library, record["seed"], CONFIG))
    frames = read_video(folder / "rgb.mp4").astype(float)
    assert frames.shape == clip.rgb.shape
    assert 10 * np.log10(255**2 / np.mean((frames - clip.rgb) ** 2)) > 38
    motion = load_motion(folder / "motion.npz")
    assert motion.axes == "camera" and np.array_equal(motion.transl, clip.motion.transl)
    with np.load(folder / "annotations.npz") as notes:
        assert np.array_equal(np.unpackbits(notes["mask"], axis=-1).astype(bool), clip.mask)
        assert np.array_equal(notes["keypoints2d"], clip.keypoints2d)
        assert notes["depth"].dtype == np.float16
