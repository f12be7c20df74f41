"""From a folder of videos to training shards: `unimo data prepare`, resumable after a kill at any point.

In: a folder (see `sources.py`), settings. Out, in OUT: `clips/` and `tokens/` (tar shards), `manifest.jsonl` (written
last: a folder with one is complete), `sources.jsonl` and `quarantine.jsonl` (what became of every video), and
`prepare.json` (what was asked). While it works, `.work` holds the results of finished sources. Sources are shared out
to processes or to Ray; their samples go into shards in the order of the sources' names, whoever was ready first.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unimo.data.assemble import Assembler
from unimo.data.prepare_request import WORK, PrepareSettings, forget_request, is_known, plan, write_request
from unimo.data.samples import Job, file_stamps
from unimo.data.shards import KINDS, MANIFEST
from unimo.data.sources import Source, find_sources
from unimo.data.workers import in_processes
from unimo.errors import InputError
from unimo.files import atomic_write, writing_into

logger = logging.getLogger(__name__)

RECORDS, QUARANTINE = "sources.jsonl", "quarantine.jsonl"
Progress = Callable[[int, int, str], None]
"""Called with sources done, sources in all, and a word on how it goes."""


@dataclass
class Summary:
    """How it went.

    Attributes:
        sources: videos in all.
        seconds: of readable video.
        clips: kept.
        quarantined: videos left out, by reason.
        left_out_s: seconds of readable video in no clip, by reason.
        shards: tars written, of both kinds.
        fresh_clips: made in this call (a resumed one makes the rest).
        elapsed_s: of this call.
    """

    sources: int = 0
    seconds: float = 0.0
    clips: int = 0
    quarantined: Counter[str] = field(default_factory=Counter)
    left_out_s: Counter[str] = field(default_factory=Counter)
    shards: int = 0
    fresh_clips: int = 0
    elapsed_s: float = 0.0

    def add(self, record: dict[str, Any]) -> None:
        """Counts one source."""
        self.sources += 1
        self.seconds += record.get("seconds", 0.0)
        self.clips += record.get("clips", 0)
        self.left_out_s.update(record.get("left_out_s", {}))
        if "reason" in record:
            self.quarantined[record["reason"]] += 1


def prepare(
    folder: str | Path,
    output: str | Path,
    settings: PrepareSettings | None = None,
    workers: int = 2,
    ray: str | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Prepares every video of a folder; the same call goes on where a stopped one was.

    Args:
        folder: videos, at any depth.
        output: OUT; new, empty, or of the same call.
        settings: None takes the defaults.
        workers: processes; 1 works in this one.
        ray: address of a cluster that does the work instead.
        progress: see `Progress`.

    Raises:
        InputError: nothing to prepare, settings that cannot be, OUT holds something else or cannot be written, a source
            changed since it was begun, or not one clip came out.
        MissingAssetError, CheckpointError: the bundle, the extractor or Ray is not there.
    """
    started, settings = time.perf_counter(), settings or PrepareSettings()
    folder, output = Path(folder).expanduser().absolute(), Path(output).expanduser().absolute()
    _check_places(folder, output)
    sources = find_sources(folder)
    job, request = plan(sources, output, settings)
    with writing_into(output):
        known = is_known(output, request)
        if (output / MANIFEST).is_file():
            return _finished(output, started)
        # workers are found before anything is written
        with _backend(job, _todo(job, sources), workers, ray) as backend:
            if not known:
                write_request(output, request)
            try:
                summary = _assemble(job, sources, output, settings, backend, progress)
            except (Exception, KeyboardInterrupt):
                if not known:
                    forget_request(output)
                raise
    summary.elapsed_s = time.perf_counter() - started
    return _with_clips(summary, output)


def _check_places(folder: Path, output: Path) -> None:
    inside, outside = output.resolve(), folder.resolve()
    if inside == outside or outside in inside.parents or inside in outside.parents:
        what = "the folder of videos and the output folder must lie side by side, not one in the other"
        raise InputError(what, str(output), "another output folder")


def _todo(job: Job, sources: Sequence[Source]) -> list[Source]:
    """Sources without a record.

    Raises:
        InputError: a source with a record is not the one that was recorded.
    """
    todo = []
    for source in sources:
        path = job.record_path(source)
        if not path.is_file():
            todo.append(source)
            continue
        record = json.loads(path.read_text(encoding="utf-8"))
        same = record["files"] == file_stamps(source) or record.get("sha256") == source.sha256()
        if not same:
            what = f"{source.name} has changed since it was prepared"
            raise InputError(what, str(source.video), "another output folder, or the file as it was")
    return todo


@contextmanager
def _backend(job: Job, todo: list[Source], workers: int, ray: str | None) -> Iterator[Iterator[Source]]:
    """Those that prepare the sources; yields each source that is done.

    Raises:
        InputError, MissingAssetError: there are no workers.
    """
    if workers < 1:
        raise InputError(f"there must be at least 1 worker, not {workers}")
    if not todo:
        yield iter(())
    elif ray is None:
        yield in_processes(job, todo, workers)
    else:
        from unimo.data.ray_backend import cluster

        with cluster(ray) as prepare_all:
            yield prepare_all(job, todo)


def _assemble(
    job: Job,
    sources: Sequence[Source],
    output: Path,
    settings: PrepareSettings,
    backend: Iterator[Source],
    progress: Progress | None,
) -> Summary:
    """Waits for sources, writes shards as far as all sources before are done, and completes the folder."""
    summary, fresh = Summary(), 0
    assembler = Assembler(output, job.work, settings.shard_size, frozenset(settings.validation_subjects))
    place, done = 0, sum(job.record_path(source).is_file() for source in sources)

    def advance(place: int) -> int:
        while place < len(sources) and job.record_path(sources[place]).is_file():
            record = _record(job, sources[place])
            assembler.add(job.samples_path(sources[place]), record)
            summary.add(record)
            place += 1
        return place

    place = advance(place)
    for source in backend:
        done += 1
        record = _record(job, source)
        fresh += record.get("clips", 0)
        if "reason" in record:
            logger.warning("left out: %s: %s", source.name, record["reason"])
        place = advance(place)
        if progress:
            progress(done, len(sources), f"{fresh} clips")
    shards = assembler.finish()
    _complete(output, job, sources, [shard.line() for shard in shards])
    summary.shards, summary.fresh_clips = len(shards), fresh
    return summary


def _complete(output: Path, job: Job, sources: Sequence[Source], lines: list[dict[str, Any]]) -> None:
    """Writes the lists, the manifest last, and removes what was needed on the way."""
    with atomic_write(output / RECORDS) as a, atomic_write(output / QUARANTINE) as b:
        with a.open("w", encoding="utf-8") as records, b.open("w", encoding="utf-8") as quarantine:
            for source in sources:
                record = _record(job, source)
                kept = {key: value for key, value in record.items() if key not in ("files", "samples")}
                records.write(json.dumps(kept) + "\n")
                if "reason" in record:
                    quarantine.write(json.dumps({"source": source.name, "reason": record["reason"]}) + "\n")
    with atomic_write(output / MANIFEST) as path, path.open("w", encoding="utf-8") as manifest:
        manifest.writelines(json.dumps(line) + "\n" for line in lines)
    _clean(output)


def _finished(output: Path, started: float) -> Summary:
    """The summary of a folder that was complete before this call."""
    _clean(output)
    summary = Summary()
    for line in (output / RECORDS).read_text(encoding="utf-8").splitlines():
        summary.add(json.loads(line))
    summary.shards = len((output / MANIFEST).read_text(encoding="utf-8").splitlines())
    summary.elapsed_s = time.perf_counter() - started
    return _with_clips(summary, output)


def _clean(output: Path) -> None:
    """Removes the work folder and what a killed run began to write."""
    shutil.rmtree(output / WORK, ignore_errors=True)
    begun = (".manifest.*", ".sources.*", ".quarantine.*", ".prepare.*", *(f"{kind}/.{kind}-*" for kind in KINDS))
    for leftover in (file for pattern in begun for file in output.glob(pattern)):
        leftover.unlink(missing_ok=True)


def _with_clips(summary: Summary, output: Path) -> Summary:
    if not summary.clips:
        reasons = "; ".join(f"{count}× {reason}" for reason, count in summary.quarantined.most_common(3))
        left = "; ".join(f"{seconds:.1f} s {reason}" for reason, seconds in summary.left_out_s.most_common(3))
        what = f"not one clip came out of {summary.sources} videos ({'; '.join(filter(None, (reasons, left)))})"
        raise InputError(what, str(output / QUARANTINE), "other videos or settings, and a new output folder")
    return summary


def _record(job: Job, source: Source) -> dict[str, Any]:
    return json.loads(job.record_path(source).read_text(encoding="utf-8"))
