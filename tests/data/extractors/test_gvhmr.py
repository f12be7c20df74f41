"""GVHMR's adapter with a stand-in that takes the demo's arguments and writes a result of the published format."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unimo.data.extractors import extractor
from unimo.data.extractors.gvhmr import COMMAND_VARIABLE, FOLDER_VARIABLE, GvhmrExtractor
from unimo.data.extractors.protocol import ExtractorError
from unimo.errors import InputError, MissingAssetError
from unimo.media.video import write_video

FRAMES = 9
STAND_IN = """
import argparse, shutil, sys
from pathlib import Path
parser = argparse.ArgumentParser()
parser.add_argument("--video", required=True)
parser.add_argument("--output_root", required=True)
a = parser.parse_args()
print("working on", a.video)
assert Path(a.video).is_file()
folder = Path(a.output_root, Path(a.video).stem)
folder.mkdir(parents=True)
{change}
shutil.copy(Path("result.pt"), folder / "hmr4d_results.pt")
"""


def published() -> dict[str, Any]:
    """A result as GVHMR writes it: somebody who stands 4 m ahead, one knee bent, and glides to the right."""

    def part(orient: torch.Tensor, transl: torch.Tensor) -> dict[str, torch.Tensor]:
        pose = torch.zeros(FRAMES, 63)
        pose[:, 9] = 0.5
        return {"body_pose": pose, "betas": torch.zeros(FRAMES, 10), "global_orient": orient, "transl": transl}

    along = torch.linspace(0, 0.8, FRAMES)
    place = torch.stack([along, torch.full((FRAMES,), 0.3), torch.full((FRAMES,), 4.0)], 1)
    return {
        "smpl_params_incam": part(torch.tensor([torch.pi, 0, 0]).repeat(FRAMES, 1), place),
        "smpl_params_global": part(torch.zeros(FRAMES, 3), place * 0),
        "K_fullimg": torch.tensor([[100.0, 0, 48], [0, 100.0, 32], [0, 0, 1]]).repeat(FRAMES, 1, 1),
        "net_outputs": {"large": torch.zeros(1, FRAMES, 3)},
    }


@pytest.fixture
def video(tmp_path: Path) -> Path:
    frames = np.random.default_rng(0).integers(0, 255, (FRAMES, 64, 96, 3), np.uint8)
    write_video(tmp_path / "walk.mp4", frames, 25)
    return tmp_path / "walk.mp4"


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Writes a checkout with the stand-in and points the environment at it."""

    def write(change: str = "", result: dict[str, Any] | None = None) -> GvhmrExtractor:
        script = tmp_path / "checkout/tools/demo/demo.py"
        script.parent.mkdir(parents=True)
        torch.save(result or published(), tmp_path / "checkout/result.pt")
        script.write_text(STAND_IN.replace("{change}", change))
        monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "checkout"))
        words = f"'{sys.executable}' tools/demo/demo.py --video={{video}} --output_root={{output_dir}}"
        monkeypatch.setenv(COMMAND_VARIABLE, words)
        return GvhmrExtractor.from_environment()

    return write


def test_a_result_becomes_a_track(install, video: Path) -> None:
    (track,) = install().extract(video)
    assert track.frames.tolist() == list(range(9)) and (track.confidence == 1).all()
    motion = track.motion
    assert (motion.axes, motion.body, motion.fps) == ("camera", "smplx", 25)  # not the 30 that the demo writes
    assert motion.body_pose[0, 3, 0] == pytest.approx(0.5) and motion.transl[8, 0] == pytest.approx(0.8)
    assert motion.cam2world is not None and motion.intrinsics is not None and motion.intrinsics[0, 2] == 48
    left, top, right, bottom = track.boxes[0]
    # the pelvis stands 0.35 m above transl at 4 m: pixel (48, 31)
    assert 0 <= left < 48 < right <= 96 and 0 <= top < 31 < bottom <= 64
    assert track.boxes[8, 0] > left


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("raise SystemExit('CUDA out of memory')", "(?s)exit code 1.*working on.*CUDA out of memory"),
        ("sys.exit()", "wrote no files hmr4d_results.pt"),
        ("shutil.copy('result.pt', Path(a.output_root, 'hmr4d_results.pt'))", "wrote 2 files"),
        ("Path('result.pt').write_bytes(b'PK no tensors')", "cannot be read"),
    ],
)
def test_what_goes_wrong_is_said(install, video: Path, change: str, words: str) -> None:
    with pytest.raises(ExtractorError, match=words):
        install(change).extract(video)


def test_results_that_do_not_belong_to_the_video(install, video: Path) -> None:
    extractor = install()

    def refused(result: dict[str, Any], words: str) -> None:
        torch.save(result, extractor.folder / "result.pt")
        with pytest.raises(ExtractorError, match=words):
            extractor.extract(video)

    whole = published()
    refused({key: part for key, part in whole.items() if key != "smpl_params_global"}, "cannot be read")
    refused({key: part for key, part in whole.items() if key != "K_fullimg"}, "no K_fullimg")
    short = {key: {name: row[:8] for name, row in part.items()} for key, part in whole.items() if "smpl" in key}
    refused({**short, "K_fullimg": whole["K_fullimg"][:8]}, "8 frames for the 9")
    whole["smpl_params_incam"]["transl"][0, 0] = torch.nan
    refused(whole, "cannot be read")


def test_too_long(install, video: Path) -> None:
    install("import time; time.sleep(30)")
    folder = Path(GvhmrExtractor.from_environment().folder)
    slow = GvhmrExtractor(folder, GvhmrExtractor.from_environment().command, timeout_s=0.2)
    with pytest.raises(ExtractorError, match="longer than 0.2 s"):
        slow.extract(video)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    monkeypatch.delenv(COMMAND_VARIABLE, raising=False)
    with pytest.raises(MissingAssetError, match="(?s)not configured.*export UNIMO_GVHMR=.*docs/extractors.md"):
        extractor("gvhmr")
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(MissingAssetError, match="demo.py"):
        extractor("gvhmr")
    (tmp_path / "run.py").touch()
    monkeypatch.setenv(COMMAND_VARIABLE, "no-such-python run.py {video} {output_dir}")
    with pytest.raises(MissingAssetError, match="no-such-python"):
        extractor("gvhmr")
    monkeypatch.setenv(COMMAND_VARIABLE, "python run.py {video}")
    with pytest.raises(InputError, match="does not name {output_dir}"):
        extractor("gvhmr")
    monkeypatch.setenv(COMMAND_VARIABLE, "python run.py {video} {output_dir} {gpu}")
    with pytest.raises(InputError, match="malformed"):
        extractor("gvhmr")
    with pytest.raises(InputError, match="focal"):
        extractor("gvhmr", focal=500)
