"""A small drawing board for charts: marks in data units in, inline SVG text out, in the page's colours.

Axes have ticks, labels and units; runs differ in colour, dash and shape, so that colour alone never tells them apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH = 440
COLOURS = 4
_DASHES = ("", "7 3", "2 3", "9 3 2 3")


@dataclass(frozen=True)
class Scale:
    """Data from `low` to `high` onto pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Round numbers inside, about so many."""
        step = _round_step((self.high - self.low) / about)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]


def scale_for(values: Sequence[float], start: float, end: float, zero: bool = False) -> Scale:
    """A scale with a little room around values that are finite; `zero` begins it at 0."""
    known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = (min(0.0, *known, 0.0), max(known)) if zero else (min(known), max(known))
    room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    return Scale(low if zero and low == 0 else low - room, high + room, start, end)


@dataclass
class Board:
    """Marks of one chart.

    Attributes:
        height: of the picture in its own pixels; it is `WIDTH` wide.
        title: read out in place of the picture.
        x, y: scales of the area inside the axes.
    """

    height: float
    title: str
    x: Scale
    y: Scale
    marks: list[str] = field(default_factory=list)

    def x_axis(self, label: str, about: int = 5) -> None:
        """Line, grid, ticks and label below the area."""
        foot = max(self.y.start, self.y.end)
        for tick in self.x.ticks(about):
            place = self.x(tick)
            self.line(place, min(self.y.start, self.y.end), place, foot, "grid")
            self.text(place, foot + 15, number(tick), "middle")
        self.line(self.x.start, foot, self.x.end, foot, "axis")
        self.text((self.x.start + self.x.end) / 2, foot + 33, label, "middle")

    def y_axis(self, label: str, about: int = 5) -> None:
        """Grid and ticks at the left, the label above the area."""
        for tick in self.y.ticks(about):
            place = self.y(tick)
            self.line(self.x.start, place, self.x.end, place, "grid")
            self.text(self.x.start - 6, place + 4, number(tick), "end")
        self.line(self.x.start, self.y.start, self.x.start, self.y.end, "axis")
        self.text(4, min(self.y.start, self.y.end) - 9, label)

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """A straight line in pixels."""
        self.marks.append(f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')

    def text(self, x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> None:
        """Words at a place in pixels."""
        about = f' class="{kind}"' if kind else ""
        self.marks.append(f'<text{about} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>')

    def path(self, points: Sequence[tuple[float, float]], run: int) -> None:
        """A line through points in pixels, in a run's colour and dash."""
        way = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dash = f' stroke-dasharray="{_DASHES[run % len(_DASHES)]}"' if run % len(_DASHES) else ""
        self.marks.append(f'<polyline class="path run{run % COLOURS}"{dash} points="{way}"/>')

    def mark(self, x: float, y: float, run: int, size: float = 4.5, tip: str = "", kind: str = "") -> None:
        """A run's mark in pixels: circle, square, diamond or triangle; `tip` is shown under the pointer."""
        tip = f"<title>{escape(tip)}</title>" if tip else ""
        about = f'class="mark run{run % COLOURS} {kind}"'.replace(' "', '"')
        if run % COLOURS == 0:
            self.marks.append(f'<circle {about} cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}">{tip}</circle>')
            return
        corners = {1: (45, 135, 225, 315), 2: (0, 90, 180, 270), 3: (-90, 30, 150)}[run % COLOURS]
        turned = [(x + 1.2 * size * math.cos(a), y + 1.2 * size * math.sin(a)) for a in map(math.radians, corners)]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in turned)
        self.marks.append(f'<polygon {about} points="{points}">{tip}</polygon>')

    def svg(self) -> str:
        """The picture; wide tables of its numbers stand elsewhere on the page."""
        return (
            f'<svg viewBox="0 0 {WIDTH} {self.height:.0f}" role="img" aria-label="{escape(self.title)}">'
            + "".join(self.marks) + "</svg>"
        )  # fmt: skip


def number(value: float) -> str:
    """A tick: as short as it can be, a real minus sign."""
    text = f"{value:.10g}" if abs(value) < 1e6 else f"{value:.3g}"
    return text.replace("-", "−")


def _round_step(raw: float) -> float:
    """1, 2 or 5 times a power of ten, not below `raw`."""
    power = 10.0 ** math.floor(math.log10(raw))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= raw * (1 - 1e-9))
