"""Flat numbers of a run → rows of a table: what a key means, its unit, and the numbers that stand beside it.

`mpjpe_mm` is a row; `interval95.mpjpe_mm` and `per_seed.mpjpe_mm` belong to it; `constant_pose.mpjpe_mm` and
`ratio_to_constant_pose.mpjpe` are further columns of it. A key is a row of its own when nothing it could stand beside
is there (`consistency.mpjpe_mm` in a run without `mpjpe_mm`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LOWER, HIGHER = "lower", "higher"
_UNITS = {
    "_mm_per_frame2": "mm/frame²", "_mm_per_frame": "mm/frame", "_10_m_per_s3": "10 m/s³", "_m_per_s2": "m/s²",
    "_m_per_s": "m/s", "_deg": "°", "_mm": "mm", "_db": "dB", "_8bit": "0–255", "_nats": "nats", "_percent": "%",
    "_px": "px", "_seconds": "s", "_gb": "GB", "_m": "m",
}  # fmt: skip
_NAMES = {
    "mpjpe": ("MPJPE", LOWER), "mpjpe_hips": ("MPJPE, middle of the hips aligned", LOWER),
    "pa_mpjpe": ("PA-MPJPE", LOWER), "pve": ("PVE", LOWER), "accel": ("Accel", LOWER),
    "w_mpjpe": ("W-MPJPE", LOWER), "wa_mpjpe": ("WA-MPJPE", LOWER), "rte": ("RTE", LOWER), "jitter": ("jitter", ""),
    "foot_sliding": ("foot sliding", LOWER), "root_orientation": ("root orientation", LOWER),
    "root_translation": ("root translation", LOWER), "root_drift": ("root drift at the clip's end", LOWER),
    "psnr": ("PSNR", HIGHER), "psnr_in_mask": ("PSNR on the person", HIGHER), "ssim": ("SSIM", HIGHER),
    "gmsd": ("GMSD", LOWER), "lpips": ("LPIPS", LOWER), "sharpness_ratio": ("sharpness ÷ real", ""),
    "flicker_error": ("flicker that is not real, 0–255", LOWER),
    "flicker_error_in_mask": ("flicker that is not real, on the person, 0–255", LOWER),
    "gain_over_downsampled_16x_in_mask": ("gain over a 16× down-sampled copy, on the person", HIGHER),
    "codebook_use": ("share of the motion codebook in use", HIGHER),
    "codebook_perplexity": ("perplexity of the motion codebook", HIGHER),
    "visual_codebook_use": ("share of the visual ids in use", HIGHER),
    "visual_codebook_perplexity": ("perplexity of the visual ids", HIGHER),
    "first_frame_psnr": ("first frame: PSNR", HIGHER), "first_frame_ssim": ("first frame: SSIM", HIGHER),
    "joint_color_difference": ("colours at the joints against the reference", LOWER),
    "joint_speed": ("mean speed of the joints", ""), "temporal_flickering": ("temporal flickering (VBench)", ""),
    "mpjpe_to_true": ("MPJPE to the true motion", ""), "psnr_to_true": ("PSNR to the true video", ""),
    "ssim_to_true": ("SSIM to the true video", ""),
    "fid_k": ("FID, kinetic", LOWER), "fid_g": ("FID, geometric", LOWER),
    "diversity_k": ("diversity, kinetic", ""), "diversity_g": ("diversity, geometric", ""),
    "subject_consistency": ("subject consistency", HIGHER), "dynamic_degree": ("dynamic degree", HIGHER),
    "background_consistency": ("background consistency", HIGHER), "aesthetic_quality": ("aesthetic quality", HIGHER),
    "motion_smoothness": ("motion smoothness", HIGHER), "entropy": ("entropy of the motion tokens", ""),
}  # fmt: skip
# not results but what a run was: they stand in a table of their own
_COUNTS = ("clips", "fps", "num_samples", "steps", "guidance")


@dataclass(frozen=True)
class Measure:
    """A number in words: `unit` may be empty, `better` is "lower", "higher" or unknown ("")."""

    label: str
    unit: str
    better: str

    @property
    def text(self) -> str:
        """Label, unit, and an arrow to the better side."""
        arrow = {LOWER: "\u00a0↓", HIGHER: "\u00a0↑"}.get(self.better, "")
        return self.label + (f", {self.unit}" if self.unit else "") + arrow


@dataclass(frozen=True)
class Row:
    """One measure of one run; `beside` maps a column's name to (value, interval or None)."""

    key: str
    value: float | None
    interval: tuple[float, float] | None
    per_seed: list[float]
    beside: dict[str, tuple[float | None, tuple[float, float] | None]] = field(default_factory=dict)


def measure(key: str) -> Measure:
    """What a key of a run means; words before the last point come first."""
    *before, last = key.split(".")
    suffix = next((suffix for suffix in _UNITS if last.endswith(suffix)), "")
    stem = last.removesuffix(suffix)
    label, better = _NAMES.get(stem, (stem.replace("_", " "), ""))
    return Measure(": ".join([*(words(name) for name in before), label]), _UNITS.get(suffix, ""), better)


def words(name: str) -> str:
    """`constant_pose` → "constant pose"."""
    return name.replace("_", " ").replace("16x", "16×")


def is_measure(key: str) -> bool:
    """Whether a key must hold a number: it is known, or ends in a unit."""
    last = key.rpartition(".")[2]
    return last in _COUNTS or _stem(last) in _NAMES or _stem(last) != last


def result_rows(report: Mapping[str, Any]) -> list[Row]:
    """The measures of a run, with what stands beside each; kinds that belong together follow each other."""
    order = {name: place for place, name in enumerate(_NAMES)}
    rows = [row for row in _rows(report) if not _is_setting(row)]
    return sorted(rows, key=lambda row: order.get(_stem(row.key.rpartition(".")[2]), len(order)))


def setting_rows(report: Mapping[str, Any]) -> list[Row]:
    """Counts, settings, times: the numbers that are no results."""
    return [row for row in _rows(report) if _is_setting(row)]


def digits(value: float | None) -> str:
    """Three digits that count, and no fewer than stand before the point; a dash where there is no number."""
    if value is None or not math.isfinite(value):
        return "–"
    size = abs(value)
    if 0 < size < 1e-4:
        return "≈ 0"
    if value == int(value) or size >= 99.95:
        text = f"{value:,.0f}" if size >= 1000 else f"{value:.0f}"
    else:
        text = f"{value:#.3g}" if size >= 0.01 else f"{value:.2g}"
    return text.replace("-", "−")


def spread(interval: tuple[float, float] | None) -> str:
    """ "[1.23, 4.56]", nothing without an interval."""
    return "" if interval is None else f"[{digits(interval[0])}, {digits(interval[1])}]"


def _rows(report: Mapping[str, Any]) -> list[Row]:
    numbers = {key: _number(value) for key, value in report.items() if value is None or _is_number(value)}
    plain = [key for key in numbers if not key.startswith(("interval95.", "ratio_to_"))]
    homes = {key: _home(key, numbers) for key in plain}
    rows = {
        key: Row(key, numbers[key], _interval(report, key), _seeds(report, key))
        for key in plain if homes[key] is None
    }  # fmt: skip
    for key, home in homes.items():
        if home is not None and home[0] in rows:
            rows[home[0]].beside[home[1]] = (numbers[key], _interval(report, key))
    for key in (key for key in numbers if key.startswith("ratio_to_")):
        name, _, what = key.removeprefix("ratio_to_").partition(".")
        for row in rows.values():
            if _stem(row.key) == what:
                row.beside[f"÷ {words(name)}"] = (numbers[key], _interval(report, key))
                break  # one quotient, whatever the unit
    return list(rows.values())


def _home(key: str, numbers: Mapping[str, Any]) -> tuple[str, str] | None:
    """The row that a key stands beside and the column there, by leaving out one of the words before its last point."""
    *before, last = key.split(".")
    for left_out in reversed(range(len(before))):
        shorter = ".".join([*before[:left_out], *before[left_out + 1 :], last])
        if shorter in numbers:
            return shorter, words(before[left_out])
    return None


def _stem(key: str) -> str:
    return key.removesuffix(next((suffix for suffix in _UNITS if key.endswith(suffix)), ""))


def _is_setting(row: Row) -> bool:
    last = row.key.rpartition(".")[2]
    return row.interval is None and (last in _COUNTS or _stem(last) not in _NAMES)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _interval(report: Mapping[str, Any], key: str) -> tuple[float, float] | None:
    found = report.get(f"interval95.{key}")
    if isinstance(found, list) and len(found) == 2 and all(map(_is_number, found)):
        return float(found[0]), float(found[1])
    return None


def _seeds(report: Mapping[str, Any], key: str) -> list[float]:
    found = report.get(f"per_seed.{key}")
    return [float(value) for value in found if _is_number(value)] if isinstance(found, list) else []
