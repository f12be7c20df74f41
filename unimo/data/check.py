"""`unimo data check`: whether the ground truth of a folder of clips is true, measured clip by clip.

In: a folder of `unimo synth`. Out: a `CheckReport`: per measure its mean, its worst clip and the clips beyond the
limit; measures whose files were not written are named as such. The measures stand in `unimo.data.check_clip`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unimo.data.check_clip import ClipCheck, check_clip
from unimo.data.clips import clip_folders, clip_records
from unimo.files import atomic_write
from unimo.synth.processes import drawing_pool


@dataclass(frozen=True)
class Measure:
    """One check.

    Attributes:
        name: as in the report.
        what: in words.
        unit: of its values.
        limit: the worst value that passes.
        at_least: the limit is a lower one.
    """

    name: str
    what: str
    unit: str
    limit: float
    at_least: bool = False

    def passes(self, value: float) -> bool:
        """Whether a value is within the limit; one that is not a number is not."""
        return value >= self.limit if self.at_least else value <= self.limit


MEASURES = (
    Measure("files", "shapes, frame counts, hashes, manifest", "faults", 0),
    Measure("keypoints", "3-D keypoints through intrinsics against 2-D ones", "px", 0.5),
    Measure("joints", "joints of motion and body against 3-D keypoints", "mm", 2.0),
    Measure("camera", "world2cam · cam2world against 1", "", 1e-4),
    Measure("world", "motion_world.npz against motion.npz through cam2world", "mm", 2.0),
    Measure("mask", "mask against motion, camera and body drawn anew", "IoU", 0.97, at_least=True),
    Measure("depth", "depth on the person against the body drawn anew, 95 %", "m", 0.02),
    Measure("surface", "surface map, posed, against the pixel's point, median", "m", 0.05),
    Measure("surface_outline", "pixels with a surface against pixel centres on the body drawn anew", "share", 0.1),
    Measure("normals_person", "normals against depth gradients on the person, median", "°", 15.0),
    Measure("normals_room", "normals against depth gradients behind it, median", "°", 5.0),
    Measure("flow_picture", "change of grey levels that flow leaves unexplained", "share", 0.6),
    Measure("flow_body", "flow at visible vertices of the body against their way, median", "px", 0.25),
    Measure("flow_room", "flow behind the person against depth and camera, median", "px", 0.1),
    Measure("flow_return", "there and back by both flows, mean", "px", 0.25),
    Measure("tracks_pixels", "3-D tracks through intrinsics against 2-D ones", "px", 0.5),
    Measure("tracks_surface", "visible tracks against depth, 95 %", "m", 0.05),
)


@dataclass(frozen=True)
class MeasureSummary:
    """One check over all clips.

    Attributes:
        measure: which.
        mean, worst: over the clips that have it; None when no clip has.
        worst_clip: name of the clip with the worst value.
        failed: names of the clips beyond the limit.
        missing: names of the clips that have not what it needs.
    """

    measure: Measure
    mean: float | None
    worst: float | None
    worst_clip: str
    failed: list[str]
    missing: list[str]

    @property
    def verdict(self) -> str:
        """ "ok", "FAILS in 3 clips", "not there", with how many clips have it not."""
        if self.worst is None:
            return "not there"
        text = f"FAILS in {len(self.failed)}" if self.failed else "ok"
        return f"{text} (not there in {len(self.missing)})" if self.missing else text


@dataclass(frozen=True)
class CheckReport:
    """All checks of a folder, with what was measured in each clip."""

    folder: Path
    clips: list[ClipCheck]
    summaries: list[MeasureSummary]

    @property
    def failed(self) -> dict[str, list[str]]:
        """Clips that fail, with the names of the measures."""
        found: dict[str, list[str]] = {}
        for summary in self.summaries:
            for name in summary.failed:
                found.setdefault(name, []).append(summary.measure.name)
        return dict(sorted(found.items()))

    def as_json(self) -> dict[str, Any]:
        """Plain values; what is not a number is written as text."""
        names = [measure.name for measure in MEASURES]
        return {
            "folder": str(self.folder),
            "clips": len(self.clips),
            "passed": not self.failed,
            "checks": {
                s.measure.name: {
                    "what": s.measure.what, "unit": s.measure.unit, "limit": s.measure.limit,
                    "limit_is": "lowest" if s.measure.at_least else "highest", "verdict": s.verdict,
                    "mean": _plain(s.mean), "worst": _plain(s.worst), "worst_clip": s.worst_clip, "failed": s.failed,
                    "not_there": s.missing,
                }
                for s in self.summaries
            },
            "values": {
                clip.name: {name: _plain(clip.values.get(name)) for name in dict.fromkeys([*names, *clip.values])}
                | {"faults": clip.faults}
                for clip in self.clips
            },
        }  # fmt: skip

    def save(self, path: str | Path) -> None:
        """Writes the report as JSON, whole or not at all."""
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(self.as_json(), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def check_folder(
    folder: str | Path,
    count: int | None = None,
    workers: int = 1,
    progress: Callable[[str, int, int], None] | None = None,
) -> CheckReport:
    """Checks the clips of a folder.

    Args:
        folder: what `unimo synth --output` was given.
        count: only the first so many; None checks all.
        workers: processes; 1 works in this one.
        progress: called with a stage, clips checked and clips in all.

    Raises:
        InputError: no such folder, no clips, or fewer than `count`.
        MissingAssetError: no EGL driver on this machine.
    """
    folder = Path(folder).expanduser()
    paths = clip_folders(folder, count)
    manifest = clip_records(folder)
    clips = []
    for clip in _check_all(paths, workers):
        clips.append(_beside_manifest(clip, folder, manifest) if manifest else clip)
        if progress:
            progress("checking clips", len(clips), len(paths))
    if count is None:
        lost = sorted(set(manifest) - {path.name for path in paths})
        clips += [ClipCheck(name, {"files": 1.0}, ["the manifest names it, its folder is not there"]) for name in lost]
    return CheckReport(folder, clips, [summarise(clips, measure) for measure in MEASURES])


def _beside_manifest(clip: ClipCheck, folder: Path, manifest: dict[str, dict[str, Any]]) -> ClipCheck:
    """The clip with a fault more when its line in the manifest is not what its clip.json says."""
    try:
        said = json.loads((folder / "clips" / clip.name / "clip.json").read_text())
    except (OSError, ValueError):
        return clip  # a clip.json that cannot be read is a fault already
    if said == manifest.get(clip.name):
        return clip
    known = clip.name in manifest
    fault = "clip.json is not what the manifest says of the clip" if known else "the clip is not in the manifest"
    faults = [*clip.faults, fault]
    return ClipCheck(clip.name, clip.values | {"files": float(len(faults))}, faults)


def _check_all(paths: Sequence[Path], workers: int) -> Iterator[ClipCheck]:
    if workers <= 1:
        yield from map(check_clip, paths)
        return
    with drawing_pool(min(workers, len(paths))) as pool:
        yield from pool.imap(check_clip, paths)


def summarise(clips: Sequence[ClipCheck], measure: Measure) -> MeasureSummary:
    """One measure over these clips."""
    there = {clip.name: value for clip in clips if (value := clip.values.get(measure.name)) is not None}
    missing = [clip.name for clip in clips if clip.name not in there]
    if not there:
        return MeasureSummary(measure, None, None, "", [], missing)
    # a value that is not a number is the worst there is
    badness = {name: (math.inf if math.isnan(v) else -v if measure.at_least else v) for name, v in there.items()}
    worst = max(badness, key=lambda name: badness[name])
    failed = [name for name, value in there.items() if not measure.passes(value)]
    return MeasureSummary(measure, sum(there.values()) / len(there), there[worst], worst, failed, missing)


def _plain(value: float | None) -> float | str | None:
    return value if value is None or math.isfinite(value) else str(value)
