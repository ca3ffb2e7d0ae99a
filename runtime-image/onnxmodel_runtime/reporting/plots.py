"""Plots as SVG: pure functions from numbers to markup. Names are escaped by Markup, colours are the page's classes.

Narrow on purpose: a phone shows them at nearly full size, a wide screen shows two side by side.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from onnxmodel_runtime.contract.text import plain

WIDTH = 420
STYLES = 7  # classes s0 to s6
_LEFT, _RIGHT = 50, WIDTH - 10  # of a scatter plot
_NAMES, _LABELS = 98, WIDTH - 66  # of a plot with rows: names end where the first is, numbers begin at the second
_ROW = 26
# A shape for each style: colour alone does not reach everybody.
_SHAPES = (
    "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0Z",
    "M-4.5-4.5h9v9h-9Z",
    "M0-6L5.5 4.5h-11Z",
    "M0-6L6 0 0 6-6 0Z",
    "M0 6L5.5-4.5h-11Z",
    "M-2-6h4v4h4v4h-4v4h-4v-4h-4v-4h4Z",
    "M-5.5-2L0-6 5.5-2 3.5 5h-7Z",
)


@dataclass(frozen=True, slots=True)
class Dot:
    """One measurement of a scatter plot. hollow: it is not certain."""

    x: float
    y: float
    label: str
    hollow: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """Dots that belong together, in their order."""

    style: int
    dots: tuple[Dot, ...]
    label: str = ""


@dataclass(frozen=True, slots=True)
class Box:
    """A distribution: p5, p25, p50, p75, p95 and p99."""

    name: str
    style: int
    ranks: tuple[float, float, float, float, float, float]
    label: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A row of segments: (style, length, name)."""

    name: str
    segments: tuple[tuple[int, float, str], ...]
    label: str


@dataclass(frozen=True, slots=True)
class Axis:
    """From values to pixels: by their logarithm where they span more than one magnitude."""

    low: float
    high: float
    start: float
    end: float

    @property
    def logarithmic(self) -> bool:
        """True if equal distances are equal factors."""
        return self.low > 0 and self.high / self.low > 8

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(value)
        share = (value - low) / (high - low) if high > low else 0.5
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """Return about five round values between the ends."""
        if self.logarithmic:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            steps = (1, 2, 5) if len(decades) < 5 else (1,)
            found = [factor * 10.0**decade for decade in decades for factor in steps]
        else:
            rough = (self.high - self.low) / 6 or 1
            unit = 10.0 ** math.floor(math.log10(rough))
            unit *= next(factor for factor in (1, 2, 5, 10) if factor * unit >= rough)
            found = [unit * index for index in range(math.ceil(self.low / unit), math.floor(self.high / unit) + 1)]
        return [value for value in found if self.low <= value <= self.high]


def spanning(values: Iterable[float], start: float, end: float) -> Axis:
    """Return an axis with a little room on both sides of positive values."""
    found = list(values)
    low, high = min(found), max(found)
    room = max((high / low) ** 0.06, 1.06) if low > 0 else 1.06
    return Axis(low / room, high * room, start, end)


def short(value: float) -> str:
    """Format a number for an axis: 1500 is 1.5k."""
    for unit, text in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{plain(value / unit, 6)}{text}"
    return plain(value)


def marker(style: int) -> Markup:
    """Draw the shape of a style, for a legend."""
    return Markup('<svg class="key" viewBox="-8 -8 16 16" aria-hidden="true"><path class="s{}" d="{}"/></svg>').format(
        style, _SHAPES[style]
    )


def scatter(title: str, lines: Sequence[Line], x_name: str, y_name: str) -> Markup:
    """Draw dots joined by lines."""
    height, bottom = 320, 276
    dots = [dot for line in lines for dot in line.dots]
    x = spanning((dot.x for dot in dots), _LEFT, _RIGHT)
    y = spanning((dot.y for dot in dots), bottom, 14)
    parts = [_across(x, 14, bottom), _up(y)]
    parts.append(_text((_LEFT + _RIGHT) / 2, height - 8, x_name, "mid"))
    parts.append(Markup('<text class="mid" transform="translate(11 145) rotate(-90)">{}</text>').format(y_name))
    parts += [_note(line, x, y) for line in lines if line.label]  # below everything
    for line in lines:
        points = " ".join(f"{x(dot.x)},{y(dot.y)}" for dot in line.dots)
        parts.append(Markup('<polyline class="s{}" points="{}"/>').format(line.style, points))
    for line in lines:
        for dot in line.dots:
            parts.append(
                Markup('<path class="s{}{}" d="{}" transform="translate({} {})"><title>{}</title></path>').format(
                    line.style, " hollow" if dot.hollow else "", _SHAPES[line.style], x(dot.x), y(dot.y), dot.label
                )
            )
    return _svg(title, height, parts)


def boxes(title: str, found: Sequence[Box], x_name: str) -> Markup:
    """Draw a row per distribution: p25 to p75 is the box, p5 to p95 the line through it, p99 the dot."""
    left, right, top = _NAMES, _LABELS, 8
    bottom = top + _ROW * len(found)
    x = Axis(0, max(box.ranks[-1] for box in found) * 1.04, left, right)
    parts = [_across(x, top, bottom), _text((left + right) / 2, bottom + 34, x_name, "mid")]
    for index, box in enumerate(found):
        middle = top + _ROW * index + _ROW / 2
        p5, p25, p50, p75, p95, p99 = map(x, box.ranks)
        parts.append(_text(left - 8, middle + 4, _cut(box.name, 12), "end"))
        parts.append(
            Markup(
                '<g class="s{}"><title>{}: {}</title><path class="thin" d="M{} {}H{}"/>'
                '<rect x="{}" y="{}" width="{}" height="14" rx="2"/><path class="median" d="M{} {}v18"/>'
                '<circle cx="{}" cy="{}" r="3"/></g>'
            ).format(
                *(box.style, box.name, box.label, p5, middle, p95),
                *(p25, middle - 7, max(round(p75 - p25, 1), 1), p50, middle - 9, p99, middle),
            )
        )
        parts.append(_text(right + 8, middle + 4, box.label, ""))
    return _svg(title, bottom + 42, parts)


def bars(title: str, found: Sequence[Bar], x_name: str) -> Markup:
    """Draw a row per bar, its segments one after the other. A name is written where it has room."""
    left, right, top = _NAMES, _LABELS, 8
    bottom = top + _ROW * len(found)
    x = Axis(0, max(sum(segment[1] for segment in bar.segments) for bar in found) * 1.02, left, right)
    parts = [_across(x, top, bottom), _text((left + right) / 2, bottom + 34, x_name, "mid")]
    for index, bar in enumerate(found):
        y, begin = top + _ROW * index + 4, 0.0
        parts.append(_text(left - 8, y + 13, _cut(bar.name, 12), "end"))
        for style, length, name in bar.segments:
            width = x(begin + length) - x(begin)
            fits = Markup('<text class="in" x="{}" y="{}">{}</text>').format(x(begin) + 5, y + 13, name)
            parts.append(
                Markup(
                    '<g class="s{}"><title>{}</title><rect class="full" x="{}" y="{}" width="{}" height="18"/>{}</g>'
                ).format(
                    *(style, f"{bar.name}: {name}, {plain(length, 3)} ms", x(begin), y, round(max(width - 1, 0.5), 1)),
                    fits if width > 7 * len(name) + 10 else "",
                )
            )
            begin += length
        parts.append(_text(right + 8, y + 13, bar.label, ""))
    return _svg(title, bottom + 42, parts)


def _across(x: Axis, top: float, bottom: float) -> Markup:
    return Markup("").join(
        Markup('<path class="grid" d="M{} {}V{}"/>').format(x(tick), top, bottom)
        + _text(x(tick), bottom + 16, short(tick), "mid")
        for tick in x.ticks()
    )


def _up(y: Axis) -> Markup:
    return Markup("").join(
        Markup('<path class="grid" d="M{} {}H{}"/>').format(_LEFT, y(tick), _RIGHT)
        + _text(_LEFT - 6, y(tick) + 4, short(tick), "end")
        for tick in y.ticks()
    )


def _note(line: Line, x: Axis, y: Axis) -> Markup:
    """The line's label at its first dot, on the side where there is room."""
    across, first = x(line.dots[0].x), y(line.dots[0].y) + 4
    if across > (_LEFT + _RIGHT) / 2:
        return _text(across - 9, first, line.label, "note end")
    return _text(across + 9, first, line.label, "note")


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text class="{}" x="{}" y="{}">{}</text>').format(anchor, x, y, text)


def _cut(name: str, limit: int) -> str:
    return name if len(name) <= limit else name[: limit - 1] + "…"


def _svg(title: str, height: float, parts: Iterable[Markup]) -> Markup:
    head = Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, height, title)
    return head + Markup("").join(parts) + Markup("</svg>")
