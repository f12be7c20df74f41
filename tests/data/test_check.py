"""`unimo data check`: clips of the engine pass, and each check fails on a clip spoilt on purpose."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import maximum_filter

from unimo.data.check import MEASURES, CheckReport, check_folder
from unimo.data.check_clip import check_clip
from unimo.data.check_files import ClipFiles
from unimo.errors import InputError
from unimo.motion.npz import load_motion, save_motion
from unimo.synth.clip_files import write_clip
from unimo.synth.engine import clip_seed, generate_clips
from unimo.synth.gait import gait_library
from unimo.synth.render import render_scene
from unimo.synth.scene import SceneConfig, SceneSampler

NAME = "000000"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips with all layers, moving cameras and varied clothes."""
    folder = tmp_path_factory.mktemp("clips")
    config = SceneConfig(side=64, frames=5, fps=7.5, looks="varied", camera_moves=1.0)
    layers = ("depth", "normals", "surface", "flow", "tracks")
    generate_clips(gait_library(2, seconds=3.0), 2, 1, folder, config, workers=1, layers=layers)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copy"))


def change(folder: Path, file: str, **changes: Callable[[np.ndarray], np.ndarray]) -> None:
    """Rewrites arrays of one npz of the first clip."""
    path = folder / "clips" / NAME / file
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays |= {name: edit(arrays[name]) for name, edit in changes.items()}
    np.savez(path, **arrays)  # pyright: ignore[reportArgumentType]


def swap(folder: Path, file: str, first: str, second: str) -> None:
    with np.load(folder / "clips" / NAME / file) as archive:
        one, other = archive[first], archive[second]
    change(folder, file, **{first: lambda _: other, second: lambda _: one})


def failures(folder: Path) -> set[str]:
    """What fails in the first clip; the second must always pass."""
    report = check_folder(folder)
    assert set(report.failed) <= {NAME}
    return set(report.failed.get(NAME, []))


def test_clips_of_the_engine_pass_every_check(made: Path) -> None:
    report = check_folder(made, workers=1)
    assert report.failed == {}
    assert [summary.measure.name for summary in report.summaries] == [measure.name for measure in MEASURES]
    for summary in report.summaries:
        assert summary.verdict == "ok" and summary.missing == [] and summary.worst is not None
    worst = {summary.measure.name: summary.worst or 0.0 for summary in report.summaries}
    assert worst["mask"] > 0.99 and worst["keypoints"] < 1e-3 and worst["flow_body"] < 0.05
    assert worst["surface_outline"] < 0.01


def test_a_finger_at_a_pixel_centre_is_no_fault(tmp_path: Path) -> None:
    """The fifth clip of `unimo synth --looks varied`: a finger's tip stands at a centre, three pixels off the mask."""
    config = SceneConfig(looks="varied")
    sampler = SceneSampler(gait_library(seed=0), config)
    write_clip(render_scene(sampler.sample(clip_seed(0, 4))), tmp_path, "000004", ["surface"])
    found = check_clip(tmp_path / "000004")
    assert found.faults == [] and found.values["surface_outline"] == pytest.approx(0, abs=0.02)
    files = ClipFiles(tmp_path / "000004")
    alone = np.isfinite(files.arrays["surface"][..., 0]) & ~maximum_filter(files.arrays["mask"], (1, 3, 3))
    assert alone.any()


def shift_mask(folder: Path) -> None:
    change(folder, "annotations.npz", mask=lambda m: np.packbits(np.roll(np.unpackbits(m, axis=-1), 3, -1), axis=-1))


def half_pixel(folder: Path) -> None:
    change(folder, "annotations.npz", keypoints2d=lambda a: a + 0.5)


def moved_joint(folder: Path) -> None:
    change(folder, "annotations.npz", keypoints3d=lambda a: a * 1.01)  # the same place in the picture


def cameras_exchanged(folder: Path) -> None:
    swap(folder, "annotations.npz", "cam2world", "world2cam")


def camera_not_inverted(folder: Path) -> None:
    with np.load(folder / "clips" / NAME / "annotations.npz") as archive:
        cam2world = archive["cam2world"]
    change(folder, "annotations.npz", world2cam=lambda _: cam2world)


def world_without_j0(folder: Path) -> None:
    path = folder / "clips" / NAME
    motion = load_motion(path / "motion.npz")
    camera = motion.cam2world
    assert camera is not None
    moved = np.einsum("tij,tj->ti", camera[:, :3, :3], motion.transl) + camera[:, :3, 3]
    save_motion(path / "motion_world.npz", replace(load_motion(path / "motion_world.npz"), transl=moved))


def another_shape(folder: Path) -> None:
    path = folder / "clips" / NAME / "motion.npz"
    motion = load_motion(path)
    save_motion(path, replace(motion, betas=motion.betas + 1.0))


def farther_depth(folder: Path) -> None:
    change(folder, "layers.npz", depth=lambda a: (a * 1.05).astype(np.float16))


def flipped_normals(folder: Path) -> None:
    change(folder, "layers.npz", normals=lambda a: -a)


def normals_in_other_axes(folder: Path) -> None:
    change(folder, "layers.npz", normals=lambda a: a * np.array([1, -1, 1], np.int8))


def mirrored_surface(folder: Path) -> None:
    change(folder, "layers.npz", surface=lambda a: a * np.array([-1, 1, 1], np.float16))


def surface_everywhere(folder: Path) -> None:
    change(folder, "layers.npz", surface=lambda a: np.nan_to_num(a))


def surface_one_pixel_aside(folder: Path) -> None:
    change(folder, "layers.npz", surface=lambda a: np.roll(a, 1, 2))


def surface_two_pixels_down(folder: Path) -> None:
    change(folder, "layers.npz", surface=lambda a: np.roll(a, 2, 1))


def surface_far_off_in_one_pixel(folder: Path) -> None:
    def dot(surface: np.ndarray) -> np.ndarray:
        surface[2, 1, 1] = 0.0
        return surface

    change(folder, "layers.npz", surface=dot)


def exchanged_flows(folder: Path) -> None:
    swap(folder, "layers.npz", "flow_forward", "flow_backward")


def flow_y_first(folder: Path) -> None:
    change(folder, "layers.npz", flow_forward=lambda a: a[..., ::-1])


def no_flow(folder: Path) -> None:
    change(folder, "layers.npz", flow_forward=np.zeros_like, flow_backward=np.zeros_like)


def floating_tracks(folder: Path) -> None:
    change(folder, "layers.npz", tracks3d=lambda a: a * np.float32(1.05))


def tracks_by_corner(folder: Path) -> None:
    change(folder, "layers.npz", tracks2d=lambda a: a - np.float32(0.5))


@pytest.mark.parametrize(
    ("spoil", "wanted"),
    [
        (shift_mask, {"mask"}),
        (half_pixel, {"keypoints"}),
        (moved_joint, {"joints"}),
        (cameras_exchanged, {"world"}),
        (camera_not_inverted, {"camera"}),
        (world_without_j0, {"world"}),
        (another_shape, {"files", "joints", "mask"}),
        (farther_depth, {"depth", "tracks_surface"}),
        (flipped_normals, {"normals_person", "normals_room"}),
        (normals_in_other_axes, {"normals_person", "normals_room"}),
        (mirrored_surface, {"surface"}),
        (surface_everywhere, {"files", "surface_outline"}),
        (surface_one_pixel_aside, {"surface_outline"}),
        (surface_two_pixels_down, {"surface_outline"}),
        (surface_far_off_in_one_pixel, {"files"}),
        (exchanged_flows, {"flow_picture", "flow_body", "flow_room"}),
        (flow_y_first, {"flow_picture", "flow_body", "flow_room", "flow_return"}),
        (no_flow, {"flow_body", "flow_room"}),
        (floating_tracks, {"tracks_surface"}),
        (tracks_by_corner, {"tracks_pixels"}),
    ],
)
def test_a_spoilt_clip_fails(folder: Path, spoil: Callable[[Path], None], wanted: set[str]) -> None:
    spoil(folder)
    assert wanted <= failures(folder)


def test_nan_fails(folder: Path) -> None:
    change(folder, "annotations.npz", keypoints2d=lambda a: np.full_like(a, np.nan))
    report = check_folder(folder)
    assert "keypoints" in report.failed[NAME]
    assert json.loads(json.dumps(report.as_json(), allow_nan=False))["checks"]["keypoints"]["worst"] == "nan"


def faults(report: CheckReport) -> list[str]:
    return report.clips[0].faults


def test_what_was_not_written_is_named(folder: Path) -> None:
    path = folder / "clips" / NAME
    (path / "layers.npz").unlink()
    report = check_folder(folder)
    assert "clip.json promises depth, layers.npz has no depth" in faults(report)
    depth = next(summary for summary in report.summaries if summary.measure.name == "depth")
    assert depth.missing == [NAME] and depth.verdict == "ok (not there in 1)"
    (folder / "clips" / "000001" / "layers.npz").unlink()
    depth = next(summary for summary in check_folder(folder).summaries if summary.measure.name == "depth")
    assert depth.verdict == "not there" and depth.worst is None


def test_shapes_hashes_and_counts(folder: Path) -> None:
    change(folder, "layers.npz", depth=lambda a: a[:, :-1])
    change(folder, "annotations.npz", keypoints3d=lambda a: a + np.float32(1e-6))
    record_path = folder / "clips" / NAME / "clip.json"
    record = json.loads(record_path.read_text())
    record_path.write_text(json.dumps(record | {"frames": 6}))
    found = faults(check_folder(folder))
    assert "depth has shape (5, 63, 64), (5, 64, 64) is wanted" in found
    assert "arrays_sha256 of clip.json is not that of the arrays" in found
    assert "clip.json says frames 6, it is 5" in found
    assert "clip.json is not what the manifest says of the clip" in found
    manifest = folder / "manifest.jsonl"
    manifest.write_text(manifest.read_text().splitlines()[1] + "\n")
    assert "the clip is not in the manifest" in faults(check_folder(folder))


def test_a_record_of_another_kind_is_a_fault(folder: Path) -> None:
    path = folder / "clips" / NAME / "clip.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"fps": "fast", "cut": {"cape": 1.0}, "layers": None}))
    found = faults(check_folder(folder))
    assert "clip.json says fps fast, it is 7.5" in found
    assert "the cut in clip.json is none that this version knows" in found


def test_lost_and_damaged_clips(folder: Path) -> None:
    (folder / "clips" / NAME / "motion.npz").write_bytes(b"PK")
    shutil.rmtree(folder / "clips" / "000001")
    report = check_folder(folder)
    assert report.failed == {NAME: ["files"], "000001": ["files"]}
    assert report.clips[0].faults[0].startswith("motion.npz: ")
    assert report.clips[1].faults == ["the manifest names it, its folder is not there"]
    with pytest.raises(InputError, match="there is no such folder"):
        check_folder(folder / "nowhere")
