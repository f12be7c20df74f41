"""VBench's adapter with a stand-in that takes the arguments and writes the results of version 0.1.5."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from unimo.errors import InputError, MissingAssetError
from unimo.evaluation.vbench_adapter import (
    DIMENSIONS,
    PYTHON_VARIABLE,
    VBenchError,
    check_vbench,
    run_vbench,
)

# scores of a video: its size in bytes / 1000
STAND_IN = """#!{python}
import argparse, json, os, sys, time
from pathlib import Path
assert sys.argv[1] == "-I"
if sys.argv[2] == "-c":
    print("vbench 0.1.5")
    sys.exit()
assert sys.argv[2:4] == ["-m", "vbench.launch.evaluate"]
parser = argparse.ArgumentParser()
parser.add_argument("--videos_path")
parser.add_argument("--output_path")
parser.add_argument("--mode", choices=["custom_input"])
parser.add_argument("--dimension", nargs="+")
a = parser.parse_args(sys.argv[4:])
print("group", os.environ["WORLD_SIZE"], os.environ["RANK"], int(os.environ["MASTER_PORT"]) > 0)
videos = sorted(Path(a.videos_path).iterdir(), reverse=True)
assert all(video.suffix == ".mp4" for video in videos)
sizes = {str(video): video.stat().st_size / 1000 for video in videos}
results = {}
for name in a.dimension:
    values = {path: size > 0.2 if name == "dynamic_degree" else size for path, size in sizes.items()}
    mean = sum(values.values()) / len(values)
    if name == "imaging_quality":
        values = {path: 100 * value for path, value in values.items()}
    results[name] = [mean, [{"video_path": path, "video_results": value} for path, value in values.items()]]
{change}
output = Path(a.output_path)
output.mkdir()
(output / "results_2026-01-01-00:00:00_full_info.json").write_text("[]")
(output / "results_2026-01-01-00:00:00_eval_results.json").write_text(json.dumps(results))
"""


def vbench_scores(videos: Sequence[Path], dimensions: Sequence[str] = DIMENSIONS) -> dict[str, float]:
    """What VBench prints for some videos."""
    return {name: scores.mean for name, scores in run_vbench(videos, dimensions).items()}


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Path]:
    """Writes the stand-in and points the environment at it."""

    def write(change: str = "") -> Path:
        python = tmp_path / "environment" / "python"
        python.parent.mkdir()
        python.write_text(STAND_IN.replace("{python}", sys.executable).replace("{change}", change))
        python.chmod(0o755)
        monkeypatch.setenv(PYTHON_VARIABLE, str(python))
        monkeypatch.setenv("WORLD_SIZE", "8")
        monkeypatch.setenv("RANK", "3")
        return python

    return write


@pytest.fixture
def videos(tmp_path: Path) -> list[Path]:
    """Three of one name."""
    found = []
    for folder, size in (("b", 300), ("a", 100), ("c", 200)):
        path = tmp_path / folder / "000000-seed0.mp4"
        path.parent.mkdir()
        path.write_bytes(b"x" * size)
        found.append(path)
    return found


def test_scores_come_back_by_dimension_and_in_the_order_of_the_videos(install, videos: list[Path]) -> None:
    install()
    found = run_vbench(videos, ["subject_consistency", "imaging_quality", "dynamic_degree"])
    assert list(found) == ["subject_consistency", "imaging_quality", "dynamic_degree"]
    assert found["subject_consistency"].mean == pytest.approx(0.2)
    for name in ("subject_consistency", "imaging_quality"):
        assert found[name].per_video == pytest.approx((0.3, 0.1, 0.2))
    assert found["dynamic_degree"].per_video == (1, 0, 0)
    assert vbench_scores(videos)["dynamic_degree"] == pytest.approx(1 / 3)
    assert set(vbench_scores(videos[:1])) == set(DIMENSIONS)


def test_relative_paths_of_videos(install, videos: list[Path], monkeypatch, tmp_path: Path) -> None:
    install()
    monkeypatch.chdir(tmp_path)
    relative = [path.relative_to(tmp_path) for path in videos]
    assert vbench_scores(relative, ["aesthetic_quality"])["aesthetic_quality"] == pytest.approx(0.2)


def test_the_doctor_s_row(install, monkeypatch) -> None:
    python = install()
    assert check_vbench() == f"{python}: vbench 0.1.5"
    monkeypatch.setenv(PYTHON_VARIABLE, sys.executable)
    with pytest.raises(MissingAssetError, match="VBench is not in its environment: .*PackageNotFoundError"):
        check_vbench()


def test_what_is_missing_is_said_with_how_to_get_it(monkeypatch, videos: list[Path], tmp_path: Path) -> None:
    monkeypatch.delenv(PYTHON_VARIABLE, raising=False)
    for ask in (check_vbench, lambda: vbench_scores(videos)):
        with pytest.raises(MissingAssetError) as error:
            ask()
        for words in ("VBench is not configured", PYTHON_VARIABLE, "install torch torchvision vbench", "NVIDIA"):
            assert words in str(error.value)
    monkeypatch.setenv(PYTHON_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(MissingAssetError, match="the Python of VBench is not there"):
        vbench_scores(videos)
    (tmp_path / "text").write_text("not a program")
    monkeypatch.setenv(PYTHON_VARIABLE, str(tmp_path / "text"))
    with pytest.raises(MissingAssetError, match="the Python of VBench is not there"):
        check_vbench()


def test_bad_arguments_are_refused_before_anything_runs(monkeypatch, videos: list[Path], tmp_path: Path) -> None:
    monkeypatch.delenv(PYTHON_VARIABLE, raising=False)
    for dimensions in (["beauty"], ["object_class"], []):
        with pytest.raises(InputError, match="not a dimension of VBench that any video has"):
            run_vbench(videos, dimensions)
    with pytest.raises(InputError, match="no video"):
        run_vbench([])
    (tmp_path / "a.webm").write_bytes(b"x")
    for path in (tmp_path / "a.webm", tmp_path / "none.mp4", tmp_path):
        with pytest.raises(InputError, match="needs mp4"):
            run_vbench([*videos, path])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("sys.exit('CUDA is not here')", "failed with exit code 1; its last words:\ngroup 1 0 True\nCUDA is not here"),
        ("sys.exit(0)", "wrote no files"),
        ("results = []", "no mapping"),
        ("results.pop('aesthetic_quality')", "gave no aesthetic_quality for every one of 3 videos"),
        ("results['aesthetic_quality'][1].pop()", "gave no aesthetic_quality for every one of 3 videos"),
        ("results['aesthetic_quality'] = 0.5", "gave no aesthetic_quality"),
        ("results['aesthetic_quality'][0] = float('nan')", "is no number"),
        ("results['aesthetic_quality'][1][0]['video_results'] = None", "gave no aesthetic_quality"),
        ("results = {'a': Path()}", "failed with exit code 1"),
    ],
)
def test_a_run_that_goes_wrong(install, videos: list[Path], change: str, words: str) -> None:
    install(change)
    with pytest.raises(VBenchError) as error:
        vbench_scores(videos, ["aesthetic_quality"])
    assert words in str(error.value)


def test_a_slow_run_and_a_program_that_is_none(install, videos: list[Path]) -> None:
    python = install("time.sleep(60)")
    with pytest.raises(VBenchError, match="longer than 0.5 s"):
        run_vbench(videos, timeout_s=0.5)
    python.write_bytes(b"\x00\x01")
    with pytest.raises(VBenchError, match="cannot be started"):
        run_vbench(videos)
    with pytest.raises(MissingAssetError, match="is not in its environment"):
        check_vbench()
