"""The regression gate: a few numbers of the shipped bundle on committed clips, and what they may be without alarm.

In: eight clips that `unimo synth` made of procedural walks, and a bundle. Out: numbers; a record of them with intervals
in which one seed must lie; and what is outside. An interval is the mean over seeds ± 4 standard deviations, at
least ± 1 %: it holds the chance of sampling, which another processor draws anew, and not that of other clips, which are
always the same. Better than the interval is an alarm too: the record is then out of date.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unimo.bundle import Bundle
from unimo.data.clips import ClipSet
from unimo.evaluation.capture import evaluate_capture
from unimo.evaluation.generate import evaluate_generate
from unimo.evaluation.summary import Numbers
from unimo.evaluation.tokenizer import evaluate_tokenizer
from unimo.result import Progress

KEYS = {
    "tokenizer": (
        "mpjpe_mm", "pve_mm", "accel_m_per_s2", "root_translation_m", "psnr_db", "ssim",
    ),
    "capture": (
        "mpjpe_mm", "pa_mpjpe_mm", "accel_m_per_s2", "root_orientation_deg", "root_translation_m", "wa_mpjpe_mm",
        "foot_sliding_mm", "entropy_nats", "one_sample.mpjpe_mm", "constant_pose.mpjpe_mm",
    ),
    "generate": ("first_frame_psnr_db", "ssim_to_true", "joint_speed_m_per_s", "consistency.mpjpe_mm", "entropy_nats"),
}  # fmt: skip
SEEDS = 12
RENEW = "python tools/make_results.py --only regression"
_DEVIATIONS, _SLACK = 4.0, 0.01


def measure(
    clips: ClipSet,
    bundle: Bundle,
    seed: int = 0,
    kinds: Sequence[str] = tuple(KEYS),
    progress: Progress | None = None,
) -> dict[str, float]:
    """The gate's numbers, `<evaluation>.<key>`, for one seed of sampling.

    Args:
        clips: the committed ones.
        bundle: that is asked.
        seed: of sampling.
        kinds: which evaluations.
        progress: see `Progress`.
    """
    numbers: dict[str, float] = {}
    for kind in kinds:
        report = _evaluate(kind, clips, bundle, seed, progress)
        numbers |= {f"{kind}.{key}": report[key] for key in KEYS[kind] if report.get(key) is not None}
    return numbers


def _evaluate(kind: str, clips: ClipSet, bundle: Bundle, seed: int, progress: Progress | None) -> Numbers:
    if kind == "tokenizer":
        return evaluate_tokenizer(clips, bundle, progress=progress, decoders=("direct",)).numbers
    evaluate = evaluate_capture if kind == "capture" else evaluate_generate
    return evaluate(clips, bundle, (seed,), progress=progress).numbers


def record(clips: ClipSet, bundle: Bundle, seeds: int = SEEDS, progress: Progress | None = None) -> dict[str, Any]:
    """What docs/results.json keeps under "regression": clips, bundle and, by number, `value` and `interval`."""
    sampled = [kind for kind in KEYS if kind != "tokenizer"]
    runs = [measure(clips, bundle, 0, progress=progress)]
    runs += [measure(clips, bundle, seed, sampled, progress) for seed in range(1, seeds)]
    numbers = {}
    for key in runs[0]:
        values = np.array([run[key] for run in runs if key in run])
        value = float(values.mean())
        spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        reach = max(_DEVIATIONS * spread, _SLACK * abs(value))
        numbers[key] = {"value": value, "interval": [value - reach, value + reach]}
    return {
        "clips": {"count": len(clips), "sha256": clips.sha256},
        "bundle": {"name": bundle.info.name, "sha256": bundle.sha256},
        "seeds": seeds,
        "renew": RENEW,
        "numbers": numbers,
    }


def alarms(stored: Mapping[str, Any], numbers: Mapping[str, float]) -> list[str]:
    """What lies outside its interval or is missing, in words; empty when all is as it was.

    Args:
        stored: from `record`.
        numbers: from `measure`; evaluations that were not asked are not missed.
    """
    asked = {key.split(".")[0] for key in numbers}
    found = []
    for key, known in stored["numbers"].items():
        low, high = known["interval"]
        if key.split(".")[0] not in asked:
            continue
        if key not in numbers:
            found.append(f"{key} is missing")
        elif not low <= numbers[key] <= high:
            found.append(f"{key} is {numbers[key]:.5g}, outside {low:.5g} .. {high:.5g}")
    found += [f"{key} is not recorded" for key in numbers if key not in stored["numbers"]]
    return found
