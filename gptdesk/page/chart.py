"""Line charts as HTML and SVG: lines, points and levels over steps, in the page's colours and width.

Gradio's own plot has no logarithmic axis, cannot mark a point, and is redrawn when its limits change, each second.
"""

import html
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from gptdesk.formatting import short

Point = tuple[float, float]
Namer = Callable[[float], str]

WIDE, HIGH = 1000, 1000  # units of the drawing, whatever its size on the page
COLUMNS = 60  # areas along the x axis with a tooltip
COLOURS = 6

CSS = """
.chart { margin: 0; border: 1px solid var(--border-color-primary); border-radius: var(--radius-lg);
  background: var(--background-fill-primary); padding: 10px 14px 28px 10px; }
.chart figcaption { display: flex; flex-wrap: wrap; gap: 2px 14px; font-size: .85rem; margin-bottom: 8px; }
.chart figcaption b { margin-right: 4px; }
.chart .key::before { content: ""; display: inline-block; width: 16px; border-top: 3px solid; margin-right: 6px;
  vertical-align: middle; }
.chart .key.faint::before { border-top-width: 2px; opacity: .4; }
.chart .key.circle::before { width: 9px; height: 9px; border: 2px solid; border-radius: 50%; }
.chart .key span { color: var(--body-text-color); }
.chart .plot { position: relative; margin: 0 0 0 48px; border-left: 1px solid; border-bottom: 1px solid;
  border-color: var(--border-color-primary); }
.chart svg { position: absolute; inset: 0; width: 100%; height: 100%; overflow: hidden; }
.chart path { fill: none; stroke: currentColor; stroke-width: 2; vector-effect: non-scaling-stroke;
  stroke-linejoin: round; }
.chart path.faint { stroke-width: 1; opacity: .35; }
.dark .chart path.faint { opacity: .75; }
.chart path.level { stroke-width: 1.5; stroke-dasharray: 5 5; opacity: .7; }
.chart path.grid { stroke: var(--border-color-primary); stroke-width: 1; opacity: .7; }
.chart .y, .chart .x { position: absolute; font-size: .72rem; opacity: .8; white-space: nowrap; line-height: 1;
  font-variant-numeric: tabular-nums; }
.chart .y { right: calc(100% + 6px); transform: translateY(-50%); }
.chart .x { top: calc(100% + 6px); transform: translateX(-50%); }
.chart .x.last { transform: translateX(-100%); }
.chart .name { position: absolute; right: 6px; transform: translateY(-115%); font-size: .72rem; line-height: 1;
  opacity: .75; background: var(--background-fill-primary); padding: 1px 3px; border-radius: 3px; }
.chart .at { position: absolute; top: 0; bottom: 0; }
.chart .at:hover { background: var(--border-color-primary); opacity: .35; }
.chart .dot { position: absolute; width: 7px; height: 7px; border-radius: 50%; background: currentColor;
  transform: translate(-50%, -50%); }
.chart .mark { position: absolute; width: 12px; height: 12px; border-radius: 50%; border: 2px solid currentColor;
  transform: translate(-50%, -50%); }
.chart .empty { position: absolute; inset: 0; display: grid; place-items: center; opacity: .7; font-size: .9rem; }
.chart .c0 { color: #0d9488; } .chart .c1 { color: #ea580c; } .chart .c2 { color: #7c3aed; }
.chart .c3 { color: #2563eb; } .chart .c4 { color: #db2777; } .chart .c5 { color: #65a30d; }
.chart .grey { color: var(--body-text-color-subdued); }
"""


@dataclass(frozen=True)
class Line:
    """Line of a chart: points in the order of x. A "level" has one point, and is drawn at its y across the chart."""

    name: str
    points: Sequence[Point]
    colour: int | None = 0  # one of COLOURS, or None: grey
    style: Literal["line", "faint", "dots", "level"] = "line"


@dataclass(frozen=True)
class Mark:
    """Circle around a point, named in the legend."""

    name: str
    point: Point
    colour: int = 0


@dataclass(frozen=True)
class _Axis:
    """Axis of a chart, which maps values to 0..1."""

    low: float
    high: float
    logarithmic: bool

    def place(self, value: float) -> float:
        """Return the position of `value` on the axis, 0 to 1."""
        low, high, at = (self._scaled(one) for one in (self.low, self.high, value))
        return (at - low) / (high - low)

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, 1e-12)) if self.logarithmic else value

    def ticks(self, most: int) -> list[float]:
        """Return about `most` round values on the axis, at most."""
        if self.logarithmic and self.high / self.low > 8:
            ticks = [
                factor * 10.0**power
                for power in range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
                for factor in ((1, 2, 5) if self.high / self.low < 1000 else (1,))
            ]
            ticks = [tick for tick in ticks if self.low <= tick <= self.high]
            return ticks[:: -(-len(ticks) // most)]
        step = _round_step((self.high - self.low) / most)
        first = math.ceil(self.low / step - 1e-9)
        return [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]


def chart(
    title: str,
    lines: Iterable[Line],
    *,
    marks: Iterable[Mark] = (),
    unit: str = "step",
    log_x: bool = False,
    log_y: bool = False,
    height: int = 240,
    name_x: Namer | None = None,
) -> str:
    """Return the chart as HTML, `height` pixels high; `unit` is that of the x axis. Non-finite values are left out.

    A logarithmic axis shows values above 0 only. `name_x` returns the text of an x value that is a whole number, as
    the date of a day.
    """
    lines, marks = [_cleaned(line, log_x, log_y) for line in lines], list(marks)
    drawn = [line for line in lines if line.points]
    curves = [line for line in drawn if line.style != "level"]
    if not curves:
        return _figure(title, "", [], '<div class="empty">Nothing yet</div>', height)
    xs = [x for line in curves for x, _ in line.points]
    ys = [y for line in drawn for _, y in line.points]
    x_axis = _axis(xs, log_x, room=0.0) if name_x is None else _named_axis(xs)
    y_axis = _axis(ys, log_y, room=0.05)
    inside = [_paths(drawn, x_axis, y_axis), _columns(curves, x_axis, unit, name_x or _x_text)]
    inside += [_dots(line, x_axis, y_axis, unit, name_x or _x_text) for line in drawn if line.style == "dots"]
    inside += [f'<i class="mark c{mark.colour}" style="{_at(mark.point, x_axis, y_axis)}"></i>' for mark in marks]
    inside += [_labels(x_axis, y_axis, name_x)]
    inside += [
        f'<span class="name" style="top:{1 - y_axis.place(line.points[0][1]):.2%}">{html.escape(line.name)}</span>'
        for line in drawn
        if line.style == "level"
    ]
    return _figure(
        title,
        unit,
        [*_legend(curves), *(_key(mark.name, f"c{mark.colour} circle") for mark in marks)],
        "".join(inside),
        height,
    )


def _cleaned(line: Line, log_x: bool, log_y: bool) -> Line:
    points = [
        (x, y)
        for x, y in line.points
        if math.isfinite(x)
        and math.isfinite(y)
        and (y > 0 or not log_y)
        and (x > 0 or not log_x or line.style == "level")
    ]
    return Line(line.name, points, line.colour, line.style)


def _axis(values: Sequence[float], logarithmic: bool, *, room: float) -> _Axis:
    """Return an axis that holds the values, with a margin of `room` of its length at both ends."""
    low, high = min(values), max(values)
    if low == high:
        low, high = (low / 2, high * 2) if low > 0 else (low - 1, high + 1)
    elif logarithmic:
        more = (high / low) ** room
        low, high = low / more, high * more
    else:
        more = (high - low) * room
        low, high = low - more if low < 0 or low > more else 0.0, high + more
    return _Axis(low, high, logarithmic)


def _named_axis(values: Sequence[float]) -> _Axis:
    """Return an axis that holds whole numbers with names, a single one in its middle."""
    low, high = min(values), max(values)
    return _Axis(low - 0.5, high + 0.5, False) if low == high else _Axis(low, high, False)


def _whole_ticks(axis: _Axis) -> list[float]:
    """Return the whole numbers on the axis, or six of them at equal steps at most."""
    low, high = math.ceil(axis.low), math.floor(axis.high)
    return [float(x) for x in range(low, high + 1, (high - low) // 6 + 1)]


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= least * 0.95)


def _paths(lines: Sequence[Line], x_axis: _Axis, y_axis: _Axis) -> str:
    grid = "".join(f"M0 {_y(tick, y_axis)}H{WIDE}" for tick in y_axis.ticks(5))
    paths = [f'<path class="grid" d="{grid}"/>']
    for line in lines:
        colour = "grey" if line.colour is None else f"c{line.colour}"
        if line.style == "level":
            paths.append(f'<path class="level {colour}" d="M0 {_y(line.points[0][1], y_axis)}H{WIDE}"/>')
        else:
            corners = (f"{x_axis.place(x) * WIDE:.1f} {_y(y, y_axis)}" for x, y in line.points)
            paths.append(f'<path class="{line.style} {colour}" d="M{"L".join(corners)}"/>')
    return f'<svg viewBox="0 0 {WIDE} {HIGH}" preserveAspectRatio="none" aria-hidden="true">{"".join(paths)}</svg>'


def _y(value: float, axis: _Axis) -> str:
    return f"{(1 - axis.place(value)) * HIGH:.1f}"


def _at(point: Point, x_axis: _Axis, y_axis: _Axis) -> str:
    return f"left:{x_axis.place(point[0]):.2%};top:{1 - y_axis.place(point[1]):.2%}"


def _dots(line: Line, x_axis: _Axis, y_axis: _Axis, unit: str, name_x: Namer) -> str:
    return "".join(
        f'<i class="dot c{line.colour or 0}" style="{_at((x, y), x_axis, y_axis)}" '
        f'title="{html.escape(f"{unit} {name_x(x)}: {line.name} {y:.4g}", quote=True)}"></i>'
        for x, y in line.points
    )


def _columns(lines: Sequence[Line], axis: _Axis, unit: str, name_x: Namer) -> str:
    """Return the areas whose tooltips show the values of every line."""
    texts: dict[int, list[str]] = {}
    for line in lines:
        last = {min(int(axis.place(x) * COLUMNS), COLUMNS - 1): (x, y) for x, y in line.points}
        for column, (x, y) in last.items():
            texts.setdefault(column, [f"{unit} {name_x(x)}"]).append(f"{line.name} {y:.4g}")
    return "".join(_column(column, "\n".join(lines)) for column, lines in sorted(texts.items()))


def _column(column: int, tooltip: str) -> str:
    title = html.escape(tooltip, quote=True).replace("\n", "&#10;")
    return f'<b class="at" style="left:{column / COLUMNS:.2%};width:{1 / COLUMNS:.2%}" title="{title}"></b>'


def _x_text(x: float) -> str:
    """Return an x value as text: whole numbers in full, others shortened."""
    return f"{x:,.0f}" if float(x).is_integer() else short(x)


def _labels(x_axis: _Axis, y_axis: _Axis, name_x: Namer | None) -> str:
    labels = [f'<span class="y" style="top:{1 - y_axis.place(y):.2%}">{short(y)}</span>' for y in y_axis.ticks(5)]
    for x in x_axis.ticks(6) if name_x is None else _whole_ticks(x_axis):
        at, text = x_axis.place(x), html.escape((name_x or short)(x))
        labels.append(f'<span class="x{" last" if at > 0.97 else ""}" style="left:{at:.2%}">{text}</span>')
    return "".join(labels)


def _legend(lines: Sequence[Line]) -> list[str]:
    """Return a key for each name of a line."""
    keys: dict[str, str] = {}
    for line in lines:
        colour = "grey" if line.colour is None else f"c{line.colour}"
        keys.setdefault(line.name, _key(line.name, f"{colour} {line.style}"))
    return list(keys.values()) if len(keys) > 1 else []


def _key(name: str, classes: str) -> str:
    return f'<span class="key {classes}"><span>{html.escape(name)}</span></span>'


def _figure(title: str, unit: str, keys: Sequence[str], inside: str, height: int) -> str:
    by = f" by {html.escape(unit)}" if unit else ""
    return (
        f'<figure class="chart"><figcaption><b>{html.escape(title)}{by}</b>{"".join(keys)}</figcaption>'
        f'<div class="plot" style="height:{height}px">{inside}</div></figure>'
    )
