"""The report of an evaluation: its numbers under a header that says what was measured, with what and where.

In: a folder of clips, a bundle's name and which evaluation. Out: one JSON-ready dictionary: `header` (date, command,
bundle and clip hashes, versions, seeds, machine, wall seconds, peak memory) and beside it the evaluation's numbers.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from unimo import __version__
from unimo.bundle import Bundle, load_bundle
from unimo.data.clips import ClipSet, load_clips
from unimo.errors import InputError
from unimo.evaluation.capture import evaluate_capture
from unimo.evaluation.generate import evaluate_generate
from unimo.evaluation.summary import Numbers
from unimo.evaluation.tokenizer import evaluate_tokenizer
from unimo.files import atomic_write
from unimo.result import Progress

EVALUATIONS = ("tokenizer", "capture", "generate")
PACKAGES = ("torch", "numpy", "diffusers", "av")


def run_evaluation(
    kind: str,
    clips: str | Path,
    bundle: str | Path = "mini",
    count: int | None = None,
    seeds: Sequence[int] = (0,),
    batch_size: int | None = None,
    device: str = "cpu",
    dtype: str | None = None,
    progress: Progress | None = None,
    drawing: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Runs one evaluation from start to report.

    Args:
        kind: "tokenizer", "capture" or "generate".
        clips: folder made by `unimo synth`.
        bundle: name or path.
        count: use the first so many clips; None uses all.
        seeds: of sampling; the tokenizers do not sample.
        batch_size: None takes the evaluation's own.
        device, dtype: as `UniMoPipeline` takes them.
        progress: see `Progress`.
        drawing: `steps` and `guidance` of the diffusion decoder, for "tokenizer".

    Raises:
        InputError: an unknown kind, no or repeated seeds, unusable clips.
        MissingAssetError, CheckpointError: see `load_bundle`.
    """
    if kind not in EVALUATIONS:
        raise InputError(f"unknown evaluation {kind!r}", None, f"one of {', '.join(EVALUATIONS)}")
    if not seeds or len(set(seeds)) != len(seeds):
        raise InputError(f"seeds must be given and differ, got {list(seeds)}")
    if batch_size is not None and batch_size < 1:
        raise InputError(f"the batch size must be at least 1, not {batch_size}")
    started, date = time.perf_counter(), datetime.now(timezone.utc)
    weights = load_bundle(bundle)
    settings = weights.settings
    clip_set = load_clips(clips, count, settings.frames, settings.fps, settings.side, settings.body, progress)
    options: dict[str, Any] = {"device": device, "progress": progress}
    options |= {} if batch_size is None else {"batch_size": batch_size}
    if kind == "tokenizer":
        numbers = evaluate_tokenizer(clip_set, weights, **options, **(drawing or {}))
    else:
        evaluate = evaluate_capture if kind == "capture" else evaluate_generate
        numbers = evaluate(clip_set, weights, seeds, dtype=dtype, **options)
    header = {
        "evaluation": kind,
        "date": date.isoformat(timespec="seconds"),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        **_provenance(clip_set, weights),
        "seeds": [] if kind == "tokenizer" else list(seeds),
        "device": device,
        "dtype": dtype or "float32",
        **machine(),
        "wall_seconds": round(time.perf_counter() - started, 2),
        **peak_memory(device),
    }
    return {"header": header, **numbers}


def save_report(path: str | Path, report: Numbers) -> None:
    """Writes a report as JSON, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """Processor, its cores open to this process, and the load of the machine (jobs in the last minute)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    return {"cpu": _cpu_name(), "cores": cores, "load_average": load, "platform": platform.platform()}


def peak_memory(device: str = "cpu") -> dict[str, float]:
    """Largest resident memory of this process so far, and of the graphics card if `device` is one; GB (10⁹ bytes)."""
    try:
        import resource
    except ImportError:  # Windows
        return {}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    memory = {"peak_memory_gb": round(peak / 1e9, 3)}
    if device.startswith("cuda"):
        import torch

        memory["peak_device_memory_gb"] = round(torch.cuda.max_memory_allocated(device) / 1e9, 3)
    return memory


def _provenance(clips: ClipSet, bundle: Bundle) -> dict[str, Any]:
    drivers = sorted({str(record["driver"]) for record in clips.records if "driver" in record})
    subjects = sorted({str(record["subject"]) for record in clips.records if "subject" in record})
    return {
        "bundle": {"name": bundle.info.name, "sha256": bundle.sha256},
        "clips": {"count": len(clips), "sha256": clips.sha256, "subjects": subjects, "graphics_drivers": drivers},
        "versions": {
            "unimo": __version__,
            **{name: metadata.version(name) for name in PACKAGES},
            "python": platform.python_version(),
        },
    }


def _cpu_name() -> str:
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
