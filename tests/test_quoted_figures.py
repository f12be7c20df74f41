"""Figures that README.md and docs/results.md repeat are those of the shipped bundle and of docs/results.json."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from unimo.bundle import Bundle, load_bundle
from unimo.defaults import CAPTURE_SAMPLES
from unimo.evaluation.results import BEGIN, END, results_tables
from unimo.weights import file_record

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
RESULTS = json.loads((ROOT / "docs" / "results.json").read_text(encoding="utf-8"))
TOKENIZER, CAPTURE = RESULTS["tokenizer"], RESULTS["capture"]
BY_HAND = PAGE[PAGE.index(END) :]


@pytest.fixture(scope="module")
def mini() -> Bundle:
    return load_bundle(ROOT / "assets" / "bundles" / "mini")


def one(pattern: str, text: str) -> tuple[str, ...]:
    """The groups of a pattern that stands once in a text, whatever its lines."""
    found = list(re.finditer(pattern, " ".join(text.split())))
    assert len(found) == 1, f"{pattern!r} stands {len(found)} times"
    return found[0].groups()


def cell(label: str) -> str:
    """The second cell of a row of the hand-written tables."""
    rows = [line.split(" | ")[1] for line in BY_HAND.splitlines() if line.startswith(f"| {label} | ")]
    assert len(rows) == 1, f"{len(rows)} rows called {label!r}"
    return rows[0]


def close(quoted: str, exact: float) -> bool:
    """Whether a quoted figure is an exact one, rounded to its own digits."""
    decimals = len(quoted.partition(".")[2])
    return abs(float(quoted) - exact) <= 0.5 * 10**-decimals * 1.000001


def test_the_automatic_section_is_what_results_json_says() -> None:
    assert PAGE[PAGE.index(BEGIN) + len(BEGIN) + 1 : PAGE.index(END)] == results_tables(RESULTS)


def test_the_results_are_those_of_the_shipped_bundle(mini: Bundle) -> None:
    shipped = file_record(ROOT / "assets" / "bundles" / "mini" / "bundle.json").sha256
    assert {RESULTS[kind]["header"]["bundle"]["sha256"] for kind in ("tokenizer", "capture", "generate")} == {shipped}
    assert RESULTS["probe"] == mini.info.training["probe"]


def test_the_models_of_the_readme(mini: Bundle) -> None:
    rows = [line.strip("| ").split(" | ") for line in README.splitlines() if line.startswith(("| `mini`", "| `debug`"))]
    (_, frames, pixels, body, parameters, disk, memory), debug = rows
    settings = mini.settings
    assert frames == f"{settings.frames} at {settings.fps:g} per second"
    assert pixels.split()[0] == str(settings.side) and body == settings.body
    assert close(parameters.removesuffix(" M"), sum(map(mini.parameters, mini.info.components)) / 1e6)
    size = sum(record.size for files in mini.info.components.values() for record in files.values())
    assert float(disk.removesuffix(" MB")) == pytest.approx(size / 1e6, rel=0.05)
    peak = max(cost["peak_memory_gb"] for cost in RESULTS["commands"].values())
    assert int(memory.removesuffix(" GB")) == math.ceil(peak)
    small = load_bundle("debug").settings
    assert debug[1:4] == [f"{small.frames} at {small.fps:g} per second", str(small.side), small.body]


def test_what_the_readme_says_of_capture(mini: Bundle) -> None:
    quoted = one(r"`capture` has ([\d.]+) times the MPJPE of one constant pose \(interval ([\d.]+)-([\d.]+)\)", README)
    exact = CAPTURE["ratio_to_constant_pose.mpjpe"], *CAPTURE["interval95.ratio_to_constant_pose.mpjpe"]
    assert all(map(close, quoted, exact)), (quoted, exact)
    quoted = one(r"([\d.]+) times its error in heading and ([\d.]+) times in place", README)
    exact = [CAPTURE[f"ratio_to_constant_pose.{key}"] for key in ("root_orientation", "root_translation")]
    assert all(map(close, quoted, exact)), (quoted, exact)
    assert one(r"`--num-samples` times \((\d+)\)", README) == (str(CAPTURE_SAMPLES),)
    assert one(r"window long \((\d+) frames for `mini`\)", README) == (str(mini.settings.frames),)
    assert one(r"ids \(windows, (\d+), (\d+)\), 36 a frame", README) == (str(mini.settings.frames), "36")


@pytest.mark.parametrize(
    ("label", "keys"),
    [
        ("discrete tokenizer: PSNR / SSIM / ids in use", ("psnr_db", "ssim", "%visual_codebook_use")),
        ("continuous tokenizer: PSNR / SSIM", ("continuous.psnr_db", "continuous.ssim")),
        ("diffusion decoder against direct: PSNR", ("diffusion.psnr_db", "psnr_db")),
        ("the same: GMSD (lower is better) / SSIM", ("diffusion.gmsd", "gmsd", "diffusion.ssim", "ssim")),
        ("the same: sharpness ÷ real", ("diffusion.sharpness_ratio", "sharpness_ratio")),
        ("the same: flicker that is not real, 0–255", ("diffusion.flicker_error", "flicker_error")),
        ("shipped: MPJPE, 64 rendered clips of 17 frames", ("mpjpe_mm",)),
        ("the same: PA-MPJPE / PVE (all vertices) / Accel", ("pa_mpjpe_mm", "pve_mm", "accel_mm_per_frame2")),
        ("the same: drift, ids in use", ("root_drift_mm", "%codebook_use")),
    ],
)
def test_rows_that_repeat_the_automatic_section(label: str, keys: tuple[str, ...]) -> None:
    quoted = re.findall(r"\d[\d.]*", cell(label))[: len(keys)]
    exact = [100 * TOKENIZER[key[1:]] if key[0] == "%" else TOKENIZER[key] for key in keys]
    assert len(quoted) == len(keys) and all(map(close, quoted, exact)), (quoted, exact)


def test_minutes_of_training_are_those_in_the_bundle(mini: Bundle) -> None:
    training = mini.info.training
    stages = training["stages"]
    minutes = {stage: [numbers["minutes"]] for stage, numbers in stages.items()}
    for stage in ("motion-tokenizer", "visual-tokenizer"):
        minutes[stage].insert(0, stages[stage]["first_run"]["minutes"])
    text = PAGE[PAGE.index("## How the bundle was trained") :]
    motion = one(r"motion tokenizer (\d+) minutes on one core, then (\d+) more of its decoders alone", text)
    visual = one(r"then (\d+) on two processes with the joints' loss, then its decoder alone (\d+) minutes", text)
    assert all(map(close, motion, minutes["motion-tokenizer"])) and all(map(close, visual, minutes["visual-tokenizer"]))
    continuous = one(r"continuous tokenizer (\d+) minutes on one core and (\d+) on two processes", text)
    diffusion = one(r"diffusion decoder (\d+) and (\d+), on the first", text)
    assert close(str(sum(map(int, continuous))), minutes["continuous-tokenizer"][0])
    assert close(str(sum(map(int, diffusion))), minutes["diffusion-decoder"][0])
    last = one(r"and (\d+) more with every other step reading 8 frames \((\d+ \d+) steps\)", text)
    assert close(last[0], minutes["ar"][0]) and int(last[1].replace(" ", "")) == stages["ar"]["step"]
    clips = one(r"(\d+ 000) clips of (\d+) frames, drawn from the training subjects", text)
    assert [int(number.replace(" ", "")) for number in clips] == [training["clips"], mini.settings.frames]
