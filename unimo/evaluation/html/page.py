"""The report of evaluations: run files in, one HTML page out that needs no other file and no network.

It reads the run files, the folder of predictions beside each, and the clips that the runs' headers name. What is not
there any more is said on the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from unimo.errors import InputError
from unimo.evaluation.html import charts, tables
from unimo.evaluation.html.measures import digits, measure
from unimo.evaluation.html.runs import Run, load_runs
from unimo.evaluation.html.script import SCRIPT, STYLE
from unimo.evaluation.html.statistics import Estimate
from unimo.evaluation.html.strips import RANKED_BY, ranking_key, strip_sections
from unimo.files import atomic_write, check_folder, writing_into
from unimo.result import Progress

WORST = 6
_PAGE = "--html report.html"
_TITLES = {"tokenizer": "the tokenizers", "capture": "capture", "generate": "generation"}
_ABOUT = {
    "tokenizer": "What is lost between motion or frames and the same read back from their tokens.",
    "capture": "Motion read from video, against the true motion of the clips.",
    "generate": "Video and motion made from each clip's first frame. There is no one right answer: the numbers ask "
    "whether the result is plausible and whether video and motion agree.",
}
_CONSISTENCY = "Errors here: motion captured from the generated video, against the motion that was generated with it."
# nothing is fetched, whatever a run file may hold
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def write_evaluation_report(
    runs: Sequence[str | Path], html: str | Path, worst: int = WORST, progress: Progress | None = None
) -> Path:
    """Writes the page.

    Args:
        runs: files that `unimo evaluate --json` wrote, all of one evaluation.
        html: the page's file; it appears whole or not at all.
        worst: so many of the worst clips are shown.
        progress: see `Progress`.

    Raises:
        InputError: see `check_page` and `load_runs`; the disk refuses.
    """
    target = check_page(html, runs)
    page = evaluation_report(load_runs(runs), worst, progress)
    with writing_into(target.parent), atomic_write(target) as path:
        path.write_text(page, encoding="utf-8")
    return target


def check_page(html: str | Path, runs: Sequence[str | Path]) -> Path:
    """Where the page may be written; a missing folder is made later.

    Raises:
        InputError: it is a folder, has another suffix than .html or .htm, would replace a run or lie among its
            predictions, or its folder cannot be written into.
    """
    target = Path(html).expanduser()
    if target.is_dir():
        raise InputError("--html names a folder; a file is wanted", str(target), f"--html {target / 'report.html'}")
    for run in (Path(run).expanduser() for run in runs):
        if target.resolve() == run.resolve() or (target.exists() and run.exists() and target.samefile(run)):
            raise InputError("--html names a run that is read; the page would replace it", str(target), _PAGE)
        folder = run.with_suffix("").resolve()
        if run.suffix and folder in target.resolve().parents:
            what = "--html lies in the predictions of a run, which its next evaluation replaces"
            raise InputError(what, str(target), _PAGE)
    if target.suffix.lower() not in (".html", ".htm"):
        raise InputError("the page's name must end in .html or .htm", str(target), _PAGE)
    check_folder(target.parent)
    return target


def evaluation_report(runs: Sequence[Run], worst: int = WORST, progress: Progress | None = None) -> str:
    """The page as text."""
    title = f"Evaluation of {_TITLES[runs[0].kind]}: {escape(', '.join(run.label for run in runs))}"
    sections = {
        "results": ("Results", _results(runs)),
        "charts": ("Where the errors are", _charts(runs)),
        "clips": ("Single clips", _clips(runs, worst, progress)),
        "runs": ("What was measured, with what and where", tables.provenance(runs) + _settings(runs)),
    }
    links = "".join(f'<a href="#{name}">{heading}</a>' for name, (heading, _) in sections.items())
    body = "".join(f'<h2 id="{name}">{heading}</h2>{text}' for name, (heading, text) in sections.items())
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n'
        f"<body><h1>{title}</h1><p>{_ABOUT[runs[0].kind]} {_summary(runs[0])}</p>{''.join(map(tables.in_short, runs))}"
        f'<nav aria-label="On this page">{links}<a href="#paper">Published by the paper</a></nav>\n'
        f"<main>{body}</main>\n{tables.published(runs[0].kind)}\n<script>{SCRIPT}</script></body></html>\n"
    )


def _summary(run: Run) -> str:
    """The model's own main measure in a sentence, or nothing; a baseline's number never stands here."""
    rows = {row.key: row for row in tables.result_rows(run.report) if row.value is not None}
    first = next((rows[key] for key in RANKED_BY if key in rows), None)
    if first is None:
        return ""
    about = measure(first.key)
    interval = f" (95 % interval {digits(first.interval[0])} to {digits(first.interval[1])})" if first.interval else ""
    clips = "" if run.clips_count is None else f" over {run.clips_count} clips"
    return escape(f"{run.label}: {about.label} {digits(first.value)} {about.unit}{interval}{clips}.")


def _results(runs: Sequence[Run]) -> str:
    parts = []
    if len(runs) > 1:
        parts += [tables.comparison(runs), _comparison_note(runs), *_difference_charts(runs)]
    parts += [tables.results(run) for run in runs]
    return "".join(parts) + f"<p>{_legend(runs)}</p>" + _folded(runs)


def _legend(runs: Sequence[Run]) -> str:
    """What the columns of the results are, of those that are there."""
    rows = [row for run in runs for row in tables.result_rows(run.report)]
    beside = [interval for row in rows for _, interval in row.beside.values()]
    told = ["↓ less is better, ↑ more is better."]
    if any([row.interval for row in rows]) or any(beside):
        told.append("Intervals are of the mean, by 2,000 bootstrap draws over clips.")
    if beside:
        told.append("Further columns: dumb estimates and other ways to the same, over the same clips; "
                    "÷: quotient of means.")  # fmt: skip
    return " ".join(told)


def _folded(runs: Sequence[Run]) -> str:
    return tables.conventions(runs) + "".join(tables.every_clip(run) for run in runs)


def _comparison_note(runs: Sequence[Run]) -> str:
    """Why a difference is shown or is not."""
    unknown = [run for run in runs if run.clips_sha256 is None]
    if unknown:
        names = escape(", ".join(run.label for run in unknown))
        return f'<p class="note">No differences: no hash of the clips in the run file of {names}.</p>'
    apart = [run for run in runs[1:] if run.clips_sha256 != runs[0].clips_sha256]
    if apart:
        names = escape(", ".join(run.label for run in apart))
        return (
            f'<p class="note">No differences to {escape(runs[0].label)}: the clips\' hash differs ({names}). '
            "Run both on the same clips with the same --count.</p>"
        )
    if not all(run.names for run in runs):
        return '<p class="note">No differences: a run file tells nothing of single clips.</p>'
    return (
        "<p>Differences are means over the clips that both runs have, with the 95 % interval of 2,000 bootstrap draws "
        "of clips in pairs. Several measures are looked at: now and then an interval misses 0 by chance.</p>"
    )


def _difference_charts(runs: Sequence[Run]) -> list[str]:
    figures = {}
    for run in runs[1:]:
        rows = tables.differences_of(runs[0], run)
        if rows:
            figures[f"Differences: {run.label} − {runs[0].label}"] = charts.differences(rows)
    return [_figures(figures)] if figures else []


def _charts(runs: Sequence[Run]) -> str:
    figures: dict[str, str] = {}
    notes = []
    if any(np.isfinite([*run.by_joint.values()]).any() for run in runs):
        if len(runs) > 1:
            figures["By joint"] = charts.by_joint_bars(runs)
        for run in (run for run in runs if run.by_joint):
            figures[f"By joint, {run.label}" if len(runs) > 1 else "By joint"] = charts.by_joint_figure(run)
    else:
        notes.append("errors by joint")
    key = ranking_key(runs[0])
    if key and any(run.classes and key in run.per_clip for run in runs):
        figures["By motion class"] = charts.by_class(runs, key)
    else:
        notes.append("motion classes")
    if any(np.isfinite(run.by_time).any() for run in runs):
        figures["By time"] = charts.by_time(runs, runs[0].fps)
    else:
        notes.append("errors by frame")
    told = [run for run in runs if key and all(_known(run, name) for name in (key, "entropy_nats"))]
    for run in told:
        drawn, found = charts.calibration(run, runs.index(run), key or "")
        name = "Calibration: is an unsure model wrong?" + (f" {run.label}" if len(runs) > 1 else "")
        figures[name] = drawn + _correlation_words(found)
    if not told and runs[0].kind != "tokenizer":
        notes.append("entropy of the tokens")
    missing = f'<p class="note">No numbers in the run files for {", ".join(notes)}.</p>' if notes else ""
    marks = f'<div class="marks">{charts.legend(runs)}</div>' if len(runs) > 1 else ""
    if runs[0].kind == "generate" and figures:
        missing += f"<p>{_CONSISTENCY}</p>"
    return missing + marks + _figures(figures)


def _known(run: Run, key: str) -> bool:
    return bool(np.isfinite(run.per_clip.get(key, np.empty(0))).any())


def _correlation_words(found: Estimate | None) -> str:
    if found is None:
        return "<figcaption>No rank correlation: fewer than 8 clips, or all alike.</figcaption>"
    return (
        f"<figcaption>Rank correlation {found.value:.2f} [{found.low:.2f}, {found.high:.2f}] over "
        f"{found.count} clips: 1 if a clip of higher entropy always has the larger error, 0 if it tells "
        "nothing.</figcaption>"
    )


def _figures(figures: dict[str, str]) -> str:
    shown = "".join(f"<figure><h3>{escape(name)}</h3>{svg}</figure>" for name, svg in figures.items())
    return f'<div class="charts">{shown}</div>'


def _clips(runs: Sequence[Run], worst: int, progress: Progress | None) -> str:
    key = ranking_key(runs[0])
    seed = f", with seed {runs[0].seeds[0]}" if runs[0].header.get("seeds") else ""
    what = "generated" if runs[0].kind == "generate" else "predicted"
    over = ", mean over seeds" if runs[0].header.get("seeds") else ""
    by = f"Ranked by {measure(key).label}{over}. " if key else ""
    true = "" if runs[0].kind == "generate" else ", the true one blue"
    about = f"{by}The {what} body is orange{seed}{true}; arrow keys move the slider by a frame."
    return f"<p>{escape(about)}</p>" + strip_sections(runs, worst, progress)


def _settings(runs: Sequence[Run]) -> str:
    return "".join(tables.settings(run) for run in runs)
