"""Tables of the evaluation report: runs in, HTML out. Every table stands in a box of its own that scrolls sideways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from unimo.evaluation.html.measures import HIGHER, LOWER, Row, digits, measure, result_rows, setting_rows, spread
from unimo.evaluation.html.paper_tables import PaperTable, paper_tables
from unimo.evaluation.html.runs import Run, part
from unimo.evaluation.html.statistics import Estimate, paired_difference

_FEWEST_FOR_FID = 30


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """Rows of HTML cells, the first of each its heading; `kind` is a class of the box."""
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>' for row in rows
    )
    name = escape(caption)
    return (
        f'<h3>{name}</h3><div class="box {kind}" role="region" tabindex="0" aria-label="{name}">'
        f'<table aria-label="{name}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def provenance(runs: Sequence[Run]) -> str:
    """Which weights on which clips, drawn by what, asked for how, when and where: one column a run."""
    told = [_provenance(run) for run in runs]
    names = dict.fromkeys(name for each in told for name in each)
    rows = [[escape(name), *(escape(each.get(name) or "not said") for each in told)] for name in names]
    return table("What was measured", ["", *(escape(run.label) for run in runs)], rows, "words")


def results(run: Run) -> str:
    """A run's measures with intervals, seeds and everything that stands beside them."""
    rows = result_rows(run.report)
    columns = list(dict.fromkeys(name for row in rows for name in row.beside))
    seeds = any(len(row.per_seed) > 1 for row in rows)
    # what the number is worth stands right beside it, where a phone shows it too
    lead = [name for name in columns if name == "÷ constant pose"]
    lead = lead or sorted(columns, key=lambda name: -sum(name in row.beside for row in rows))[:1]
    rest = [name for name in columns if name not in lead]
    head = ["measure", "value", *map(escape, lead), "95 % interval"]
    head += [*(["lowest to highest seed"] if seeds else []), *map(escape, rest)]
    body = [
        [escape(measure(row.key).text), _own(run, row), *(_beside(row, name) for name in lead), spread(row.interval),
         *([_seed_range(row)] if seeds else []), *(_beside(row, name) for name in rest)]
        for row in rows
    ]  # fmt: skip
    return table(f"Results: {run.label}", head, body)


def settings(run: Run) -> str:
    """Counts, times and memory of a run."""
    rows = [
        [escape(measure(row.key).text), digits(row.value), *(_beside(row, n) for n in row.beside)]
        for row in setting_rows(run.report)
    ]
    for key, label in {"wall_seconds": "whole run, s", "peak_memory_gb": "peak memory, GB",
                       "peak_device_memory_gb": "peak memory of the graphics card, GB"}.items():  # fmt: skip
        if isinstance(run.header.get(key), int | float):
            rows.append([label, digits(run.header[key])])
    told = {key: value for key, value in run.report.items() if isinstance(value, str)}
    rows += [[escape(measure(key).label), escape(value)] for key, value in told.items()]
    width = max((len(row) for row in rows), default=0)
    body = [row + [""] * (width - len(row)) for row in rows]
    return table(f"Settings and cost: {run.label}", ["", *[""] * (width - 1)], body)


def comparison(runs: Sequence[Run]) -> str:
    """All runs side by side, and each one's paired difference to the first."""
    all_rows = [{row.key: row for row in result_rows(run.report)} for run in runs]
    keys = [key for key in dict.fromkeys(key for rows in all_rows for key in rows)]
    head = ["measure", *(escape(run.label) for run in runs)]
    head += [f"{escape(run.label)} − {escape(runs[0].label)}" for run in runs[1:]]
    body = []
    for key in keys:
        cells = [_value(run, rows.get(key)) for run, rows in zip(runs, all_rows, strict=True)]
        cells += [_difference(paired_difference(runs[0], run, key), key) for run in runs[1:]]
        body.append([escape(measure(key).text), *cells])
    return table("Runs side by side", head, body)


def differences_of(first: Run, second: Run) -> dict[str, tuple[Estimate, float]]:
    """Every measure's paired difference, where there are clips enough, and the first run's number, for the chart."""
    found = {}
    for row in result_rows(first.report):
        estimate = paired_difference(first, second, row.key)
        if estimate is not None and estimate.enough and row.value:
            found[measure(row.key).text] = (estimate, row.value)
    return found


def published(kind: str) -> str:
    """What the paper printed, apart from ours and marked as such."""
    boxes = "".join(_paper(one) for one in paper_tables(kind))
    return (
        '<aside class="paper" aria-labelledby="paper"><h2 id="paper">Published by the paper</h2>'
        '<p class="badge">Not the same data. Not comparable with the numbers above.</p>'
        "<p>The paper measured a larger model on real video (300 clips of Human4DiT-Video, DNA-Rendering, 3DPW, "
        "RICH and BEDLAM) with the motion that GVHMR extracts as truth (in table 11 the data sets' own), with its own "
        f"joint set and frame rate. The rows are here to be looked up, not to be ranked against.</p>{boxes}</aside>"
    )


def every_clip(run: Run) -> str:
    """All numbers of single clips, folded away."""
    keys = [key for key in run.per_clip if "." not in key or key.startswith("consistency")]
    if not keys:
        return ""
    classes = ["motion class"] if run.classes else []
    head = ["clip", *classes, *(escape(measure(key).text) for key in keys)]
    rows = [
        [escape(name), *([escape(run.classes[i])] if run.classes else []),
         *(digits(run.per_clip[key][i]) for key in keys)]
        for i, name in enumerate(run.names)
    ]  # fmt: skip
    summary = f"<summary>All clips of {escape(run.label)}</summary>"
    return f"<details>{summary}{table(f'Clips: {run.label}', head, rows)}</details>"


def in_short(run: Run) -> str:
    """The line about a run that stands at the head of the page."""
    told = _provenance(run)
    bundle, clips = (told[f"{name} sha256"][:12] or "of unknown hash" for name in ("bundle", "clips"))
    seeds = f"seeds {told['seeds']}" if run.header.get("seeds") else told["seeds"] or "seeds not said"
    parts = [
        f"bundle {told['bundle']} {bundle}", f"{told['clips']}, clips {clips}", f"drawn by {told['drawn by'] or '?'}",
        seeds, told["machine"], told["date"],
    ]  # fmt: skip
    return f"<p><b>{escape(run.label)}</b>: {escape('; '.join(parts))}. <code>{escape(told['command'])}</code></p>"


def conventions(runs: Sequence[Run]) -> str:
    """What the run files say of joints, alignment and units, folded away."""
    told = {name: text for run in runs for name, text in part(run.header, "conventions").items()}
    if not told:
        return ""
    terms = "".join(f"<dt><code>{escape(name)}</code></dt><dd>{escape(str(text))}</dd>" for name, text in told.items())
    return f"<details><summary>What each number means: joints, alignment, units</summary><dl>{terms}</dl></details>"


def _paper(one: PaperTable) -> str:
    rows = [[escape(name), *map(escape, numbers)] for name, numbers in one.rows]
    remark = f'<p class="remark">{escape(one.remark)}</p>' if one.remark else ""
    return table(f"Paper, table {one.number}: {one.title}", ["method", *map(escape, one.columns)], rows) + remark


def _provenance(run: Run) -> dict[str, str]:
    header = run.header
    clips, bundle = part(header, "clips"), part(header, "bundle")
    folder = run.clips_folder()
    cores = f", {header['cores']} cores" if header.get("cores") else ""
    load = f", load {header['load_average']}" if header.get("load_average") is not None else ""
    return {
        "run file": str(run.path),
        "bundle": run.bundle_name,
        "bundle sha256": str(bundle.get("sha256") or ""),
        "clips": f"{'?' if run.clips_count is None else run.clips_count} of {folder or 'a folder that is not named'}",
        "data set": _dataset(part(header, "dataset")),
        "clips sha256": str(clips.get("sha256") or ""),
        "subjects": ", ".join(map(str, clips.get("subjects") or [])),
        "drawn by": ", ".join(map(str, clips.get("graphics_drivers") or [])),
        "seeds": "nothing is sampled" if header.get("seeds") == [] else ", ".join(map(str, header.get("seeds") or [])),
        "command": str(header.get("command") or ""),
        "date": str(header.get("date") or ""),
        "machine": f"{header.get('cpu') or 'unknown processor'}{cores}{load}",
        "platform": str(header.get("platform") or ""),
        "device": f"{header.get('device', '?')}, {header.get('dtype', '?')}",
        "versions": _versions(part(header, "versions")),
    }


def _dataset(dataset: Mapping[str, object]) -> str:
    if not dataset.get("name"):
        return "none: a folder of clips"
    as_defined = dataset.get("matches_the_definition")
    verdict = ", as it is defined" if as_defined else ", but NOT as it is defined: comparable with nobody else's"
    return f"{dataset['name']}{'' if as_defined is None else verdict}"


def _versions(versions: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _beside(row: Row, name: str) -> str:
    if name not in row.beside:
        return ""
    value, interval = row.beside[name]
    return f"{digits(value)} {spread(interval)}".strip()


def _own(run: Run, row: Row) -> str:
    """A run's own number; a distance of distributions from few clips says so."""
    few = run.clips_count is not None and run.clips_count < _FEWEST_FOR_FID
    biased = few and row.value is not None and row.key.rpartition(".")[2].startswith("fid_")
    return f"<b>{digits(row.value)}</b>" + (" <span>few clips: biased</span>" if biased else "")


def _value(run: Run, row: Row | None) -> str:
    return "" if row is None else f"{_own(run, row)} {spread(row.interval)}".strip()


def _seed_range(row: Row) -> str:
    if len(row.per_seed) < 2:
        return ""
    return f"{digits(min(row.per_seed))} to {digits(max(row.per_seed))} ({len(row.per_seed)})"


def _difference(found: Estimate | None, key: str) -> str:
    if found is None:
        return ""
    if not found.enough:
        return f"{_signed(found.value)} <span>{found.count} clips: too few to tell</span>"
    better = measure(key).better
    verdict = ""
    if found.low > 0 or found.high < 0:
        rises = found.low > 0
        verdict = {LOWER: "worse" if rises else "better", HIGHER: "better" if rises else "worse"}.get(better, "differs")
    words = verdict or "no clear difference"
    value, low, high = map(_signed, (found.value, *found.interval))
    return f'{value} [{low}, {high}] <span class="{verdict}">{words}</span>'


def _signed(value: float) -> str:
    return f"{value:+#.3g}".rstrip(".").replace("-", "−")
