"""HTML of the Train tab: tiles of stats, rows of tokens, curves."""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gptdesk.formatting import short
from gptdesk.page.chart import Line, Mark, Point, chart
from gptdesk.training.curves import smooth, thin
from gptdesk.training.metrics import Metrics

DASH = "\N{EN DASH}"  # in place of a value that is missing
SMOOTHING, SMOOTHEST = 0.6, 0.99  # at first, and at most
MOST = 500  # points of a curve
NAMED = 3  # files of a run that a table names
AXES = {"steps": "step", "tokens": "tokens", "minutes": "seconds"}  # X axis of the curves, and its name in the metrics


@dataclass(frozen=True)
class Look:
    """Look of curves: X axis, one of AXES; smoothing; which axes are logarithmic."""

    axis: str = "steps"
    weight: float = SMOOTHING
    log_x: bool = False
    log_y: bool = False

    @classmethod
    def of(cls, axis: object, weight: object, logs: object) -> "Look":
        """Return the look that widgets hold: a number that was typed may be too large or missing."""
        known = axis if isinstance(axis, str) and axis in AXES else "steps"
        smoothing = min(max(float(weight), 0.0), SMOOTHEST) if isinstance(weight, int | float) else 0.0
        ticked = logs if isinstance(logs, list) else []
        return cls(known, smoothing, log_x="axis" in ticked, log_y="loss" in ticked)


def tiles(stats: Iterable[tuple[str, str, str]], *, done: float | None = None) -> str:
    """Return values with their names above and a remark below, under a progress bar if `done` is given."""
    bar = "" if done is None else f'<div class="bar"><i style="width:{min(done, 1):.1%}"></i></div>'
    cells = "".join(
        f"<div><span>{html.escape(name)}</span><b>{html.escape(value)}</b><small>{html.escape(remark)}</small></div>"
        for name, value, remark in stats
    )
    return f'{bar}<div class="tiles">{cells}</div>'


def text_rows(rows: Iterable[Sequence[str]]) -> str:
    """Return rows of tokens, with every other one shaded."""
    return "".join(
        f'<div class="row-of-text">{"".join(f"<span>{html.escape(token)}</span>" for token in row)}</div>'
        for row in rows
    )


def points(metrics: Metrics, name: str, axis: str) -> list[Point]:
    """Return the points of a metric by `axis` of AXES."""
    by_axis = metrics.series(name, by=AXES[axis])
    return [(x / 60, y) for x, y in by_axis] if axis == "minutes" else by_axis


def smoothed(points: Sequence[Point], weight: float) -> list[Point]:
    """Return the points with the moving average of their values."""
    means = smooth([y for _, y in points], weight)
    return [(x, y) for (x, _), y in zip(points, means, strict=True)]


def loss_chart(metrics: Metrics, look: Look, *, levels: Sequence[tuple[str, float]] = ()) -> str:
    """Return the chart of training loss, raw and smoothed, validation loss with its best, and baselines as levels."""
    training, validation = (points(metrics, name, look.axis) for name in ("train_loss", "val_loss"))
    lines = [
        Line("training, raw", thin(training, MOST), 0, "faint"),
        Line("training, smoothed", thin(smoothed(training, look.weight), MOST), 0),
        Line("validation", thin(validation, MOST), 1, "dots"),
        *(Line(name, [(0.0, level)], None, "level") for name, level in levels),
    ]
    best = min(validation, key=lambda point: point[1], default=None)
    marks = [Mark(f"best: {best[1]:.4f}", best, 1)] if best else []
    title = "Loss in nats per token"
    return chart(title, lines, marks=marks, unit=look.axis, log_x=look.log_x, log_y=look.log_y, height=300)


def small_charts(metrics: Metrics, look: Look) -> str:
    """Return charts of learning rate, gradient norm and speed."""
    shown = (
        ("Learning rate", "learning_rate", 3),
        ("Gradient norm, before clipping", "grad_norm", 2),
        ("Tokens per second", "tokens_per_second", 5),
    )
    drawn = (
        (title, [Line(title, thin(points(metrics, name, look.axis), MOST), colour)]) for title, name, colour in shown
    )
    figures = (chart(title, lines, unit=look.axis, log_x=look.log_x, height=110) for title, lines in drawn)
    return f'<div class="small-charts">{"".join(figures)}</div>'


def overlay(runs: Mapping[str, Metrics], look: Look) -> str:
    """Return a chart of several runs: validation losses, and paler the smoothed training losses."""
    lines = []
    for i, (name, metrics) in enumerate(runs.items()):
        training = smoothed(points(metrics, "train_loss", look.axis), look.weight)
        lines.append(Line(name, thin(points(metrics, "val_loss", look.axis), MOST), i, "dots"))
        lines.append(Line(name, thin(training, MOST), i, "faint"))
    title = "Validation loss (paler: training loss)"
    return chart(title, lines, unit=look.axis, log_x=look.log_x, log_y=look.log_y, height=320)


def number(value: object, form: str = ".4f") -> str:
    """Return a metric as text, or a dash if it is missing."""
    return format(value, form) if isinstance(value, int | float) else DASH


def counted(value: object) -> str:
    """Return a count in short, or a dash if it is missing."""
    return short(value) if isinstance(value, int | float) else DASH


def chosen(value: object) -> str:
    """Return the value of an option for a table."""
    if isinstance(value, tuple):
        return listed(value)
    return f"{value:g}" if isinstance(value, float) else str(value) if value != "" else DASH


def listed(names: Sequence[str]) -> str:
    """Return names of files for a table: the first ones, if they are many."""
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED:,} more" if names[NAMED:] else "")
