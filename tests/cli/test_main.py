"""What a user meets on the command line: files, messages and exit codes, with the debug bundle."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from unimo.bundle import load_bundle, save_bundle
from unimo.cli.capture import find_videos, output_folders
from unimo.cli.common import parse_seeds
from unimo.cli.main import run
from unimo.cli.train import app
from unimo.config import to_dict
from unimo.errors import InputError
from unimo.media.images import write_image
from unimo.media.video import probe, write_video
from unimo.training.work_folder import ChainConfig


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    frames = np.random.default_rng(0).integers(0, 255, (4, 40, 48, 3), dtype=np.uint8)
    write_image(folder / "picture.png", frames[0])
    write_video(folder / "clip.mp4", frames, 15)
    (folder / "text.mp4").write_text("not a video\n" * 50)
    return folder


def test_generate_writes_one_folder_a_sample(inputs: Path, tmp_path: Path, unimo) -> None:
    arguments = ("--image", inputs / "picture.png", "--bundle", "debug", "--num-samples", 2, "--frames", 2)
    code, out, _ = unimo("generate", *arguments, "--output", tmp_path / "o", "--export", "bvh", "--no-render")
    assert code == 0
    for sample in ("sample_00", "sample_01"):
        names = {path.name for path in (tmp_path / "o" / sample).iterdir()}
        assert names == {"motion.npz", "video.mp4", "motion.bvh", "run.json"}
        assert f"wrote {tmp_path / 'o' / sample / 'motion.npz'}" in out
    record = json.loads((tmp_path / "o/sample_01/run.json").read_text())
    assert (record["sample"], record["input"]) == (1, str(inputs / "picture.png"))


def test_samples_of_an_earlier_run_are_never_mixed_with_new_ones(inputs: Path, tmp_path: Path, unimo) -> None:
    arguments = ("--image", inputs / "picture.png", "--bundle", "debug", "--frames", 2, "--no-render", "-o", tmp_path)
    assert unimo("generate", *arguments, "--num-samples", 2)[0] == 0
    (tmp_path / "sample_01" / "mine.txt").write_text("kept")
    code, _, err = unimo("generate", *arguments)
    assert code == 2 and "sample_00, sample_01 of an earlier run" in err
    assert unimo("generate", *arguments, "--overwrite")[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["motion.npz", "run.json", "sample_01", "video.mp4"]
    assert [path.name for path in (tmp_path / "sample_01").iterdir()] == ["mine.txt"]


def test_capture_then_visualize(inputs: Path, tmp_path: Path, unimo) -> None:
    common = ("--video", inputs / "clip.mp4", "--bundle", "debug", "--output", tmp_path)
    code, out, err = unimo("capture", *common, "--quiet")
    assert (code, out, err) == (0, "", "")
    assert {path.name for path in tmp_path.iterdir()} == {"motion.npz", "overlay.mp4", "side_by_side.mp4", "run.json"}
    code, _, err = unimo("capture", *common)
    assert code == 2 and "already holds motion.npz" in err and "--overwrite" in err
    motion = tmp_path / "motion.npz"
    assert unimo("visualize", motion, "--video", inputs / "clip.mp4", "--export", "glb")[0] == 0
    assert probe(tmp_path / "motion_view.mp4").width == 48 and (tmp_path / "motion_view.glb").exists()
    write_video(tmp_path / "longer.mp4", np.zeros((6, 40, 48, 3), np.uint8), 15)
    other = ("--video", tmp_path / "longer.mp4", "--output", tmp_path / "deep" / "view.mp4")
    code, _, err = unimo("visualize", motion, *other)
    assert code == 2 and "the video has 6 frames and the motion 4" in err and not (tmp_path / "deep").exists()
    assert unimo("visualize", motion, "--size", 64, "--overwrite")[0] == 0
    assert probe(tmp_path / "motion_view.mp4").width == 64


def test_a_picture_is_no_video_to_capture(inputs: Path, tmp_path: Path, unimo) -> None:
    for given in (inputs / "picture.png", inputs / "*c*"):
        code, _, err = unimo("capture", "--video", given, "--bundle", "debug", "--output", tmp_path / "out")
        assert code == 2 and "this is a picture; a video is wanted" in err and not (tmp_path / "out").exists()
        assert f"unimo generate --image {inputs / 'picture.png'}" in err and "unimo data extract" in err


def test_a_folder_with_a_broken_video_goes_on_and_reports(inputs: Path, tmp_path: Path, unimo) -> None:
    shutil.copytree(inputs, tmp_path / "in")
    arguments = ("--video", tmp_path / "in", "--output", tmp_path / "o", "--bundle", "debug", "--no-render")
    code, out, err = unimo("capture", *arguments)
    assert code == 2
    assert "text.mp4: this file" in err and "1 of 2 videos could not be captured" in err
    assert (tmp_path / "o/clip/motion.npz").exists() and not (tmp_path / "o/text").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("generate", "--image", "{in}/none.png"), "there is no such image file"),
        (("generate", "--image", "{in}"), "this is a folder, not an image file"),
        (("generate", "--image", "{in}/picture.png", "--bundle", "debug", "--frames", 17), "generates 2 to 9 frames"),
        (("generate", "--image", "{in}/picture.png", "--bundle", "nosuch"), "there is no bundle 'nosuch'"),
        (("generate", "--image", "{in}/picture.png", "--export", "fbx"), "unknown export 'fbx'"),
        (("generate", "--image", "{in}/picture.png", "--bundle", "debug", "--device", "gpu"), "the device 'gpu'"),
        (("generate", "--image", "{in}/picture.png", "--bundle", "debug", "--dtype", "int4"), "unknown dtype 'int4'"),
        (("generate", "--image", "{in}/picture.png", "--bundle", "debug", "--top-p", 2), "top-p must lie above 0"),
        (("generate", "--image", "{in}/picture.png", "--bundle", "debug", "--num-samples", 0), "at least 1, not 0"),
        (("capture", "--video", "{in}/text.mp4"), "this file"),
        (("capture", "--video", "{in}/none.mp4"), "there is no such video file"),
        (("capture", "--video", "{in}/*.webm"), "no file fits this pattern"),
        (("visualize", "{in}/none.npz"), "no motion file here"),
        (("visualize", "{in}/none.npz", "--output", "x.gif"), "one video file that ends in .mp4, not 'x.gif'"),
        (("synth", "--output", "{in}/s", "--mocap", "{in}/none.zip"), "there is no such motion file, folder or zip"),
        (("synth", "--output", "{in}/s", "--subjects", "02"), "--subjects chooses among the subjects of --mocap"),
        (("synth", "--output", "{in}/s", "--layers", "depth,flwo"), "there is no layer 'flwo'"),
        (("synth", "--output", "{in}/s", "--backgrounds", "{in}/none"), "no such folder of background pictures"),
        (("synth", "--output", "{in}/s", "--motion-blur", 2), "--motion-blur must be 0 to 1 of the time between"),
        (("evaluate", "capture", "--clips", "{in}", "--json", "{in}"), "--json names a folder; a file is wanted"),
        (("evaluate", "capture", "--clips", "{in}", "--dataset", "3dpw"), "--clips and --dataset exclude each other"),
        (("evaluate", "capture", "--clips", "{in}", "--quiet"), "--quiet without --json would show nothing"),
        (("evaluate", "generate", "--dataset", "rich", "--data", "{in}/none"), "there is no such file or folder"),
        (
            ("train", "ar", "--mocap", "{in}/none", "--validation-mocap", "{in}"),
            "there is no such motion file or folder",
        ),
        (("train", "motion-tokenizer", "--data", "{in}/none"), "there is no such motion file or folder"),
        (("train", "motion-tokenizer", "--data", "{in}"), "there is no .npz or .bvh file here: only"),
        (("bundle", "info", "nosuch"), "there is no bundle 'nosuch'"),
    ],
)
def test_wrong_input_is_one_message_and_exit_code_2(
    inputs: Path, unimo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: tuple, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = unimo(*(str(argument).replace("{in}", str(inputs)) for argument in arguments))
    assert code == 2
    assert err.startswith("error: ") and message in err and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(inputs: Path) -> None:
    with pytest.raises(InputError, match="there is no such image file"):
        run(["generate", "--image", str(inputs / "none.png"), "--debug"])


def test_unknown_options_and_missing_ones_are_usage_errors(unimo) -> None:
    code, _, err = unimo("generate", "--imgae", "x")
    assert code == 2 and "--image" in err


def test_dry_run_prints_the_plan_and_writes_nothing(
    inputs: Path, tmp_path: Path, unimo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (("generate", "--image", inputs / "picture.png"), ("capture", "--video", inputs / "clip.mp4")):
        code, out, _ = unimo(*arguments, "--bundle", "debug", "--dry-run")
        assert code == 0 and "Dry run: nothing was written." in out and "motion.npz" in out
    assert list(tmp_path.iterdir()) == []


def test_bundle_info_is_a_page_and_json_is_all_of_it(unimo) -> None:
    code, out, _ = unimo("bundle", "info", "mini")
    lines = {line[:30].strip(): line[30:] for line in out.splitlines()}
    assert code == 0 and len(out.splitlines()) < 30
    assert lines["licence"] == "Apache-2.0" and "fps 15, frames 17, side 128" in lines["settings"]
    info = load_bundle("mini").info
    size = sum(record.size for files in info.components.values() for record in files.values())
    assert lines["in all"] == f"25.6 M parameters, {size / 1e6:.1f} MB"
    assert set(info.components) < set(lines) and "in 4 files" in lines["visual_tokenizer/discrete"]
    assert "CMU motion capture" in lines["data"] and lines["clips"] == "30,000"
    for stage, numbers in info.training["stages"].items():
        told = lines[f"{stage} trained"]
        assert told.startswith(f"{numbers['minutes']:g} minutes; ") and f"{numbers['step']:,} steps" in told
    mpjpe = info.training["stages"]["motion-tokenizer"]["mpjpe_mm"]
    assert f"mpjpe_mm {mpjpe:.4g}" in lines["motion-tokenizer trained"]
    assert lines["also recorded"] == "settings, probe, constant_pose"
    code, out, _ = unimo("bundle", "info", "mini", "--json")
    assert code == 0 and json.loads(out) == to_dict(info)


def test_bundle_info_of_other_bundles(tmp_path: Path, unimo) -> None:
    debug = load_bundle("debug")
    parts = {"motion_tokenizer": debug.motion_tokenizer, "ar_model": debug.ar_model}
    origin = {"data": ["mine"], "clips": 1200, "validation": {"step": 1, "minutes": 2.5, "mpjpe_mm": 31.26}}
    cosmos = {"ar_model": {"from": "https://huggingface.co/nvidia/Cosmos-Predict1-4B", "files": {"model.pt": {}}}}
    training = {"motion_tokenizer": origin, "cosmos": cosmos, "note": "by me", "more": {"a": 1}}
    save_bundle(tmp_path / "my bundle", "mine", debug.settings, parts, training, "")
    code, out, _ = unimo("bundle", "info", tmp_path / "my bundle")
    said = {" ".join(line.split()) for line in out.splitlines()}
    assert code == 0 and said >= {
        "licence not stated", "motion_tokenizer: data mine", "motion_tokenizer: clips 1,200", "note by me",
        "motion_tokenizer trained 2.5 minutes; 1 step; mpjpe_mm 31.26", "also recorded more",
        "ar_model from https://huggingface.co/nvidia/Cosmos-Predict1-4B",
        f"All of it: unimo bundle info '{tmp_path}/my bundle' --json",
    }  # fmt: skip
    (tmp_path / "my bundle" / "ar_model" / "model.safetensors").write_bytes(b"")
    code, out, _ = unimo("bundle", "info", tmp_path / "my bundle")
    assert code == 0 and "damaged: The weights cannot be read: model.safetensors is empty." in out


def test_bundle_info_and_verify_of_random_weights(unimo) -> None:
    code, out, _ = unimo("bundle", "info", "debug")
    assert code == 0 and "canonical_focal 1.2" in out and out.count("random weights") == 6
    code, out, _ = unimo("bundle", "verify", "debug")
    assert code == 0 and out.count("whole") == 5


def test_a_component_nobody_knows_is_no_traceback(tmp_path: Path, unimo) -> None:
    debug = to_dict(load_bundle("debug").info) | {"components": {"audio": {"config.json": {"size": 2, "sha256": ""}}}}
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "config.json").write_text("{}")
    debug["components"]["audio"]["config.json"]["sha256"] = hashlib.sha256(b"{}").hexdigest()
    (tmp_path / "bundle.json").write_text(json.dumps(debug))
    code, _, err = unimo("bundle", "verify", tmp_path)
    assert code == 2 and "no component called 'audio'" in err and "Traceback" not in err


def test_videos_of_a_folder_a_pattern_or_a_file(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mov", "b.MP4", "notes.txt", "deep/a.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    single, videos = find_videos(str(tmp_path))
    assert not single and [path.name for path in videos] == ["a.mov", "a.mp4", "b.MP4"]
    out = Path("out")
    assert output_folders(videos, False, out) == [out / "a_mov", out / "a_mp4", out / "b"]
    _, videos = find_videos(str(tmp_path / "**/a.mp4"))
    assert [path.relative_to(tmp_path) for path in videos] == [Path("deep/a.mp4")]
    _, videos = find_videos(str(tmp_path / "[ad]*"))
    assert output_folders([tmp_path / "a.mp4", tmp_path / "deep/a.mp4"], False, out) == [out / "a", out / "deep/a"]
    assert find_videos(str(tmp_path / "b.MP4")) == (True, [tmp_path / "b.MP4"])
    assert output_folders([tmp_path / "b.MP4"], True, None) == [Path("outputs/capture/b")]
    assert output_folders([tmp_path / "b.MP4"], True, out) == [out]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="the folder holds no video"):
        find_videos(str(tmp_path / "empty"))


def test_seeds() -> None:
    assert parse_seeds("0,1, 2") == [0, 1, 2]
    for text in ("0,0", "-1"):
        with pytest.raises(InputError, match="--seeds takes different numbers of at least 0"):
            parse_seeds(text)


def test_the_options_are_these() -> None:
    """Users script against these names: removing one is a break."""
    from typer.main import get_command

    from unimo.cli.main import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    options = {name: {o for p in command.params for o in p.opts} for name, command in commands.items()}
    shared = {
        "--bundle",
        "--seed",
        "--focal",
        "--temperature",
        "--top-p",
        "--device",
        "--dtype",
        "--export",
        "--render",
    }
    shared |= {"--output", "--frames", "--overwrite", "--dry-run", "--quiet"}
    drawing = {"--decoder", "--steps", "--guidance", "--enhancer"}
    assert shared | drawing | {"--image", "--num-samples", "--rerank"} <= options["generate"]
    assert shared | {"--video"} <= options["capture"]
    assert {"--mocap", "--subjects", "--count", "--seed", "--output"} <= options["synth"]
    assert set(commands["train"].commands) == {"motion-tokenizer", "visual-tokenizer", "diffusion-decoder", "ar"}
    trained = {o for p in commands["train"].commands["motion-tokenizer"].params for o in p.opts}
    assert {"--data", "--validation-data", "--config", "--preset", "--work", "--minutes", "--resume"} <= trained
    assert set(commands["evaluate"].commands) == {"tokenizer", "capture", "generate", "report"}
    assert set(commands["bundle"].commands) == {"info", "verify", "import-cosmos"}


def test_defaults_on_the_command_line_are_those_of_the_code() -> None:
    # with another constant in place before anything else is imported
    code = """
import inspect, unimo.defaults
unimo.defaults.CAPTURE_SAMPLES = 3
from unimo.cli.capture import capture
from unimo.pipeline import UniMoPipeline
calls = capture, UniMoPipeline.capture, UniMoPipeline.capture_ids
print({inspect.signature(call).parameters["num_samples"].default for call in calls})
"""
    path = os.pathsep.join(filter(None, sys.path))
    printed = subprocess.check_output([sys.executable, "-c", code], text=True, env={**os.environ, "PYTHONPATH": path})
    assert printed.strip() == "{3}"
    for command in app.registered_commands:
        assert command.callback is not None
        if clips := inspect.signature(command.callback).parameters.get("clips"):
            assert clips.default == ChainConfig.clips


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("data", "prepare", "a", "b"), "stopped: run the same command again to go on"),
        (("train", "ar"), "stopped: add --resume to go on from the last checkpoint"),
        (("data", "report", "a"), "stopped"),
    ],
)
def test_an_interrupt_says_how_to_go_on(words: tuple[str, ...], said: str, unimo, monkeypatch) -> None:
    monkeypatch.setattr("unimo.cli.main.app", lambda *_, **__: (_ for _ in ()).throw(SystemExit(130)))
    code, out, err = unimo(*words)
    assert (code, out, err.strip()) == (130, "", said)
