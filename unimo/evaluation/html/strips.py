"""The clips that went worst, as players: runs in, HTML out. What cannot be shown is said in its place.

Runs of the very same clips share their strips. Clips are ranked by the first run's error, mean over its seeds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from unimo.data.clips import CLIP_FILES, clip_folders, clip_records
from unimo.errors import InputError, UniMoError
from unimo.evaluation.html.measures import HIGHER, digits, measure
from unimo.evaluation.html.pictures import Strip, generated_strip, motion_strip, panel_side
from unimo.evaluation.html.runs import Run
from unimo.result import Progress

# by what clips are ranked: the first that a run tells of single clips
RANKED_BY = (
    "mpjpe_mm", "open22.mpjpe_mm", "smplx22.mpjpe_mm", "consistency.mpjpe_mm", "joint_color_difference_8bit",
    "psnr_in_mask_db", "psnr_db", "first_frame_psnr_db",
)  # fmt: skip
_USUAL = (0.25, 0.5, 0.75)


def ranking_key(run: Run) -> str | None:
    """The measure by which a run's clips are ranked and drawn; None when it tells nothing of single clips."""
    return next((key for key in RANKED_BY if np.isfinite(run.per_clip.get(key, np.empty(0))).any()), None)


def ranked(run: Run, key: str) -> list[str]:
    """Clips from worst to best; those without a value are left out."""
    values = run.per_clip[key]
    known = np.flatnonzero(np.isfinite(values))
    sign = -1 if measure(key).better != HIGHER else 1
    return [run.names[index] for index in known[np.argsort(sign * values[known], kind="stable")]]


def strip_sections(runs: Sequence[Run], worst: int, progress: Progress | None = None) -> str:
    """The `worst` clips, and some from the middle of the ranking, of every set of clips."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.clips_sha256 or str(run.path), []).append(run)
    parts = []
    for group in groups.values():
        if len(groups) > 1:
            parts.append(f"<h3>{escape(', '.join(run.label for run in group))}</h3>")
        try:
            parts += _group(group, worst, progress)
        except UniMoError as error:
            parts.append(_note(group[0], f"no strips; {_plain(error)}"))
    return "".join(parts)


def _group(runs: Sequence[Run], worst: int, progress: Progress | None) -> list[str]:
    first, key = runs[0], ranking_key(runs[0])
    if key is None:
        if first.names:
            raise InputError("no clip has a number by which clips are ranked")
        raise InputError("the run file tells no errors of single clips, as those of older versions")
    folder = _checked_folder(first)
    records = clip_records(folder)
    order = ranked(first, key)
    middle = [order[int(share * (len(order) - 1))] for share in _USUAL]
    usual = [clip for clip in dict.fromkeys(middle) if clip not in order[:worst]]
    shown = [run for run in runs if run.folder.is_dir()]
    parts = [
        _note(run, f"its predictions are not shown: there is no folder {run.folder.name} beside the run file")
        for run in runs if run not in shown
    ]  # fmt: skip
    panels = 1 + 2 * len(shown) if first.kind == "generate" else 3 + len(shown)
    side = panel_side(worst + len(usual), panels, len(first.by_time))
    done = 0
    head = "All clips, worst first" if len(order) <= worst else "Worst"
    for title, clips in {head: order[:worst], "From the middle of the ranking": usual}.items():
        figures = []
        for clip in clips:
            figures.append(_figure(first, shown, folder, clip, key, side, records.get(clip, {})))
            done += 1
            if progress:
                progress("drawing clips", done, len(order[:worst]) + len(usual))
        if figures:
            parts.append(f'<h3>{title}</h3><div class="players">{"".join(figures)}</div>')
    return parts


def _checked_folder(run: Run) -> Path:
    """The folder of the run's clips.

    Raises:
        InputError: it is not named, not there, or holds other clips than those that were measured.
    """
    folder = run.clips_folder()
    if folder is None:
        raise InputError("the run file names no folder of clips")
    if run.clips_sha256 is None:
        raise InputError("the run file has no hash of its clips, so nobody knows whether these are they", str(folder))
    paths = clip_folders(folder)[: len(run.names)]
    digest = hashlib.sha256()
    for path in paths:
        for name in CLIP_FILES:
            if not (path / name).is_file():
                raise InputError(f"the clip has no {name}", str(path))
            digest.update((path / name).read_bytes())
    if [path.name for path in paths] != run.names or digest.hexdigest() != run.clips_sha256:
        raise InputError("the clips are not those that were measured: their hash differs", str(folder))
    return folder


def _figure(
    first: Run, shown: Sequence[Run], folder: Path, clip: str, key: str, side: int, record: Mapping[str, Any]
) -> str:
    row = first.names.index(clip)
    about = measure(key)
    caption = f"{clip}: {about.label} {digits(first.per_clip[key][row])} {about.unit}".rstrip()
    caption += "".join(f", {digits(_value(run, clip, key))} ({run.label})" for run in shown if run is not first)
    more = [first.classes[row] if first.classes else "", str(record.get("source", "")), str(record.get("text", ""))]
    caption = ", ".join(filter(None, [caption, *more]))
    draw = generated_strip if first.kind == "generate" else motion_strip
    try:
        return player(draw(folder, shown, clip, side), clip, caption)
    except UniMoError as error:
        return f'<figure class="player"><figcaption>{escape(caption)}</figcaption>{_paragraph(_plain(error))}</figure>'


def player(strip: Strip, clip: str, caption: str) -> str:
    """The HTML of a strip; the page's script makes it play."""
    rows = -(-strip.frames // strip.columns)
    height, width = strip.size
    names = "".join(f"<span>{escape(name)}</span>" for name in strip.panels)
    told = escape(f"{caption}. Side by side: {', '.join(strip.panels)}.")
    name = escape(clip)
    return (
        f'<figure class="player" data-frames="{strip.frames}" data-columns="{strip.columns}" data-rows="{rows}" '
        f'data-fps="{strip.fps:g}"><figcaption>{escape(caption)}</figcaption><div class="panels">{names}</div>'
        f'<div class="film" style="aspect-ratio:{width}/{height}">'
        f'<img src="{strip.uri}" alt="{told}" style="width:{100 * strip.columns}%"></div>'
        f'<div class="controls"><button type="button" aria-label="Play {name}">Play</button>'
        f'<input type="range" min="0" max="{strip.frames - 1}" value="0" aria-label="Frame of {name}">'
        f"<output>0.00 s</output></div></figure>"
    )


def _value(run: Run, clip: str, key: str) -> float | None:
    known = clip in run.names and key in run.per_clip
    return float(run.per_clip[key][run.names.index(clip)]) if known else None


def _note(run: Run, why: str) -> str:
    return _paragraph(f"{run.label}: {why}.")


def _paragraph(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def _plain(error: UniMoError) -> str:
    """What is wrong and where, without the advice, which is for a command line."""
    return error.what + (f" ({error.where})" if error.where else "")
