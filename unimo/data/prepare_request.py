"""What `unimo data prepare` is asked for: checked before anything is written, and written down in `prepare.json`.

In: settings and sources. Out: the `Job` of the workers, and the record with which a later call is compared.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unimo.bundle import load_bundle
from unimo.data.samples import Job, load_tools
from unimo.data.sources import Source
from unimo.data.stages import Cutting
from unimo.data.tokens import weights_hash
from unimo.errors import InputError
from unimo.files import atomic_write

FORMAT = 1
REQUEST, WORK = "prepare.json", ".work"


@dataclass(frozen=True)
class PrepareSettings:
    """What is asked for.

    Attributes:
        bundle: whose tokenizers, rate, size and body are used: "mini", "debug", a folder or an id.
        extractor: what labels videos without a motion beside them: "mediapipe", "gvhmr", or None.
        frames: T of a clip, 1 + 8n; None takes the bundle's window.
        stride: frames from one clip's start to the next one's; None takes `frames`, clips without overlap.
        min_confidence: from which a person counts as seen, 0..1.
        shard_size: samples a shard.
        validation_subjects: who goes into the validation shards.
    """

    bundle: str = "mini"
    extractor: str | None = None
    frames: int | None = None
    stride: int | None = None
    min_confidence: float = 0.5
    shard_size: int = 512
    validation_subjects: tuple[str, ...] = ()


def plan(sources: Sequence[Source], output: Path, settings: PrepareSettings) -> tuple[Job, dict[str, Any]]:
    """The job, and the record of what is asked, after all that can be checked was checked."""
    known = load_bundle(settings.bundle)
    s, frames = known.settings, settings.frames or known.settings.frames
    stride = settings.stride or frames
    if frames < 9 or frames % 8 != 1:
        raise InputError(f"a clip has 1 + 8n frames (9, 17, 25, 33, …), not {frames}")
    if stride < 1 or settings.shard_size < 1:
        raise InputError(f"stride and shard size must be at least 1, not {stride} and {settings.shard_size}")
    if not 0 <= settings.min_confidence <= 1:
        raise InputError(f"the least confidence must lie between 0 and 1, not {settings.min_confidence}")
    if settings.extractor is None and not any(source.motion for source in sources):
        what = "no video here has a motion file beside it, and no extractor was chosen"
        raise InputError(what, None, "--extractor mediapipe or gvhmr")
    _check_subjects(sources, settings.validation_subjects)
    tools = load_tools(settings.bundle, settings.extractor)
    cutting = Cutting(s.fps, frames, stride, s.side, s.body, settings.min_confidence)
    request = {
        "format": FORMAT,
        "bundle": {"name": known.info.name, "sha256": known.sha256},
        "tokenizers": weights_hash(tools.visual, tools.motion),
        "canonical_focal": s.canonical_focal,
        **{name: getattr(cutting, name) for name in ("fps", "frames", "stride", "side", "body", "min_confidence")},
        "extractor": settings.extractor,
        "shard_size": settings.shard_size,
        "validation_subjects": sorted(settings.validation_subjects),
        "sources": [[source.name, source.size()] for source in sources],
    }
    return Job(output / WORK, settings.bundle, settings.extractor, cutting), request


def _check_subjects(sources: Sequence[Source], wanted: Sequence[str]) -> None:
    subjects = set()
    for source in sources if wanted else ():
        try:
            subjects.add(source.facts()[0])
        except InputError:
            continue  # goes to quarantine later
    if missing := sorted(set(wanted) - subjects):
        there = ", ".join(sorted(subjects)[:12])
        raise InputError(f"no video is of the validation subject {missing[0]!r}", None, f"there are: {there}")


def is_known(output: Path, request: dict[str, Any]) -> bool:
    """Whether an earlier call wrote down that this is asked for; writes nothing.

    Raises:
        InputError: it asked for something else, or the folder holds something else.
    """
    path = output / REQUEST
    if path.is_file():
        try:
            there = dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise InputError("the record of what was asked is damaged", str(path), "another output folder") from error
        if difference := _difference(there, request):
            raise InputError(difference, str(path), "another output folder, or the same settings and videos")
        return True
    # a run that was killed while it wrote its request left a hidden file
    if output.exists() and not (
        output.is_dir() and all(file.name.startswith(".prepare.") for file in output.iterdir())
    ):
        raise InputError("the output folder is not empty and holds no prepared data", str(output), "a new folder")
    return False


def write_request(output: Path, request: dict[str, Any]) -> None:
    """Writes down what is asked."""
    with atomic_write(output / REQUEST) as temporary:
        temporary.write_text(json.dumps(request, indent=1) + "\n", encoding="utf-8")


def forget_request(output: Path) -> None:
    """Takes the request of a failed call back, so that a corrected one is not refused, unless a video was finished."""
    work = output / WORK
    if not any(not path.name.startswith(".") for path in work.glob("*.json")):
        (output / REQUEST).unlink(missing_ok=True)
        shutil.rmtree(work, ignore_errors=True)


def _difference(there: dict[str, Any], request: dict[str, Any]) -> str | None:
    """In what two requests differ, in words."""
    wanted = json.loads(json.dumps(request))
    for key in [key for key in wanted if key != "sources"]:
        if there.get(key) != wanted[key]:
            return f"this folder is being prepared with {key} {there.get(key)}, now {wanted[key]} is asked for"
    before, now = dict(there.get("sources", [])), dict(wanted["sources"])
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            change = "is new" if name not in before else "is gone" if name not in now else "has changed"
            return f"the videos are not those that this folder is prepared from: {name} {change}"
    return None


