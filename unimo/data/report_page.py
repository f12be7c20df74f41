"""The data report: a collection and its statistics in, one HTML page out that needs no other file and no network.

Samples that cannot be read or drawn do not end the report: the page names them with their reason.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

import numpy as np

from unimo import __version__
from unimo.body.names import JOINT_NAMES
from unimo.data import report_charts as charts
from unimo.data.collection import Collection, Sample, load_collection
from unimo.data.report_pictures import middle_picture, strip
from unimo.data.statistics import ANGLE_EDGES, Statistics, Unusual, describe
from unimo.errors import InputError
from unimo.files import atomic_write

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]

SHEET, STRIPS, TOP = 24, 8, 20
_KINDS = {"clips": "synthetic clips", "shards": "prepared shards", "motions": "motion files"}
PAGE_STYLE = """
:root { color-scheme: light dark; --paper: #fbfbfa; --ink: #1d1f21; --soft: #6a6f75; --mark: #3b6fb5; --line: #dcdcd8; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #16181a; --ink: #e4e4e1; --soft: #9aa0a6; --mark: #7fb0ee; --line: #34383c; }
}
body { background: var(--paper); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; margin: 0 auto;
  max-width: 1180px; padding: 24px; }
h1 { font-size: 24px; margin: 0; } h2 { font-size: 18px; margin: 36px 0 8px; border-top: 1px solid var(--line);
  padding-top: 14px; } h3 { font-size: 14px; font-weight: 600; margin: 0 0 2px; }
p, figcaption, .soft { color: var(--soft); margin: 2px 0 10px; overflow-wrap: anywhere; }
.tiles, .charts, .sheet { display: grid; gap: 18px; }
.tiles { grid-template-columns: repeat(auto-fill, minmax(130px, 1fr)); margin-top: 18px; }
.tiles b { display: block; font-size: 22px; font-weight: 600; }
.charts { grid-template-columns: repeat(auto-fill, minmax(min(340px, 100%), 1fr)); align-items: start; }
.sheet { grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 12px; }
figure { margin: 0; } svg { width: 100%; max-width: 440px; height: auto; } svg text { font-family: inherit !important; }
img { width: 100%; border-radius: 3px; display: block; }
figcaption { font-size: 12px; line-height: 1.3; margin-top: 3px; }
.strip { margin-bottom: 14px; } .strip img { width: auto; max-width: 100%; }
table { border-collapse: collapse; } td, th { text-align: left; padding: 2px 18px 2px 0; vertical-align: top; }
"""


def write_data_report(source: str | Path, html: str | Path, progress: Progress | None = None) -> Path:
    """Writes the report of a folder of clips, of prepared shards or of motion files.

    Args:
        source: see `load_collection`.
        html: the page's file; it appears whole or not at all.
        progress: called with a stage, what is done and how many there are.

    Raises:
        InputError: nothing that can be read.
        MissingAssetError: a motion is of the licensed body and its file is not on this machine.
    """
    collection = load_collection(source, progress)
    if collection.damaged:
        name, reason = collection.damaged[0]
        many = f"{len(collection.damaged)} of {len(collection.damaged) + len(collection.samples)}"
        logger.warning("%s cannot be read and are left out; the first is %s: %s", many, name, reason)
    page = data_report(collection, describe(collection.samples, progress), progress)
    with atomic_write(html) as path:
        path.write_text(page, encoding="utf-8")
    return Path(html)


def data_report(collection: Collection, found: Statistics, progress: Progress | None = None) -> str:
    """The page as text; the same data give the same text.

    Args:
        collection: what is described; some of its samples are drawn.
        found: its statistics.
        progress: called with a stage, what is done and how many there are.
    """
    title = f"Data report: {escape(collection.place.name)}"
    about = f"{_KINDS[collection.kind]} in {escape(str(collection.place))}, UniMo {__version__}"
    undrawn: dict[str, str] = {}
    pictures = [
        _contact_sheet(collection.samples, undrawn, progress),
        _strips(collection.samples, found.unusual, undrawn, progress),
    ]
    sections = [
        _tiles(collection, found),
        _section("Motion", _motion_charts(found)),
        _section("Poses", _pose_charts(found)),
        _section("Shape", _shape_charts(found)),
        _section("Camera", _camera_charts(found)),
        _section("Who and what", _name_charts(found)),
        _reasons("Damaged: cannot be read", collection.damaged),
        _reasons("Damaged: cannot be drawn, such as by its video; counted nevertheless", list(undrawn.items())),
        _reasons("Left out", collection.left_out),
        *pictures,
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{PAGE_STYLE}</style></head>\n'
        f"<body><h1>{title}</h1><p>{about}</p>\n" + "\n".join(part for part in sections if part) + "\n</body></html>\n"
    )


def _tiles(collection: Collection, found: Statistics) -> str:
    seconds = float(found.numbers["seconds"].sum())
    noun = "motions" if collection.kind == "motions" else "clips"
    tiles = {
        noun: f"{len(collection.samples):,}",
        "together": _duration(seconds),
        "frames": f"{found.frames:,}",
        "different sources": f"{len(found.counts['source']):,}",
        "subjects": f"{len(found.counts['subject']):,}" if found.counts["subject"] else "not said",
        "frame rate": ", ".join(rate for rate, _ in found.counts["frame rate"].most_common(4)),
        "with text": f"{100 * found.counts['text'].total() / len(collection.samples):.0f} %",
        "left out": f"{len(collection.left_out) + len(collection.damaged):,}",
    }
    tiles |= {f"in {split}": f"{count:,}" for split, count in found.counts["split"].items()}
    cells = "".join(f"<div><b>{escape(value)}</b>{escape(name)}</div>" for name, value in tiles.items())
    return f'<div class="tiles">{cells}</div>'


def _motion_charts(found: Statistics) -> dict[str, str]:
    numbers = found.numbers
    return {
        "What the frames show": charts.bars(found.activity, "% of the frames", percent=True),
        "Posture": charts.bars(found.posture, "% of the frames", percent=True),
        "Length": charts.histogram(numbers["seconds"], "seconds"),
        **_histograms(numbers, {
            "travel": ("Speed over the floor", "mean m/s of the pelvis"),
            "stir": ("Speed of the joints", "mean m/s of the 22 joints"),
        }),
    }  # fmt: skip


def _pose_charts(found: Statistics) -> dict[str, str]:
    shown = {"Flexion and rotation of each joint":
             charts.joint_angles(found.angles, ANGLE_EDGES, found.ranges, JOINT_NAMES[1:])}  # fmt: skip
    if len(found.spread):
        needed = int(np.searchsorted(found.spread.cumsum(), 0.9)) + 1
        label = f"first two principal axes of the poses, {100 * found.spread[:2].sum():.0f} % of their variance"
        shown[f"Spread of the poses: {needed} axes hold 90 % of the variance"] = charts.density(found.poses, label)
        first = {f"axis {i + 1}": float(share) for i, share in enumerate(found.spread[:10])}
        shown["Variance along the principal axes"] = charts.bars(first, "% of the variance", percent=True)
    return shown


def _shape_charts(found: Statistics) -> dict[str, str]:
    return {
        "Stature": charts.histogram(found.numbers["stature"], "metres"),
        "Shape coefficients": charts.spans(found.betas, "betas 1–10, darker: more often"),
    }


def _camera_charts(found: Statistics) -> dict[str, str]:
    shown = _histograms(found.numbers, {
        "focal": ("Focal length", "multiples of the picture's height"),
        "distance": ("Distance", "metres to the pelvis"),
        "fill": ("Size in the picture", "share of its height, highest to lowest joint"),
        "pitch": ("Pitch", "degrees downwards"),
        "eye": ("Camera height", "metres above the floor"),
    })  # fmt: skip
    if found.counts["camera"]:
        shown["Kind of camera"] = charts.bars(_top(found.counts["camera"]), "how many")
    if np.isfinite(found.camera_moves):
        moves = {"moves": found.camera_moves, "stands still": 1 - found.camera_moves}
        shown["Movement"] = charts.bars(moves, "% of the clips", percent=True)
    return shown


def _name_charts(found: Statistics) -> dict[str, str]:
    shown = {}
    titles = {"subject": "Subjects", "source": "Sources", "look": "Looks", "label": "Labels made by"}
    for key, title in {**titles, "text": "Text labels"}.items():
        counts = found.counts[key]
        # a list in which everything is there once says nothing
        if counts and (key == "text" or (len(counts) > 1 and counts.most_common(1)[0][1] > 1)):
            more = f", the {TOP} most frequent of {len(counts):,}" if len(counts) > TOP else ""
            shown[title + more] = charts.bars(_top(counts), "how many")
    if np.isfinite(found.numbers["confidence"]).any():
        label = "mean of the clip"
        shown["Confidence of the labels"] = charts.histogram(found.numbers["confidence"], label, limits=(0, 1))
    return shown


def _histograms(numbers: dict[str, np.ndarray], wanted: dict[str, tuple[str, str]]) -> dict[str, str]:
    """Histograms of the numbers that are known."""
    return {
        title: charts.histogram(numbers[key], label)
        for key, (title, label) in wanted.items()
        if np.isfinite(numbers[key]).any()
    }


def _reasons(title: str, pairs: Sequence[tuple[str, str]]) -> str:
    """A table of (name, reason), the most frequent reasons first, at most `TOP` names of each."""
    if not pairs:
        return ""
    names: dict[str, list[str]] = {}
    for name, reason in pairs:
        names.setdefault(reason, []).append(name)
    rows = "".join(
        f"<tr><td>{len(of):,}</td><td>{escape(reason)}</td><td class=soft>{escape(_listed(of))}</td></tr>"
        for reason, of in sorted(names.items(), key=lambda pair: -len(pair[1]))[:TOP]
    )
    return f"<h2>{title}</h2><table><tr><th>how many</th><th>reason</th><th>which</th></tr>{rows}</table>"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - TOP:,} more" if len(names) > TOP else ""
    return ", ".join(names[:TOP]) + more


def _contact_sheet(samples: Sequence[Sample], undrawn: dict[str, str], progress: Progress | None) -> str:
    chosen = np.unique(np.linspace(0, len(samples) - 1, min(SHEET, len(samples))).round().astype(int))
    figures = []
    for done, index in enumerate(chosen):
        sample = samples[index]
        figures.append(_drawn(middle_picture, sample, _caption(sample), "", undrawn))
        if progress:
            progress("contact sheet", done + 1, len(chosen))
    about = f"{len(chosen)} of {len(samples):,}, evenly over their names; left limbs blue, right limbs red."
    return f'<h2>Contact sheet</h2><p>{about}</p><div class="sheet">{"".join(figures)}</div>'


def _strips(
    samples: Sequence[Sample], unusual: Sequence[Unusual], undrawn: dict[str, str], progress: Progress | None
) -> str:
    chosen = _different(unusual)
    figures = []
    for done, one in enumerate(chosen):
        sample = samples[one.index]
        side = "above" if one.score >= 0 else "below"
        why = f"{abs(one.score):.1f} usual deviations {side} the middle in {one.reason}: {_caption(sample)}"
        figures.append(_drawn(strip, sample, why, "strip", undrawn))
        if progress:
            progress("unusual clips", done + 1, len(chosen))
    about = (
        "Farthest from the others, one of each source: rare, or wrong. In pose: distance from the mean pose, above or "
        "below what is usual; in speed: of the joints."
    )
    return f"<h2>Most unusual</h2><p>{about}</p>{''.join(figures)}"


def _drawn(
    draw: Callable[[Sample], str], sample: Sample, caption: str, kind: str, undrawn: dict[str, str]
) -> str:
    """The figure of a sample; one that cannot be drawn gives none, and is noted with the reason."""
    try:
        return _figure(draw(sample), caption, kind)
    except InputError as error:
        if sample.name not in undrawn:
            logger.warning("%s cannot be drawn: %s", sample.name, error.what)
        undrawn[sample.name] = error.what
        return ""


def _different(unusual: Sequence[Unusual]) -> list[Unusual]:
    """The first of each source, at most `STRIPS`."""
    first: dict[str, Unusual] = {}
    for one in unusual:
        first.setdefault(one.source, one)
    return list(first.values())[:STRIPS]


def _caption(sample: Sample) -> str:
    parts = [sample.name, sample.source if sample.source != sample.name else "", sample.text]
    return ", ".join(part for part in parts if part)


def _figure(uri: str, caption: str, kind: str = "") -> str:
    return f'<figure class="{kind}"><img src="{uri}" alt=""><figcaption>{escape(caption)}</figcaption></figure>'


def _section(title: str, shown: dict[str, str]) -> str:
    if not shown:
        return ""
    figures = "".join(f"<figure><h3>{escape(name)}</h3>{svg}</figure>" for name, svg in shown.items())
    return f'<h2>{title}</h2><div class="charts">{figures}</div>'


def _top(counts: Counter[str]) -> dict[str, float]:
    return {name: float(count) for name, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:TOP]}


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
