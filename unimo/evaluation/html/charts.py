"""Charts of the evaluation report: runs in, SVG figures out by their heading. What a run does not tell has no chart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from unimo.body.names import JOINT_NAMES, PARENTS
from unimo.evaluation.html.measures import digits, measure
from unimo.evaluation.html.runs import Run
from unimo.evaluation.html.statistics import FEWEST_FOR_INTERVAL, Estimate, mean_of, rank_correlation
from unimo.evaluation.html.svg import COLOURS, WIDTH, Board, Scale, scale_for

# a standing person seen from the front, its left hand at the right of the picture
_FIGURE = {
    "pelvis": (220, 230), "spine1": (220, 204), "spine2": (220, 176), "spine3": (220, 148), "neck": (220, 80),
    "head": (220, 44), "left_hip": (248, 256), "left_knee": (254, 324), "left_ankle": (258, 386),
    "left_foot": (286, 410), "left_collar": (252, 120), "left_shoulder": (296, 124), "left_elbow": (330, 174),
    "left_wrist": (358, 224),
}  # fmt: skip
_FIGURE |= {name.replace("left", "right"): (440 - x, y) for name, (x, y) in _FIGURE.items() if "left" in name}


def by_joint_figure(run: Run) -> str:
    """Errors on a body figure: the area of a circle is the error."""
    largest = max((value for value in run.by_joint.values() if math.isfinite(value)), default=1.0) or 1.0
    told = ", ".join(f"{name.replace('_', ' ')} {digits(value)} mm" for name, value in run.by_joint.items())
    board = Board(432, f"Error by joint on a body figure: {told}", Scale(0, 1, 0, 1), Scale(0, 1, 0, 1))
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            board.line(*_FIGURE[JOINT_NAMES[parent]], *_FIGURE[JOINT_NAMES[joint]], "bone")
    for name, (x, y) in _FIGURE.items():
        value = run.by_joint.get(name, math.nan)
        size = 3 + 13 * math.sqrt(max(value, 0) / largest) if math.isfinite(value) else 3
        board.mark(x, y, 0, size, f"{name.replace('_', ' ')} {digits(value)} mm", "solid")
        if "collar" in name:  # between spine and shoulder there is room only above
            board.text(x, y - size - 4, digits(value), "middle")
        elif x > 220 or name in ("head", "neck", "spine1", "spine2", "spine3"):
            board.text(x + size + 5, y + 4, digits(value))
        else:
            board.text(x - size - 5, y + 4, digits(value), "end")
    board.text(8, 18, "mean over frames and clips, mm")
    board.text(8, 424, "its right")
    board.text(WIDTH - 8, 424, "its left", "end")
    return board.svg()


def by_joint_bars(runs: Sequence[Run]) -> str:
    """Errors by joint, one mark a run."""
    told = [run for run in runs if run.by_joint]
    names = [name for name in told[0].by_joint]
    rows = [(name.replace("_", " "), [run.by_joint.get(name, math.nan) for run in told]) for name in names]
    board = _rows_board([name for name, _ in rows], [value for _, values in rows for value in values],
                        "Error by joint of several runs", 16)  # fmt: skip
    for place, (name, values) in enumerate(rows):
        for index, value in enumerate(values):
            if math.isfinite(value):
                tip = f"{told[index].label}, {name}: {digits(value)} mm"
                board.mark(board.x(value), board.y(place), runs.index(told[index]), 4, tip)
    board.x_axis("mean error over frames and clips, mm")
    return board.svg()


def by_class(runs: Sequence[Run], key: str) -> str:
    """Mean of each motion class, from five clips on with its 95 % interval over them."""
    told = [run for run in runs if run.classes and key in run.per_clip]
    found: dict[str, dict[int, Estimate]] = {}
    for run in told:
        classes = np.array(run.classes)
        for name in sorted(set(run.classes)):
            estimate = mean_of(run.per_clip[key][classes == name])
            if estimate:
                found.setdefault(name, {})[runs.index(run)] = estimate
    order = sorted(found, key=lambda name: -max(one.value for one in found[name].values()))
    ends = [end for estimates in found.values() for one in estimates.values()
            for end in (one.interval if one.enough else (one.value,))]  # fmt: skip
    labels = [f"{name} ({max(one.count for one in found[name].values())})" for name in order]
    title = f"{measure(key).text} by motion class: " + ", ".join(
        f"{name} {digits(next(iter(found[name].values())).value)}" for name in order
    )
    board = _rows_board(labels, ends, title, 14 + 9 * len(told))
    for place, name in enumerate(order):
        for step, (index, one) in enumerate(found[name].items()):
            y = board.y(place) + 9 * (step - (len(found[name]) - 1) / 2)
            if one.enough:
                board.line(board.x(one.low), y, board.x(one.high), y, f"span run{index % COLOURS}")
            board.mark(board.x(one.value), y, index, 4.5,
                       f"{runs[index].label}, {name}: {digits(one.value)}, {one.count} clips")  # fmt: skip
    board.x_axis(f"{measure(key).label}, {measure(key).unit}: mean and 95 % interval")
    some = any(not one.enough for estimates in found.values() for one in estimates.values())
    about = f"<figcaption>No interval below {FEWEST_FOR_INTERVAL} clips.</figcaption>" if some else ""
    return board.svg() + about


def by_time(runs: Sequence[Run], fps: float | None) -> str:
    """Mean error of every frame."""
    told = [run for run in runs if len(run.by_time)]
    values = [value for run in told for value in run.by_time]
    longest = max(len(run.by_time) for run in told)
    x = Scale(0, max(longest - 1, 1), 48, WIDTH - 12)
    board = Board(250, "Error by frame: " + "; ".join(_course(run) for run in told), x,
                  scale_for(values, 205, 28, zero=True))  # fmt: skip
    seconds = f" ({(longest - 1) / fps:.2g} s from the first to the last)" if fps else ""
    board.x_axis(f"frame, counted from 0{seconds}", min(longest, 8))
    board.y_axis("mean error over joints and clips, mm")
    for run in told:
        points = [(x(i), board.y(value)) for i, value in enumerate(run.by_time) if math.isfinite(value)]
        board.path(points, runs.index(run))
    return board.svg()


def calibration(run: Run, index: int, key: str, against: str = "entropy_nats") -> tuple[str, Estimate | None]:
    """Error of each clip over the entropy of its tokens, and their rank correlation."""
    entropy, error = run.per_clip[against], run.per_clip[key]
    known = np.isfinite(entropy) & np.isfinite(error)
    found = rank_correlation(entropy, error)
    says = f"rank correlation {found.value:.2f}" if found else "no rank correlation"
    board = Board(
        290, f"{measure(key).text} over the mean entropy of {known.sum()} clips, {says}",
        scale_for(entropy[known].tolist(), 52, WIDTH - 12), scale_for(error[known].tolist(), 245, 28, zero=True),
    )  # fmt: skip
    board.x_axis("mean entropy of the clip's motion tokens, nats")
    board.y_axis(f"{measure(key).label} of the clip, {measure(key).unit}")
    for name, x, y in zip(np.array(run.names)[known], entropy[known], error[known], strict=True):
        board.mark(board.x(x), board.y(y), index, 3.5, f"{name}: {digits(x)} nats, {digits(y)}", "faint")
    return board.svg(), found


def differences(rows: Mapping[str, tuple[Estimate, float]]) -> str:
    """Paired differences in percent of the first run's number, one row a measure.

    Args:
        rows: measure → (difference, the first run's number).
    """
    shares = {
        name: [100 * part / abs(base) for part in (one.value, *one.interval)]
        for name, (one, base) in rows.items()
        if base
    }
    board = _rows_board(list(shares), [0.0, *(share for group in shares.values() for share in group)],
                        "Differences in percent: " + ", ".join(f"{k} {digits(v[0])} %" for k, v in shares.items()),
                        20, zero=False)  # fmt: skip
    board.x_axis("% of the first run's number, and 95 % interval")
    board.line(board.x(0), board.y.start, board.x(0), board.y.end, "axis")
    for place, (name, (value, low, high)) in enumerate(shares.items()):
        y = board.y(place)
        board.line(board.x(low), y, board.x(high), y, "span run1")
        board.mark(board.x(value), y, 1, 4.5, f"{name}: {digits(value)} %")
    return board.svg()


def legend(runs: Sequence[Run]) -> str:
    """Which mark and dash is which run."""
    board = Board(10 + 20 * len(runs), "Marks of the runs: " + ", ".join(run.label for run in runs),
                  Scale(0, 1, 0, 1), Scale(0, 1, 0, 1))  # fmt: skip
    for index, run in enumerate(runs):
        y = 14 + 20 * index
        board.path([(8, y), (52, y)], index)
        board.mark(30, y, index)
        board.text(62, y + 4, run.label[:52])
    return board.svg()


def _rows_board(labels: Sequence[str], values: Sequence[float], title: str, tall: float, zero: bool = True) -> Board:
    """A board with one row a label, the first on top."""
    left = 14 + 6.6 * max((min(len(label), 30) for label in labels), default=0)
    height = 16 + tall * len(labels)
    board = Board(height + 44, title, scale_for(values, left, WIDTH - 14, zero),
                  Scale(-0.5, len(labels) - 0.5, 10, height))  # fmt: skip
    for place, label in enumerate(labels):
        board.text(left - 8, board.y(place) + 4, label if len(label) <= 30 else label[:29] + "…", "end")
    return board


def _course(run: Run) -> str:
    known = run.by_time[np.isfinite(run.by_time)]
    if not len(known):
        return f"{run.label} unknown"
    return f"{run.label} from {digits(float(known[0]))} to {digits(float(known[-1]))} mm"

