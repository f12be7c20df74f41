"""The results page: runs the command line as a user would, and writes what it measured as JSON and as Markdown tables.

In: a folder of clips made by `unimo synth` and a bundle. Out: `results.json` (the reports, and time and peak memory of
each command) and the part of `results.md` between two markers; what stands around the markers is kept.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from unimo.assets import example_path
from unimo.bundle import load_bundle
from unimo.errors import InputError, UniMoError
from unimo.evaluation.report import EVALUATIONS, machine
from unimo.files import atomic_write

BEGIN, END = "<!-- made by tools/make_results.py: begin -->", "<!-- made by tools/make_results.py: end -->"


@dataclass(frozen=True)
class Row:
    """A line of a table: the key of a number, what it means, the key it stands beside, and the range wanted of it."""

    key: str
    meaning: str
    beside: str | None = None
    low: float | None = None
    high: float | None = None


ROWS = {
    "tokenizer": (
        Row("mpjpe_mm", "motion: MPJPE, mm", high=40),
        Row("pa_mpjpe_mm", "motion: PA-MPJPE, mm"),
        Row("pve_mm", "motion: PVE (all vertices), mm"),
        Row("accel_mm_per_frame2", "motion: Accel, mm/frame²"),
        Row("accel_m_per_s2", "motion: Accel, m/s²"),
        Row("root_orientation_deg", "motion: root orientation, degrees"),
        Row("root_translation_m", "motion: root translation, m"),
        Row("root_drift_mm", "motion: root drift at the end of the clip, mm", high=20),
        Row("codebook_use", "motion: share of the codebook in use", low=0.95),
        Row("psnr_db", "pictures: PSNR, dB (beside: 16× down-sampled copy)", "downsampled_16x.psnr_db", low=28),
        Row("psnr_in_mask_db", "pictures: PSNR on the person, dB (beside: 16× down-sampled copy)",
            "downsampled_16x.psnr_in_mask_db", low=24),
        Row("gain_over_downsampled_16x_in_mask_db", "pictures: gain over that copy on the person, dB", low=3),
        Row("ssim", "pictures: SSIM (beside: 16× down-sampled copy)", "downsampled_16x.ssim", low=0.88),
        Row("visual_codebook_use", "pictures: share of the ids in use", low=0.6),
        Row("continuous.psnr_db", "continuous tokenizer: PSNR, dB", low=32),
        Row("continuous.psnr_in_mask_db", "continuous tokenizer: PSNR on the person, dB"),
        Row("continuous.ssim", "continuous tokenizer: SSIM"),
        Row("diffusion.psnr_db", "diffusion decoder: PSNR, dB (beside: direct)", "psnr_db"),
        Row("diffusion.psnr_in_mask_db", "diffusion decoder: PSNR on the person, dB (beside: direct)",
            "psnr_in_mask_db"),
        Row("diffusion.ssim", "diffusion decoder: SSIM (beside: direct)", "ssim"),
        Row("diffusion.gmsd", "diffusion decoder: GMSD, lower is better (beside: direct)", "gmsd"),
        Row("diffusion.sharpness_ratio", "diffusion decoder: sharpness ÷ real (beside: direct)", "sharpness_ratio"),
        Row("diffusion.flicker_error", "diffusion decoder: flicker that is not real, 0-255 (beside: direct)",
            "flicker_error"),
        Row("diffusion.flicker_error_in_mask", "the same on the person (beside: direct)", "flicker_error_in_mask"),
    ),
    "capture": (
        Row("mpjpe_mm", "MPJPE, mm (beside: constant pose, also below)", "constant_pose.mpjpe_mm"),
        Row("one_sample.mpjpe_mm", "MPJPE of one sample alone instead of the samples' mean, mm"),
        Row("ratio_to_constant_pose.mpjpe", "MPJPE ÷ constant pose", high=0.75),
        Row("pa_mpjpe_mm", "PA-MPJPE, mm", "constant_pose.pa_mpjpe_mm"),
        Row("accel_mm_per_frame2", "Accel, mm/frame²", "constant_pose.accel_mm_per_frame2"),
        Row("accel_m_per_s2", "Accel, m/s²", "constant_pose.accel_m_per_s2"),
        Row("root_orientation_deg", "root orientation, degrees", "constant_pose.root_orientation_deg"),
        Row("ratio_to_constant_pose.root_orientation", "root orientation ÷ constant", high=0.5),
        Row("one_sample.root_orientation_deg", "root orientation of one sample alone, degrees"),
        Row("root_translation_m", "root translation, m", "constant_pose.root_translation_m"),
        Row("ratio_to_constant_pose.root_translation", "root translation ÷ constant", high=0.5),
        Row("one_sample.root_translation_m", "root translation of one sample alone, m"),
    ),
    "generate": (
        Row("first_frame_psnr_db", "first frame: PSNR, dB (beside: tokenizer alone)", "tokenizer.first_frame_psnr_db"),
        Row("joint_speed_m_per_s", "mean joint speed, m/s (beside: data)", "data.joint_speed_m_per_s"),
        Row("ratio_to_data.joint_speed", "joint speed ÷ data", low=0.5, high=2),
        Row("joint_color_difference_8bit", "colours at the joints against the reference, 0-255 (beside: true clips)",
            "data.joint_color_difference_8bit"),
        Row("other_person.joint_color_difference_8bit", "the same against another person's reference"),
        Row("consistency.mpjpe_mm", "MPJPE of motion captured from the generated video against the generated motion, "
            "mm (beside: against another clip's)", "consistency.other_clip.mpjpe_mm"),
    ),
}  # fmt: skip
TITLES = {"tokenizer": "Tokenizers", "capture": "Capture", "generate": "Generate"}
LIMITS = {"generate": (60.0, 4.0), "capture": (30.0, 4.0)}
"""Seconds and GB (10⁹ bytes) that one `unimo generate` and one `unimo capture` may take on two cores."""


def make_results(
    clips: Path,
    bundle: str,
    folder: Path,
    counts: Mapping[str, int],
    seeds: Sequence[int],
    device: str = "cpu",
    made_with: str | None = None,
) -> dict[str, Any]:
    """Runs the three evaluations and both commands, and writes `results.json` and `results.md` into `folder`.

    Args:
        clips: folder made by `unimo synth`.
        bundle: name or path.
        folder: where the two files go.
        counts: clips by evaluation.
        seeds: of sampling, for capture and generate.
        device: as the commands take it.
        made_with: the command that made the clips, for the page.

    Raises:
        InputError: `results.md` exists without the markers.
        UniMoError: a command failed; the message is its own.
    """
    page = folder / "results.md"
    before = page.read_text(encoding="utf-8") if page.is_file() else f"# Results\n\n{BEGIN}\n{END}\n"
    if BEGIN not in before or END not in before:
        raise InputError("the page has no markers for the tables", str(page), f"add the lines {BEGIN} and {END}")
    results: dict[str, Any] = {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "clips_made_with": made_with,
        "commands": {},
    }
    common = ["--bundle", bundle, "--device", device, "--quiet"]
    inputs = {
        "generate": ["--image", os.path.relpath(example_path("person.jpg"))],
        "capture": ["--video", str(sorted((clips / "clips").glob("[0-9]*"))[0] / "rgb.mp4")],
    }
    with tempfile.TemporaryDirectory() as work:
        for kind in EVALUATIONS:
            words = ["evaluate", kind, "--clips", str(clips), "--count", str(counts[kind]), *common]
            words += [] if kind == "tokenizer" else ["--seeds", ",".join(map(str, seeds))]
            file = Path(work) / f"{kind}.json"
            cost = _run(words, "--json", file)
            results[kind] = json.loads(file.read_text(encoding="utf-8"))
            results[kind]["header"]["command"] = cost["command"]
        for command, source in inputs.items():
            results["commands"][command] = _run([command, *source, *common], "--output", Path(work) / command)
    results["probe"] = load_bundle(bundle).info.training.get("probe")
    tables = results_tables(results)
    with atomic_write(folder / "results.json") as path:
        path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    after = before[: before.index(BEGIN)] + BEGIN + "\n" + tables + before[before.index(END) :]
    with atomic_write(page) as path:
        path.write_text(after, encoding="utf-8")
    return results


def results_tables(results: Mapping[str, Any]) -> str:
    """The Markdown of all tables."""
    place = results["machine"]
    lines = [
        f"Measured {results['date']} on {place['cores']} cores of {place['cpu']} (load {place['load_average']}).",
        "Square brackets: 95 % bootstrap interval over clips. Goals are the project's own; ✗ marks one that is missed.",
    ]
    if results.get("clips_made_with"):
        lines.append(f"Clips: `{results['clips_made_with']}`")
    for kind in EVALUATIONS:
        lines += ["", *_section(kind, results[kind])]
    if results.get("probe"):
        lines += _probe_section(results["probe"])
    lines += ["", "### Time and memory of one run", "", "| command | seconds (goal) | peak memory, GB (goal) |"]
    lines += ["|---|---|---|"]
    for command, cost in results["commands"].items():
        seconds, memory = LIMITS[command]
        lines.append(
            f"| `{cost['command']}` | {cost['seconds']:.1f} {_goal(cost['seconds'], None, seconds)} "
            f"| {cost['peak_memory_gb']:.2f} {_goal(cost['peak_memory_gb'], None, memory)} |"
        )
    return "\n".join(lines) + "\n"


def _probe_section(numbers: Mapping[str, Any]) -> list[str]:
    """The pose probe's numbers as they stand in the bundle, beside the constant pose of the training clips."""
    lines = ["", "### What a small regressor recovers of the pose from visual tokens", ""]
    lines += [
        "`python tools/train_mini.py … --stages probe`: last validation of "
        f"{numbers['step']} steps in {numbers['minutes']:.1f} minutes, on the validation clips of the training run; "
        "kept in `bundle.json`.",
        "", "| measure | value | constant pose | ratio |", "|---|---|---|---|",
    ]  # fmt: skip
    for key, value in numbers.items():
        constant = numbers.get(f"constant_pose.{key}")
        if constant is not None:
            lines.append(f"| {key} | {_number(value)} | {_number(constant)} | {value / constant:.2f} |")
    return lines


def _section(kind: str, report: Mapping[str, Any]) -> list[str]:
    header = report["header"]
    lines = [f"### {TITLES[kind]}", "", f"`{header['command']}`", ""]
    what = f"{report['clips']} clips at {report['fps']:g} frames/s"
    if header["seeds"]:
        what += f" × {len(header['seeds'])} seeds"
        what += f"; {report['decode_seconds'] / len(header['seeds']):.0f} s of decoding a seed"
    if "num_samples" in report:
        what += f"; each the mean of {report['num_samples']} samples"
    if "constant_pose.fitted_to" in report:
        what += f"; constant pose fitted to the {report['constant_pose.fitted_to']}"
    bundle = f"bundle {header['bundle']['name']} {header['bundle']['sha256'][:12]}"
    drivers = ", ".join(header["clips"]["graphics_drivers"]) or "unknown driver"
    lines += [
        f"{what}; {header['wall_seconds']:.0f} s in all; peak memory {header.get('peak_memory_gb', '–')} GB; {bundle}; "
        f"clips {header['clips']['sha256'][:12]}, drawn by {drivers}.",
        "",
        "| measure | value | beside | goal |",
        "|---|---|---|---|",
    ]
    for row in ROWS[kind]:
        if row.key not in report:
            continue
        interval = report.get(f"interval95.{row.key}")
        value = _number(report[row.key]) + (f" [{_number(interval[0])}, {_number(interval[1])}]" if interval else "")
        beside = _number(report.get(row.beside)) if row.beside else ""
        lines.append(f"| {row.meaning} | {value} | {beside} | {_goal(report[row.key], row.low, row.high)} |")
    return lines


def _number(value: Any) -> str:
    """Three digits that count, and no fewer than stand before the point."""
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def _goal(value: float | None, low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return ""
    met = value is not None and (low is None or value >= low) and (high is None or value <= high)
    if low is not None and high is not None:
        text = f"{low:g}-{high:g}"
    else:
        text = f"≥ {low:g}" if high is None else f"≤ {high:g}"
    return f"({text} {'✓' if met else '✗'})"


def _run(words: Sequence[str], option: str, target: Path) -> dict[str, Any]:
    """Runs `unimo` with these words and its result under `option`; its command line, wall seconds and peak memory.

    The command line names the target without its temporary folder.

    Raises:
        UniMoError: it failed.
    """
    program, started = [sys.executable, "-m", "unimo"], time.perf_counter()
    # the child imports from where this process does, installed or not
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    # a file, since a full pipe would stop a child that nobody reads from while it is waited for
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(
            [*program, *words, option, str(target)], stdout=messages, stderr=messages, env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - started
        messages.seek(0)
        text = messages.read().decode("utf-8", "replace").strip()
    command = shlex.join(["unimo", *words, option, target.name])
    if process.returncode:
        raise UniMoError(f"the command failed ({process.returncode}): {command}\n{text}")
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"command": command, "seconds": round(seconds, 2), "peak_memory_gb": round(peak / 1e9, 3)}
