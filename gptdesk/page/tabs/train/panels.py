"""What the Train tab shows, as HTML: tiles of figures, decoded rows of text, curves."""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gptdesk.formatting import short
from gptdesk.page.chart import Line, Mark, Point, chart
from gptdesk.system.terminal import readable
from gptdesk.training.control import PASTED
from gptdesk.training.curves import series, smooth, thin

CSS = """
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(116px, 1fr)); gap: 8px; }
.tiles > div { border: 1px solid var(--border-color-primary); border-radius: var(--radius-lg); padding: 8px 10px;
  background: var(--background-fill-primary); }
.tiles span { display: block; font-size: .75rem; opacity: .75; }
.tiles b { font-size: 1.05rem; font-variant-numeric: tabular-nums; font-weight: 700; }
.tiles small { display: block; font-size: .75rem; opacity: .75; min-height: 1.1em; }
.bar { height: 6px; border-radius: 3px; overflow: hidden; margin-bottom: 10px;
  background: var(--border-color-primary); }
.bar i { display: block; height: 100%; background: var(--color-accent); }
.row-of-text { white-space: pre-wrap; overflow-wrap: anywhere; border: 1px solid var(--border-color-primary);
  border-radius: var(--radius-lg); padding: 8px 12px; margin-bottom: 8px; max-height: 9rem; overflow-y: auto;
  font-size: .9rem; line-height: 1.7; background: var(--background-fill-primary); }
.row-of-text span { border-radius: 3px; padding: 2px 0; }
.row-of-text span:nth-child(odd) { background: rgba(13, 148, 136, .18); }
.small-charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(260px, 1fr)); gap: 10px; }
.samples { display: grid; grid-template-columns: repeat(auto-fit, minmax(260px, 1fr)); gap: 10px; }
.samples .pane .text { min-height: 6rem; }
"""

DASH = "\N{EN DASH}"  # where there is no figure
SMOOTHING, SMOOTHEST = 0.6, 0.99  # at first, and at most
MOST = 500  # points of a curve
NAMED = 3  # files of a run that a table names
PASTED_IN = "pasted"  # the folder of the home that holds what was pasted
AXES = {"steps": "step", "tokens": "tokens", "minutes": "seconds"}  # what the curves go by, and its name in the metrics

Metrics = Sequence[dict[str, object]]


@dataclass(frozen=True)
class Look:
    """How curves are drawn: along which of AXES, how smooth, and which of their axes are logarithmic."""

    axis: str = "steps"
    weight: float = SMOOTHING
    log_x: bool = False
    log_y: bool = False

    @classmethod
    def of(cls, axis: object, weight: object, logs: object) -> "Look":
        """What the widgets hold: a number that was typed may be too large, or not there yet."""
        known = axis if isinstance(axis, str) and axis in AXES else "steps"
        smoothing = min(max(float(weight), 0.0), SMOOTHEST) if isinstance(weight, int | float) else 0.0
        ticked = logs if isinstance(logs, list) else []
        return cls(known, smoothing, log_x="axis" in ticked, log_y="loss" in ticked)


def tiles(figures: Iterable[tuple[str, str, str]], *, done: float | None = None) -> str:
    """Figures with their names above and a remark below; with a bar that shows how much is done."""
    bar = "" if done is None else f'<div class="bar"><i style="width:{min(done, 1):.1%}"></i></div>'
    cells = "".join(
        f"<div><span>{html.escape(name)}</span><b>{html.escape(value)}</b><small>{html.escape(remark)}</small></div>"
        for name, value, remark in figures
    )
    return f'{bar}<div class="tiles">{cells}</div>'


def text_rows(rows: Iterable[Sequence[str]]) -> str:
    """Rows of text, with every other token shaded."""
    return "".join(
        f'<div class="row-of-text">{"".join(f"<span>{html.escape(token)}</span>" for token in row)}</div>'
        for row in rows
    )


def points(metrics: Metrics, name: str, axis: str) -> list[Point]:
    """The points of a figure of the metrics, by `axis` of AXES."""
    found = series(metrics, name, by=AXES[axis])
    return [(x / 60, y) for x, y in found] if axis == "minutes" else found


def smoothed(found: Sequence[Point], weight: float) -> list[Point]:
    """The same points with the running mean of their values."""
    means = smooth([y for _, y in found], weight)
    return [(x, y) for (x, _), y in zip(found, means, strict=True)]


def loss_chart(metrics: Metrics, look: Look, *, levels: Sequence[tuple[str, float]] = ()) -> str:
    """Training loss raw and smoothed, validation loss, its best marked, and levels to compare them with."""
    training, validation = (points(metrics, name, look.axis) for name in ("train_loss", "val_loss"))
    lines = [
        Line("training, as it is", thin(training, MOST), 0, "faint"),
        Line("training, smoothed", thin(smoothed(training, look.weight), MOST), 0),
        Line("validation", thin(validation, MOST), 1, "dots"),
        *(Line(name, [(0.0, level)], None, "level") for name, level in levels),
    ]
    best = min(validation, key=lambda point: point[1], default=None)
    marks = [Mark(f"best: {best[1]:.4f}", best, 1)] if best else []
    title = "Loss in nats per token"
    return chart(title, lines, marks=marks, unit=look.axis, log_x=look.log_x, log_y=look.log_y, height=300)


def small_charts(metrics: Metrics, look: Look) -> str:
    """Learning rate, gradient norm and speed."""
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
    """The curves of several runs in one chart: validation losses, and paler the smoothed training losses."""
    lines = []
    for i, (name, metrics) in enumerate(runs.items()):
        training = smoothed(points(metrics, "train_loss", look.axis), look.weight)
        lines.append(Line(name, thin(points(metrics, "val_loss", look.axis), MOST), i, "dots"))
        lines.append(Line(name, thin(training, MOST), i, "faint"))
    title = "Validation loss (paler: training loss)"
    return chart(title, lines, unit=look.axis, log_x=look.log_x, log_y=look.log_y, height=320)


def number(value: object, form: str = ".4f") -> str:
    """A figure of the metrics, or a dash where there is none."""
    return format(value, form) if isinstance(value, int | float) else DASH


def counted(value: object) -> str:
    """A count as short as a tile needs it."""
    return short(value) if isinstance(value, int | float) else DASH


def chosen(value: object) -> str:
    """The value of an option, for a table; of files, their names."""
    if isinstance(value, tuple):
        return texts(value)
    return f"{value:g}" if isinstance(value, float) else str(value) if value != "" else DASH


def texts(places: Sequence[object]) -> str:
    """What files and folders are called in a table: not all, if they are many."""
    names = [_called(Path(str(place))) for place in places]
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED:,} more" if names[NAMED:] else "")


def _called(path: Path) -> str:
    return "pasted text" if path.name == PASTED and path.parent.parent.name == PASTED_IN else readable(path.name)
