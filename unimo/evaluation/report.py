"""The report of an evaluation: its numbers under a header that says what was measured, with what and where.

In: a folder of clips or a data set, a bundle's name and which evaluation. Out: an `Evaluation` whose numbers begin with
`header`: date, command, bundle and clip hashes, data set, versions, seeds, conventions, machine, seconds, peak memory.
"""

from __future__ import annotations

import os
import platform
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from unimo import __version__
from unimo.bundle import Bundle, load_bundle
from unimo.data.clips import ClipSet, load_clips
from unimo.errors import InputError
from unimo.evaluation.capture import evaluate_capture
from unimo.evaluation.conventions import conventions_of, under_own_names
from unimo.evaluation.datasets import clips_of
from unimo.evaluation.generate import evaluate_generate
from unimo.evaluation.outcome import Evaluation
from unimo.evaluation.request import DATASETS, ClipSource, check_source
from unimo.evaluation.tokenizer import evaluate_tokenizer
from unimo.evaluation.vbench_numbers import check_vbench_dimensions, vbench_numbers
from unimo.result import Progress

EVALUATIONS = ("tokenizer", "capture", "generate")
REAL_SETS = DATASETS[1:]
PACKAGES = ("torch", "numpy", "diffusers", "av")


def run_evaluation(
    kind: str,
    source: ClipSource,
    bundle: str | Path = "mini",
    count: int | None = None,
    seeds: int = 1,
    batch_size: int | None = None,
    device: str = "cpu",
    dtype: str | None = None,
    progress: Progress | None = None,
    drawing: Mapping[str, Any] | None = None,
    vbench: Sequence[str] = (),
) -> Evaluation:
    """Runs one evaluation from start to report.

    Args:
        kind: "tokenizer", "capture" or "generate".
        source: a folder of clips or a data set.
        bundle: name or path.
        count: use so many clips: the first of a folder, or windows spread over a real data set; None uses all.
        seeds: how many seeds of sampling, 0 .. seeds - 1; the tokenizers do not sample.
        batch_size: None takes the evaluation's own.
        device, dtype: as `UniMoPipeline` takes them.
        progress: see `Progress`.
        drawing: `steps` and `guidance` of the diffusion decoder, for "tokenizer".
        vbench: dimensions of VBench to measure on the generated videos ("all" for all), for "generate".

    Raises:
        InputError: an unknown kind, fewer than one seed, unusable clips, see `clips_of`.
        MissingAssetError, CheckpointError: see `load_bundle`; VBench is asked for and not there.
    """
    _check(kind, seeds, batch_size)
    check_source(source)
    dimensions = check_vbench_dimensions(vbench) if kind == "generate" else ()
    started, date = time.perf_counter(), datetime.now(timezone.utc)
    weights = load_bundle(bundle)
    settings = weights.settings
    folder, dataset = clips_of(source, settings, count, progress)
    # a real set has as many windows as there were, a folder must have those asked for
    wanted = None if dataset["name"] in REAL_SETS else count
    clips = load_clips(folder, wanted, settings.frames, settings.fps, settings.side, settings.body, progress)
    clips_ready = time.perf_counter()
    options: dict[str, Any] = {"device": device, "progress": progress}
    options |= {} if batch_size is None else {"batch_size": batch_size}
    if kind == "tokenizer":
        evaluation = evaluate_tokenizer(clips, weights, **options, **(drawing or {}))
    else:
        evaluate = evaluate_capture if kind == "capture" else evaluate_generate
        evaluation = evaluate(clips, weights, range(seeds), dtype=dtype, **options)
    numbers = evaluation.numbers | (vbench_numbers(evaluation, dimensions) if dimensions else {})
    conventions = conventions_of(numbers)
    if dataset["name"] in REAL_SETS:
        numbers = under_own_names(numbers, settings.body)
    header = {
        "evaluation": kind,
        "date": date.isoformat(timespec="seconds"),
        "command": shlex.join([_program(), *sys.argv[1:]]),
        **_provenance(clips, weights),
        "dataset": dataset,
        "seeds": [] if kind == "tokenizer" else list(range(seeds)),
        "device": device,
        "dtype": dtype or "float32",
        "conventions": conventions,
        **machine(),
        "clips_seconds": round(clips_ready - started, 2),
        "wall_seconds": round(time.perf_counter() - started, 2),
        **peak_memory(device),
    }
    header["clips"]["folder"] = str(folder.resolve())
    return replace(evaluation, numbers={"header": header, **numbers})


def _check(kind: str, seeds: int, batch_size: int | None) -> None:
    if kind not in EVALUATIONS:
        raise InputError(f"unknown evaluation {kind!r}", None, f"one of {', '.join(EVALUATIONS)}")
    if seeds < 1:
        raise InputError(f"the number of seeds must be at least 1, not {seeds}", None, "1, or 3 for published tables")
    if batch_size is not None and batch_size < 1:
        raise InputError(f"the batch size must be at least 1, not {batch_size}")


def _program() -> str:
    """What was called: `unimo` also where it ran as `python -m unimo`."""
    path = Path(sys.argv[0])
    return "unimo" if path.name == "__main__.py" else path.name


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
