"""docs/formats.md names the keys of run.json and motion.npz that runs write, no others, with their shapes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ar_model import UniMoTransformer
from tests.text.samples import JUMPS, noise, save_encoder
from unimo.bundle import load_bundle, save_bundle
from unimo.cli.main import run
from unimo.media.images import write_image
from unimo.media.video import write_video
from unimo.motion.motion import Motion
from unimo.motion.npz import KNOWN_KEYS, load_motion, save_motion

PAGE = (Path(__file__).parents[1] / "docs" / "formats.md").read_text(encoding="utf-8")


def table(heading: str) -> dict[str, tuple[str, str]]:
    """The other two cells by key, of the first table below a heading."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    return {key: (second, third) for keys, second, third in rows for key in re.findall(r"`(\w+)`", keys)}


RUN, MOTION = table("`run.json`"), table("`motion.npz`")


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """run.json by command, with the folder under "folder": real runs with random weights, with and without text."""
    base = tmp_path_factory.mktemp("runs")
    debug, t5 = load_bundle("debug"), save_encoder(base / "t5")
    torch.manual_seed(0)
    reads = UniMoTransformer(replace(debug.component("ar_model").config, context_dim=10))
    names = ("motion_tokenizer", "visual_tokenizer/discrete", "visual_tokenizer/continuous", "diffusion_decoder")
    parts = {name: debug.component(name) for name in names}
    save_bundle(base / "text", "text", debug.settings, parts | {"ar_model": reads})
    write_image(base / "picture.png", noise(40, 32))
    write_video(base / "clip.mp4", noise(6, 32, 32), 15)
    text = ("--bundle", str(base / "text"), "--prompt", JUMPS, "--text-encoder", str(t5))
    plain, picture = ("--bundle", "debug"), ("--image", str(base / "picture.png"), "--frames", "2")
    commands = {
        "generate": ("generate", *picture, *plain),
        "generate by diffusion": ("generate", *picture, *text, "--decoder", "diffusion", "--steps", "2"),
        "generate with rerank": ("generate", *picture, *plain, "--num-samples", "2", "--rerank"),
        "capture": ("capture", "--video", str(base / "clip.mp4"), *plain),
        "capture with a prompt": ("capture", "--video", str(base / "clip.mp4"), *text),
    }
    found = {}
    for name, command in commands.items():
        with pytest.raises(SystemExit) as stop:
            run([*command, "--no-render", "--quiet", "--device", "cpu", "--output", str(base / name)])
        assert not stop.value.code
        found[name] = json.loads((base / name / "run.json").read_text()) | {"folder": base / name}
    return found


@pytest.mark.parametrize(
    ("command", "whens"),
    [
        ("generate", {"always", "generate"}),
        ("generate by diffusion", {"always", "generate", "generate by diffusion", "with a prompt"}),
        ("generate with rerank", {"always", "generate", "generate with rerank"}),
        ("capture", {"always", "capture"}),
        ("capture with a prompt", {"always", "capture", "with a prompt"}),
    ],
)
def test_run_json_holds_the_documented_keys(records: dict[str, dict], command: str, whens: set[str]) -> None:
    record = {key: value for key, value in records[command].items() if key != "folder"}
    assert set(record) == {key for key, (when, _) in RUN.items() if when in whens}
    for key, value in record.items():
        if isinstance(value, dict) and key != "versions":
            assert set(value) <= set(re.findall(r"`(\w+)`", RUN[key][1])), key


def test_every_documented_key_of_run_json_is_written_by_some_run(records: dict[str, dict]) -> None:
    assert set(RUN) == {key for record in records.values() for key in record if key != "folder"}
    for key in ("bundle", "timings_s", "motion"):
        inside = {name for record in records.values() for name in record[key]}
        assert inside == set(re.findall(r"`(\w+)`", RUN[key][1])) - {"extras"}, key


def test_motion_npz_of_a_run_holds_the_documented_keys(records: dict[str, dict]) -> None:
    optional = {key for key, (_, what) in MOTION.items() if what.startswith("optional")}
    assert optional == {"cam2world", "intrinsics", "extras"}
    for record in records.values():
        with np.load(record["folder"] / "motion.npz", allow_pickle=False) as file:
            assert set(file.files) == set(MOTION) - optional | {"intrinsics"}
            check_shapes({key: file[key] for key in file.files}, record["motion"]["frames"])
            assert file["unimo_format"] == 1 and file["axes"] == "camera"


def test_optional_keys_of_motion_npz_are_written_when_there_is_something_to_say(tmp_path: Path) -> None:
    arrays = {"body_pose": np.zeros((4, 21, 3)), "betas": np.zeros((4, 10)), "global_orient": np.zeros((4, 3))}
    whole = Motion(
        **arrays, transl=np.zeros((4, 3)), fps=30.0, axes="camera", body="open", intrinsics=np.eye(3),
        cam2world=np.tile(np.eye(4), (4, 1, 1)), extras={"world_is_assumed": True},
    )  # fmt: skip
    save_motion(tmp_path / "whole.npz", whole)
    save_motion(tmp_path / "bare.npz", replace(whole, intrinsics=None, cam2world=None, extras=None))
    with np.load(tmp_path / "whole.npz") as file:
        assert set(file.files) == set(MOTION)
        check_shapes({key: file[key] for key in file.files}, 4)
    with np.load(tmp_path / "bare.npz") as file:
        assert set(MOTION) - set(file.files) == {"cam2world", "intrinsics", "extras"}
    assert load_motion(tmp_path / "bare.npz").extras is None
    assert set(MOTION) - {"num_betas", "mocap_time_length"} <= KNOWN_KEYS  # what is read again


def check_shapes(arrays: dict[str, np.ndarray], frames: int) -> None:
    """Shapes as the second cell of the row says: one for each key, or one for all, "scalar" or text for none."""
    for line in PAGE.split("## `motion.npz`\n")[1].split("\n## ")[0].splitlines():
        if not line.startswith("| `"):
            continue
        names, said, _ = line.strip("| ").split(" | ")
        keys = re.findall(r"`(\w+)`", names)
        groups = [re.findall(r"T|\d+", text) for text in re.findall(r"\([^)]*\)", said)]
        shapes = [tuple(frames if size == "T" else int(size) for size in group) for group in groups]
        for key, shape in zip(keys, shapes or [()] * len(keys), strict=True):
            if key in arrays:
                assert arrays[key].shape == shape, key
