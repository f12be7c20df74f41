"""Charts of the data report: arrays in, inline SVG text out, in the colours of the page (light or dark).

Text takes the page's `currentColor`, marks take its CSS variable `--mark`. The same numbers give the same text.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# stand-ins that no chart uses otherwise; they are exchanged for the page's colours at the end
_INK, _MARK = "#012345", "#543210"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "unimo", "font.size": 9, "font.family": "sans-serif", "text.color": _INK,
    "axes.edgecolor": _INK, "axes.labelcolor": _INK, "xtick.color": _INK, "ytick.color": _INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6,
}  # fmt: skip
_WIDTH = 4.2


def histogram(values: np.ndarray, label: str, bins: int = 24, limits: tuple[float, float] | None = None) -> str:
    """How often each value occurs; values that are not a number are left out, and those beyond `limits` not shown."""
    known = values[np.isfinite(values)]

    def draw(axes: Axes) -> None:
        low, high = limits or (float(known.min()), float(known.max()))
        if high - low < 1e-6:
            low, high = low - 0.5, high + 0.5
        axes.hist(known, bins=bins, range=(low, high), color=_MARK)
        axes.axvline(float(np.median(known)), color=_INK, linewidth=0.8, linestyle=":")
        axes.set_xlabel(f"{label} (median {np.median(known):.3g})")
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))

    return _svg(draw, 1.9)


def bars(shares: Mapping[str, float], label: str, percent: bool = False) -> str:
    """One horizontal bar a name, the first on top."""
    names = [name if len(name) <= 44 else name[:43] + "…" for name in shares]
    values = [100 * value if percent else value for value in shares.values()]

    def draw(axes: Axes) -> None:
        places = np.arange(len(values))
        axes.barh(places, values, color=_MARK, height=0.7)
        axes.set_yticks(places, names)
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        for place, value in enumerate(values):
            axes.text(value, place, f" {value:.3g}", va="center", fontsize=8)
        axes.set_xlim(0, 1.15 * max(values) or 1)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_xlabel(label)

    return _svg(draw, 0.75 + 0.21 * len(names))


def joint_angles(angles: np.ndarray, edges: np.ndarray, ranges: np.ndarray, names: Sequence[str]) -> str:
    """One row a joint: how often it is turned by how much (darker: more often), and where 5–95 % of the frames lie.

    Args:
        angles: (J, B) share of the frames.
        edges: (B + 1,) degrees.
        ranges: (J, 2) degrees.
        names: J words.
    """

    def draw(axes: Axes) -> None:
        rows = np.arange(len(names))
        # the root makes rare angles visible beside frequent ones
        axes.pcolormesh(edges, np.arange(len(names) + 1) - 0.5, np.sqrt(angles), cmap=_shades(), linewidth=0)
        axes.hlines(rows, ranges[:, 0], ranges[:, 1], color=_INK, linewidth=1.0)
        axes.set_yticks(rows, [name.replace("_", " ") for name in names])
        axes.invert_yaxis()
        axes.set_xticks(range(0, int(edges[-1]) + 1, 30))
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("degrees from the resting pose; lines: 5–95 %")

    return _svg(draw, 4.6)


def density(points: np.ndarray, label: str) -> str:
    """Where points (M, 2) lie, darker where there are more."""

    def draw(axes: Axes) -> None:
        axes.hexbin(points[:, 0], points[:, 1], gridsize=32, cmap=_shades(), bins="log", mincnt=1, linewidths=0)
        axes.set_xlabel(label)
        axes.set_aspect("equal", adjustable="datalim")

    return _svg(draw, 3.2)


def spans(values: np.ndarray, label: str) -> str:
    """One row a column of values (N, D): how often each value occurs, darker for more often."""

    def draw(axes: Axes) -> None:
        edges = np.linspace(min(values.min(), -1.0), max(values.max(), 1.0), 31)
        counts = np.stack([np.histogram(column, edges)[0] for column in values.T]) / len(values)
        axes.pcolormesh(edges, np.arange(values.shape[1] + 1) + 0.5, np.sqrt(counts), cmap=_shades(), linewidth=0)
        axes.set_yticks(np.arange(values.shape[1]) + 1)
        axes.invert_yaxis()
        axes.set_xlabel(label)

    return _svg(draw, 2.6)


def _shades() -> ListedColormap:
    """From nothing to the colour of the marks."""
    return ListedColormap([(*to_rgb(_MARK), alpha) for alpha in np.linspace(0.0, 1.0, 33)])


def _svg(draw: Callable[[Axes], None], height: float) -> str:
    """An SVG element without frame, page colours put in."""
    with rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    return text.replace(_INK, "currentColor").replace(_MARK, "var(--mark)")
