"""The enhancer hook with stand-in processes that take SeedVR's arguments and crop, pad and write as it does."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from unimo import enhance
from unimo.enhance import (
    SEEDVR_COMMAND,
    SEEDVR_FILES,
    EnhancerError,
    NoEnhancer,
    SeedVREnhancer,
    enhance_result,
    find_enhancer,
)
from unimo.errors import InputError, MissingAssetError
from unimo.media.source import FrameSource
from unimo.media.video import probe
from unimo.metrics.video import colors_at
from unimo.motion.motion import Motion
from unimo.motion.npz import load_motion
from unimo.result import Result

ROOT = Path(__file__).resolve().parents[1]
ARGUMENTS = SEEDVR_COMMAND.split("3b.py ")[1]
# SeedVR's own order: every mp4 of a folder, resized to an area, cropped to multiples of 16, made 4 n + 1 frames long
STAND_IN = """
import argparse, math, os, sys, time
from pathlib import Path
import numpy as np
from PIL import Image
sys.path.insert(0, {root!r})
from unimo.media.video import read_video, write_video
parser = argparse.ArgumentParser()
for name, kind in (("video_path", Path), ("output_dir", Path), ("seed", int), ("res_h", int), ("res_w", int),
                   ("sp_size", int)):
    parser.add_argument("--" + name, type=kind, required=True)
a = parser.parse_args()
print("working on", a.video_path, "seed", a.seed)
for file in sorted(a.video_path.glob("*.mp4")):
    frames = read_video(file)
    height, width = frames.shape[1:3]
    scale = math.sqrt(a.res_h * a.res_w / (height * width))
    size = round(width * scale), round(height * scale)
    frames = np.stack([np.asarray(Image.fromarray(f).resize(size, Image.Resampling.BICUBIC)) for f in frames])
    top, left = frames.shape[1] % 16, frames.shape[2] % 16
    frames = frames[:, top // 2 : frames.shape[1] - (top + 1) // 2, left // 2 : frames.shape[2] - (left + 1) // 2]
    frames = np.concatenate([frames, np.repeat(frames[-1:], -(len(frames) - 1) % 4, 0)])
    {change}
    write_video(a.output_dir / file.name, frames, 24, crf=1, full_chroma=True)
"""


@pytest.fixture
def install(tmp_path: Path) -> Callable[..., SeedVREnhancer]:
    """Makes a checkout whose script is the stand-in with one line of its own, or another script."""

    def make(change: str = "pass", script: str | None = None, **options: object) -> SeedVREnhancer:
        folder = tmp_path / "a checkout"
        folder.mkdir(exist_ok=True)
        text = script or STAND_IN.format(root=str(ROOT), change=change)
        (folder / "stand_in.py").write_text(text)
        command = f"{sys.executable} stand_in.py {ARGUMENTS}"
        return SeedVREnhancer(folder, command, **{"longer_side": 64, **options})  # type: ignore[arg-type]

    return make


def smooth_video(frames: int, height: int, width: int) -> np.ndarray:
    noise = gaussian_filter(np.random.default_rng(0).normal(size=(frames, height, width, 3)), (0, 3, 3, 0))
    return ((noise - noise.min()) / np.ptp(noise) * 255).astype(np.uint8)


def generated(frames: np.ndarray, **run: object) -> Result:
    count, height, width = frames.shape[:3]
    zeros = np.zeros((count, 3))
    intrinsics = np.array([[40.0, 0, width / 2], [0, 40.0, height / 2], [0, 0, 1]])
    motion = Motion(np.zeros((count, 21, 3)), np.zeros(10), zeros, zeros + [0.1, 0.2, 3.0], 15.0, intrinsics=intrinsics)
    return Result("generate", motion, FrameSource.of(frames, 15.0), {"seed": 5, "sample": 2, **run})


@pytest.mark.parametrize(("frames", "height", "width"), [(6, 33, 21), (9, 32, 32), (2, 20, 64)])
def test_the_whole_picture_comes_back_larger(install, frames: int, height: int, width: int) -> None:
    video = smooth_video(frames, height, width)
    enhanced = install()(video, 15.0, 1)
    factor = 2 if max(height, width) < 64 else 1
    assert enhanced.shape == (frames, factor * height, factor * width, 3) and enhanced.dtype == np.uint8
    again = enhanced.reshape(frames, height, factor, width, factor, 3).mean((2, 4))
    # nothing is shifted: a shift by one pixel of the small video is a larger difference
    shifted = min(np.abs(again[:, 1:] - video[:, :-1]).mean(), np.abs(again[:, :, 1:] - video[:, :, :-1]).mean())
    assert np.abs(again - video).mean() < 2.5 < shifted


def test_the_factor_is_the_smallest_that_reaches_the_longer_side(install) -> None:
    video = smooth_video(5, 32, 16)
    assert install(longer_side=65)(video, 15.0, 1).shape == (5, 96, 48, 3)
    assert install(longer_side=20)(video, 15.0, 1).shape == video.shape


def test_the_command_gets_seedvrs_arguments(install) -> None:
    words = "import sys; (print(sys.argv, end=''), sys.exit(3))"
    with pytest.raises(EnhancerError) as caught:
        install(script=words)(smooth_video(5, 20, 30), 15.0, 7)
    text = str(caught.value)
    assert "'--seed', '7', '--res_h', '96', '--res_w', '96', '--sp_size', '1'" in text
    assert "'--video_path', '" in text and "'--output_dir', '" in text


def test_the_process_finds_the_checkouts_packages(install, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    script = "import os, sys; sys.exit(os.getcwd() + '|' + os.environ['PYTHONPATH'])"
    enhancer = install(script=script)
    with pytest.raises(EnhancerError) as caught:
        enhancer(smooth_video(5, 16, 16), 15.0, 0)
    assert f"{enhancer.folder}|{enhancer.folder}{os.pathsep}/elsewhere" in str(caught.value)


def test_a_failing_command_shows_its_last_lines(install) -> None:
    script = "import sys\nfor i in range(20): print('step', i, file=sys.stderr)\nraise RuntimeError('out of memory')"
    with pytest.raises(EnhancerError, match="exit code 1") as caught:
        install(script=script)(smooth_video(5, 16, 16), 15.0, 0)
    error = caught.value
    assert "RuntimeError: out of memory" in error.what and "step 19" in error.what and "step 9" not in error.what
    assert error.where and "stand_in.py" in error.where and "UNIMO_SEEDVR_COMMAND" in (error.fix or "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("sys.exit(0)", "no videos where one was expected"),
        ("write_video(a.output_dir / 'more.mp4', frames, 24)", "2 videos where one was expected"),
        ("(a.output_dir / file.name).write_text('x' * 99); sys.exit(0)", "cannot be read"),
        ("frames = frames[:-1]", "8 frames for 9"),
        ("frames = np.concatenate([frames, frames])", "18 frames for 9"),
        ("frames = frames[:, 8:-8]", "cropped or stretched"),
        ("frames = frames[:, :, ::2]", "cropped or stretched"),
    ],
)
def test_what_does_not_belong_to_the_video_is_refused(install, change: str, message: str) -> None:
    with pytest.raises(EnhancerError, match=message):
        install(change)(smooth_video(9, 32, 48), 15.0, 0)


def test_a_hanging_command_is_stopped_with_its_children(install, tmp_path: Path) -> None:
    child = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    pid_file = tmp_path / "pid"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}, {str(pid_file)!r}])"
    started = time.monotonic()
    with pytest.raises(EnhancerError, match="longer than 4 s"):
        install(script=script, timeout_s=4)(smooth_video(5, 16, 16), 15.0, 0)
    assert time.monotonic() - started < 14
    deadline = time.monotonic() + 5
    while running(int(pid_file.read_text())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running(int(pid_file.read_text()))


def test_a_command_deaf_to_signals_is_killed(install, monkeypatch) -> None:
    monkeypatch.setattr(enhance, "_PATIENCE_S", 0.2)
    script = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf'); time.sleep(60)"
    started = time.monotonic()
    with pytest.raises(EnhancerError, match="longer than 1.5 s"):
        install(script=script, timeout_s=1.5)(smooth_video(5, 16, 16), 15.0, 0)
    assert time.monotonic() - started < 14


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_result_keeps_its_motion_and_scales_its_camera(install) -> None:
    video = smooth_video(6, 33, 21)
    result = generated(video)
    enhanced = enhance_result(result, install())
    assert enhanced.frames.shape == (6, 66, 42, 3) and enhanced.source.fps == 15.0
    assert (enhanced.source.height, enhanced.source.width, enhanced.source.frames) == (66, 42, 6)
    before, after = result.motion, enhanced.motion
    np.testing.assert_allclose(after.intrinsics, np.diag([2, 2, 1]) @ before.intrinsics)
    for name in ("body_pose", "betas", "global_orient", "transl"):
        assert getattr(after, name) is getattr(before, name)
    assert enhanced.run["enhancer"]["name"] == "seedvr" and enhanced.run["enhancer"]["frame_size"] == [66, 42]
    assert enhanced.run["timings_s"]["enhance"] > 0 and "enhancer" not in result.run


def test_the_camera_still_sees_the_same_thing_at_the_same_place(install) -> None:
    video = np.full((5, 40, 28, 3), 30, np.uint8)
    video[:, 22:27, 17:22] = (220, 60, 120)
    result = generated(video)
    point = np.array([0.4125, 0.3375, 3.0])  # lands on the middle of the square, (19.5, 24.5)

    def seen(one: Result) -> np.ndarray:
        x, y, z = one.motion.intrinsics @ point
        return colors_at(one.frames, np.tile([x / z, y / z], (5, 1, 1)))[:, 0]

    np.testing.assert_array_equal(seen(result), [[220, 60, 120]] * 5)
    np.testing.assert_allclose(seen(enhance_result(result, install(longer_side=120))), [[220, 60, 120]] * 5, atol=12)


def test_each_sample_has_a_seed_of_its_own(install) -> None:
    class Remembers(NoEnhancer):
        seeds: list[int] = []

        def __call__(self, frames: np.ndarray, fps: float, seed: int) -> np.ndarray:
            self.seeds.append(seed)
            return frames

    for run in ({"seed": 5, "sample": 2}, {"seed": 7, "sample": 0}, {"seed": 2**63 - 1, "sample": 3}):
        enhance_result(generated(smooth_video(2, 16, 16), **run), Remembers())
    assert Remembers.seeds == [7, 7, 2]  # the last one stays within 32 bits


def test_the_files_of_an_enhanced_result_agree(install, tmp_path: Path) -> None:
    enhanced = enhance_result(generated(smooth_video(5, 32, 24)), install())
    enhanced.save(tmp_path / "out", render=False)
    info = probe(tmp_path / "out" / "video.mp4")
    assert (info.height, info.width, info.frames) == (64, 48, 5) and info.fps == pytest.approx(15)
    saved = load_motion(tmp_path / "out" / "motion.npz")
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    np.testing.assert_allclose(saved.intrinsics[:2, 2], (24, 32))
    np.testing.assert_allclose(record["motion"]["intrinsics"], saved.intrinsics)
    assert record["enhancer"]["name"] == "seedvr" and record["enhancer"]["frame_size"] == [64, 48]
    assert "stand_in.py" in record["enhancer"]["command"]


def test_none_changes_nothing_and_is_recorded() -> None:
    result = generated(smooth_video(3, 16, 20))
    enhanced = enhance_result(result, find_enhancer("none"))
    np.testing.assert_array_equal(enhanced.frames, result.frames)
    np.testing.assert_array_equal(enhanced.motion.intrinsics, result.motion.intrinsics)
    assert enhanced.run["enhancer"] == {"name": "none", "frame_size": [16, 20]}


def test_other_enhancers_are_held_to_the_number_of_frames() -> None:
    class Drops(NoEnhancer):
        def __call__(self, frames: np.ndarray, fps: float, seed: int) -> np.ndarray:
            return frames[1:]

    class Floats(NoEnhancer):
        def __call__(self, frames: np.ndarray, fps: float, seed: int) -> np.ndarray:
            return frames / 255

    for enhancer in (Drops(), Floats()):
        with pytest.raises(EnhancerError, match="as many frames are wanted"):
            enhance_result(generated(smooth_video(3, 16, 20)), enhancer)


def test_captured_clips_are_not_enhanced() -> None:
    result = generated(smooth_video(3, 16, 20))
    with pytest.raises(InputError, match="only generated"):
        enhance_result(Result("capture", result.motion, result.source), NoEnhancer())


def test_what_is_not_configured_says_how(monkeypatch, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--enhancer none or seedvr"):
        find_enhancer("seedvr2")
    for name in ("UNIMO_SEEDVR", "UNIMO_SEEDVR_COMMAND"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(MissingAssetError, match="export UNIMO_SEEDVR=FOLDER"):
        find_enhancer("seedvr")
    monkeypatch.setenv("UNIMO_SEEDVR", str(tmp_path / "nowhere"))
    with pytest.raises(MissingAssetError, match="folder of SeedVR is not there"):
        find_enhancer("seedvr")


def test_each_file_of_the_usual_installation_is_looked_for(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UNIMO_SEEDVR", str(tmp_path))
    monkeypatch.delenv("UNIMO_SEEDVR_COMMAND", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for name in SEEDVR_FILES:
        with pytest.raises(MissingAssetError, match=name):
            find_enhancer("seedvr")
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(MissingAssetError, match="program 'torchrun'"):
        find_enhancer("seedvr")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "torchrun").touch(mode=0o755)
    assert find_enhancer("seedvr").record == {"name": "seedvr", "command": SEEDVR_COMMAND}


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("python3 x.py --video_path {video_path}", r"does not name \{output_dir\}"),
        ("python3 {video_path} {output_dir} {size}", "malformed"),
        ("python3 '{video_path} {output_dir}", "malformed"),
        ("python3 {video_path} {output_dir} {0}", "malformed"),
    ],
)
def test_malformed_commands_are_refused_before_any_work(monkeypatch, tmp_path: Path, command, message) -> None:
    monkeypatch.setenv("UNIMO_SEEDVR", str(tmp_path))
    monkeypatch.setenv("UNIMO_SEEDVR_COMMAND", command)
    with pytest.raises(InputError, match=message):
        find_enhancer("seedvr")


def test_a_program_with_a_slash_is_seen_from_the_checkout(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UNIMO_SEEDVR", str(tmp_path))
    monkeypatch.setenv("UNIMO_SEEDVR_COMMAND", "./run.sh {video_path} {output_dir}")
    with pytest.raises(MissingAssetError, match=r"program './run.sh'"):
        find_enhancer("seedvr")
    (tmp_path / "run.sh").touch(mode=0o755)
    assert isinstance(find_enhancer("seedvr"), SeedVREnhancer)
