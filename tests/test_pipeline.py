from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from unimo.bundle import load_bundle, save_bundle
from unimo.errors import CheckpointError, InputError
from unimo.media.source import FrameSource
from unimo.media.video import probe, write_video
from unimo.motion.frames import pelvis_positions
from unimo.motion.motion import Motion
from unimo.motion.npz import load_motion
from unimo.options import check_device, check_dtype
from unimo.pipeline import UniMoPipeline
from unimo.result import check_output, planned_files
from visual_tokenizer import DiffusionDecoder


@pytest.fixture(scope="module")
def pipeline() -> UniMoPipeline:
    return UniMoPipeline.from_pretrained("debug")


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (*shape, 3), dtype=np.uint8)


def same(first: Motion, second: Motion, tolerance: float = 1e-5) -> bool:
    return all(
        np.allclose(getattr(first, name), getattr(second, name), atol=tolerance)
        for name in ("body_pose", "betas", "global_orient", "transl")
    )


def test_generate_gives_video_and_motion_in_the_pictures_shape(pipeline: UniMoPipeline) -> None:
    (result,) = pipeline.generate(noise(90, 60))
    assert result.frames.shape == (9, 32, 21, 3)
    assert (len(result.motion), result.motion.fps, result.motion.axes, result.motion.body) == (
        9,
        15.0,
        "camera",
        "open",
    )
    assert np.allclose(np.diag(result.motion.intrinsics)[:2], np.hypot(90, 60) * 32 / 90)
    assert np.allclose(result.motion.intrinsics[:2, 2], (10.5, 16))
    assert (result.motion.betas == result.motion.betas[0]).all()


def test_same_seed_same_result_and_samples_follow_on(pipeline: UniMoPipeline) -> None:
    picture = noise(48, 48)
    first, second = pipeline.generate(picture, num_samples=2, seed=3)
    (again,) = pipeline.generate(picture, seed=4)
    assert same(second.motion, again.motion)
    assert np.abs(second.frames.astype(int) - again.frames).max() <= 1
    assert not same(first.motion, second.motion)


def test_fewer_frames_are_the_beginning_of_more(pipeline: UniMoPipeline) -> None:
    (long,), (short,) = pipeline.generate(noise(48, 48)), pipeline.generate(noise(48, 48), frames=4)
    assert (len(short.motion), len(short.frames)) == (4, 4)
    assert np.allclose(short.motion.body_pose, long.motion.body_pose[:4], atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"frames": 10}, "this bundle generates 2 to 9 frames, not 10\n  try: --frames 9"),
        ({"frames": 1}, "this bundle generates 2 to 9 frames, not 1"),
        ({"num_samples": 0}, "the number of samples must be at least 1, not 0"),
        ({"temperature": -1.0}, "the temperature must be 0 or more, not -1.0"),
        ({"top_p": 0.0}, "top-p must lie above 0 and up to 1, not 0.0"),
        ({"focal": float("nan")}, "the focal length must be a positive number of pixels, not nan"),
        ({"decoder": "magic"}, "unknown decoder 'magic'\n  try: --decoder diffusion or --decoder direct"),
        ({"decoder": "direct", "steps": 4}, "steps and guidance belong to the diffusion decoder"),
        ({"decoder": "diffusion", "steps": 1}, "the diffusion decoder takes 2 to 1000 steps, not 1"),
        ({"decoder": "diffusion", "guidance": -0.5}, "the guidance must be 0 or more, not -0.5"),
    ],
)
def test_generate_refuses_values_out_of_range(pipeline: UniMoPipeline, arguments: dict, message: str) -> None:
    with pytest.raises(InputError) as error:
        pipeline.generate(noise(48, 48), **arguments)
    assert message in str(error.value)


def test_both_decoders_draw_the_same_tokens(pipeline: UniMoPipeline) -> None:
    picture = noise(48, 48)
    (direct,) = pipeline.generate(picture, decoder="direct")
    (diffused,) = pipeline.generate(picture, decoder="diffusion", steps=3, guidance=0.5)
    assert same(direct.motion, diffused.motion)
    assert diffused.frames.shape == direct.frames.shape and not np.array_equal(direct.frames, diffused.frames)
    assert {key: diffused.run[key] for key in ("decoder", "steps", "guidance")} == {
        "decoder": "diffusion", "steps": 3, "guidance": 0.5,
    }  # fmt: skip
    assert direct.run["decoder"] == "direct" and "steps" not in direct.run


def test_a_bundle_without_a_diffusion_decoder_says_so_before_the_work(tmp_path: Path) -> None:
    debug = load_bundle("debug")
    names = ("motion_tokenizer", "visual_tokenizer/discrete", "ar_model")
    small = save_bundle(tmp_path, "small", debug.settings, {name: debug.component(name) for name in names})
    what = "has no diffusion_decoder and no visual_tokenizer/continuous"
    with pytest.raises(InputError, match=what) as error:
        UniMoPipeline(small).generate(noise(48, 48), decoder="diffusion")
    assert "--decoder direct" in str(error.value)


def test_a_diffusion_decoder_of_other_ids_is_refused(tmp_path: Path) -> None:
    debug = load_bundle("debug")
    parts = {name: debug.component(name) for name in debug.info.components}
    config = replace(parts["diffusion_decoder"].config, num_ids=9)
    other = save_bundle(tmp_path, "other", debug.settings, parts | {"diffusion_decoder": DiffusionDecoder(config)})
    with pytest.raises(CheckpointError, match="know 9 and 64 ids"):
        UniMoPipeline(other).generate(noise(48, 48), decoder="diffusion")


def test_generate_refuses_other_arrays(pipeline: UniMoPipeline) -> None:
    with pytest.raises(InputError, match=r"an image must be uint8 \(H, W, 3\) RGB, not float64 \(8, 8\)"):
        pipeline.generate(np.zeros((8, 8)))


@pytest.mark.parametrize(("count", "fps"), [(1, 30.0), (5, 30.0), (40, 29.97), (30, 10.0)])
def test_capture_gives_one_motion_frame_for_every_video_frame(pipeline: UniMoPipeline, count: int, fps: float) -> None:
    result = pipeline.capture(noise(count, 40, 61), fps=fps)
    motion = result.motion
    assert (len(motion), motion.fps, motion.axes) == (count, fps, "camera")
    assert np.allclose(motion.intrinsics[:2, 2], (30.5, 20)) and motion.extras is None
    assert (motion.betas == motion.betas[0]).all()


def test_capture_of_a_still_picture_at_the_bundles_rate_is_one_window_of_tokens(pipeline: UniMoPipeline) -> None:
    clip = np.repeat(noise(1, 32, 32), 9, axis=0)
    ids = pipeline.capture_ids(pipeline.visual_tokenizer.encode(clip)[None], [2], num_samples=3)
    (expected,) = pipeline.motion_tokenizer.decode_windows(ids, np.hypot(1, 1), num_samples=3)
    assert len(ids) == 3 and not torch.equal(ids[0], ids[1])
    assert same(pipeline.capture(clip, fps=15.0, seed=2, num_samples=3).motion, expected)
    (alone,) = pipeline.motion_tokenizer.decode_windows(ids[:1], np.hypot(1, 1))
    assert same(pipeline.capture(clip, fps=15.0, seed=2, num_samples=1).motion, alone)


def test_focal_length_scales_depth_and_nothing_else(pipeline: UniMoPipeline) -> None:
    near, far = (pipeline.capture(noise(9, 32, 32), fps=15.0, focal=f) for f in (40.0, 80.0))
    ratio = pelvis_positions(far.motion)[:, 2] / pelvis_positions(near.motion)[:, 2]
    assert np.allclose(ratio, 2, atol=1e-3)
    assert np.allclose(near.motion.body_pose, far.motion.body_pose)
    assert (near.motion.intrinsics[0, 0], far.motion.intrinsics[0, 0]) == (40, 80)


def test_capture_reads_a_file_like_its_frames(pipeline: UniMoPipeline, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_video(path, noise(12, 48, 64), 24)
    source = FrameSource.of(path)
    result = pipeline.capture(path)
    assert (len(result.motion), source.frames, source.fps) == (12, 12, 24)
    assert same(result.motion, pipeline.capture(result.frames, fps=24).motion)
    assert len(pipeline.capture(path, frames=5).motion) == 5


def test_capture_notes_uneven_frame_times(pipeline: UniMoPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    times = [0.0, 0.1, 0.2, 0.9, 1.0, 1.1]
    monkeypatch.setattr(FrameSource, "__iter__", lambda self: iter(zip(times, noise(6, 32, 32), strict=True)))
    motion = pipeline.capture(noise(6, 32, 32), fps=6 / 1.2).motion
    assert len(motion) == 6
    assert motion.extras == {"frame_times_s": times}


def test_capture_does_not_hold_the_clip(pipeline: UniMoPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Peak Python memory of 20 windows stays far below the clip's own size."""
    frames, shape = 100, (512, 512)

    def endless(self: FrameSource) -> Iterator[tuple[float, np.ndarray]]:
        return ((index / 15, np.full((*shape, 3), index, np.uint8)) for index in range(frames))

    monkeypatch.setattr(FrameSource, "__iter__", endless)
    source = FrameSource("frames", *shape, 15.0, frames)
    monkeypatch.setattr(FrameSource, "of", lambda *_: source)
    pipeline.capture_ids(pipeline.visual_tokenizer.encode(noise(1, 9, 32, 32)), [0])
    tracemalloc.start()
    assert len(pipeline.capture("endless").motion) == frames
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.3 * frames * 512 * 512 * 3


def test_progress_reaches_its_total_and_never_falls(pipeline: UniMoPipeline) -> None:
    steps: list[tuple[int, int]] = []
    pipeline.capture(noise(60, 32, 32), fps=15.0, progress=lambda stage, done, total: steps.append((done, total)))
    shares = [done / total for done, total in steps]
    assert shares == sorted(shares) and shares[-1] == 1


@pytest.mark.parametrize(
    ("video", "fps", "message"),
    [
        (np.zeros((3, 8, 8, 3)), 15.0, "frames must be uint8 (T, H, W, 3) RGB, not float64 (3, 8, 8, 3)"),
        (np.zeros((0, 8, 8, 3), np.uint8), 15.0, "frames must be uint8 (T, H, W, 3) RGB"),
        (np.zeros((3, 8, 8, 3), np.uint8), None, "frames in an array have no rate of their own\n  try: give fps=…"),
        ("nowhere.mp4", None, "there is no such video file"),
    ],
)
def test_capture_refuses_other_input(pipeline: UniMoPipeline, video: object, fps: float | None, message: str) -> None:
    with pytest.raises(InputError) as error:
        pipeline.capture(video, fps)  # type: ignore[arg-type]
    assert message in str(error.value)


def test_devices_and_dtypes() -> None:
    assert check_device("cpu") == torch.device("cpu")
    assert check_device("auto").type in ("cpu", "cuda")
    assert check_dtype("bfloat16") == check_dtype(torch.bfloat16) == torch.bfloat16
    with pytest.raises(InputError, match=r"the device 'gpu9' cannot be used \((.|\n)*--device cpu"):
        check_device("gpu9")
    with pytest.raises(InputError, match="unknown dtype 'int8'\n  try: one of float32, bfloat16, float16"):
        check_dtype("int8")
    with pytest.raises(InputError, match="the dtype torch.int64 cannot be used"):
        check_dtype(torch.int64)


def test_bfloat16_runs_and_keeps_the_motion_in_float32() -> None:
    (result,) = UniMoPipeline.from_pretrained("debug", dtype="bfloat16").generate(noise(32, 32))
    assert result.run["dtype"] == "bfloat16" and result.motion.transl.dtype == np.float32


def test_pipelines_of_one_bundle_do_not_share_weights() -> None:
    bundle = load_bundle("debug")
    half, full = UniMoPipeline(bundle, dtype="bfloat16"), UniMoPipeline(bundle)
    assert next(half.engine.model.parameters()).dtype == torch.bfloat16
    assert next(full.engine.model.parameters()).dtype == torch.float32
    assert next(half.engine.model.parameters()).dtype == torch.bfloat16


def test_parts_that_do_not_belong_together_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = load_bundle("debug")
    wrong, read = bundle.component("ar_model"), bundle.component
    wrong.config.__dict__["visual_ids"] = 63
    monkeypatch.setattr(bundle, "component", lambda name, *dtype: wrong if name == "ar_model" else read(name, *dtype))
    with pytest.raises(CheckpointError, match="the transformer has 63 visual ids, the visual tokenizer 64"):
        _ = UniMoPipeline(bundle).engine


def test_a_result_writes_its_files(pipeline: UniMoPipeline, tmp_path: Path) -> None:
    (result,) = pipeline.generate(noise(64, 64), frames=3)
    files = result.save(tmp_path / "out", ["glb", "bvh"])
    assert [file.name for file in files] == planned_files("generate", ["glb", "bvh"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(file.name for file in files)
    assert same(load_motion(tmp_path / "out/motion.npz"), result.motion)
    with av.open(str(tmp_path / "out/video.mp4")) as container:
        assert container.metadata["comment"] == "AI-generated"
    assert (probe(tmp_path / "out/overlay.mp4").width, probe(tmp_path / "out/side_by_side.mp4").width) == (384, 3 * 384)
    run = json.loads((tmp_path / "out/run.json").read_text())
    assert run["ai_generated"] is True and run["bundle"]["name"] == "debug" and run["seed"] == 0
    assert run["files"] == [file.name for file in files] and run["motion"]["frames"] == 3


def test_earlier_results_are_kept_unless_told(pipeline: UniMoPipeline, tmp_path: Path) -> None:
    result = pipeline.capture(noise(2, 32, 32), fps=15.0)
    result.save(tmp_path, render=False)
    before = (tmp_path / "motion.npz").stat().st_mtime_ns
    with pytest.raises(InputError) as error:
        result.save(tmp_path, render=False)
    assert "the output folder already holds motion.npz, run.json" in str(error.value)
    assert "--overwrite, or another --output" in str(error.value)
    assert (tmp_path / "motion.npz").stat().st_mtime_ns == before
    result.save(tmp_path, render=False, overwrite=True)
    assert (tmp_path / "motion.npz").stat().st_mtime_ns > before


def test_overwriting_leaves_no_file_of_the_earlier_run(pipeline: UniMoPipeline, tmp_path: Path) -> None:
    (generated,) = pipeline.generate(noise(32, 32), frames=2)
    generated.save(tmp_path, ["bvh"], render=False)
    (tmp_path / "motion.glb").write_text("the user's own: run.json does not list it")
    captured = pipeline.capture(tmp_path / "video.mp4")
    captured.save(tmp_path, render=False, overwrite=True)  # its input stays
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"motion.npz", "motion.glb", "video.mp4", "run.json"}
    pipeline.capture(noise(2, 32, 32), fps=15.0).save(tmp_path, ["bvh"], render=False, overwrite=True)
    generated.save(tmp_path, render=False, overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == names


def test_a_failure_leaves_nothing_behind(
    pipeline: UniMoPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = pipeline.capture(noise(2, 32, 32), fps=15.0)

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("unimo.result.export_motion", fail)
    with pytest.raises(OSError, match="disk full"):
        result.save(tmp_path / "out", ["bvh"], render=False)
    assert list((tmp_path / "out").iterdir()) == []


def test_output_must_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="the output is a file; a folder is wanted"):
        check_output(tmp_path / "file", ["motion.npz"], True)
    with pytest.raises(InputError, match="the output folder cannot be made or written here"):
        check_output(tmp_path / "file" / "below", ["motion.npz"], True)
    with pytest.raises(InputError, match="unknown export 'fbx'\n  try: --export bvh,glb"):
        planned_files("capture", ["fbx"])
