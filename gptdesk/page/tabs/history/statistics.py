"""Statistics of the History tab: tiles, charts by day, tables, and their export."""

import json
import time
from collections import defaultdict
from datetime import date

import gradio as gr

from gptdesk.formatting import duration, plural, short
from gptdesk.history import History
from gptdesk.history.comparing import chain_words
from gptdesk.history.statistics import EXPORTS, DayOfModel, Statistics
from gptdesk.markup import html_table
from gptdesk.page.chart import COLOURS, Line, Point, chart
from gptdesk.page.downloads import hand_out
from gptdesk.page.option_widgets import WITH_MESSAGES, Updates, Values, shows_errors
from gptdesk.page.stats import FINISHES

DAY = 86400.0  # seconds
PERIODS = {"7": "Last 7 days", "30": "Last 30 days", "365": "Last year", "": "All"}
EMPTY = (
    "No text in this period. Charts of generations and tokens by day, speed and time to first token of each model, "
    "lengths, and how texts ended will be here."
)
CSS = """
#statistics-figures .tiles { display: flex; flex-wrap: wrap; gap: 10px; margin-bottom: 10px; }
#statistics-figures .tiles > div { flex: 1 1 120px; border: 1px solid var(--border-color-primary); padding: 8px 12px;
  border-radius: var(--radius-lg); background: var(--background-fill-primary); }
#statistics-figures .tiles b { display: block; font-size: 1.3rem; font-variant-numeric: tabular-nums; }
#statistics-figures .charts { display: grid; gap: 10px; grid-template-columns: repeat(auto-fit, minmax(280px, 1fr)); }
#statistics-figures .figures-table { margin-top: 14px; }
#statistics-figures tbody th { overflow-wrap: anywhere; }
"""


class StatisticsView:
    """Widgets of the statistics and their event handlers; nothing is computed while they are hidden."""

    def __init__(self, history: History) -> None:
        self._history = history
        periods = [(name, value) for value, name in PERIODS.items()]
        with gr.Row():
            self.period = gr.Dropdown(periods, value="30", label="Period", elem_id="statistics-period", min_width=120)
            self.format = gr.Dropdown(list(EXPORTS), value="csv", label="Statistics format", min_width=120)
            self.export = gr.Button("Export statistics", size="sm", min_width=120, elem_id="statistics-export")
        self.file = gr.DownloadButton("Save the statistics", visible=False, size="sm", elem_id="statistics-file")
        self.figures = gr.HTML(elem_id="statistics-figures", elem_classes="bare")

    def wire(self, section: gr.Accordion) -> None:
        """Connect the events; the figures are computed when `section` is opened."""
        for event in (section.expand, self.period.change):
            event(self._on_show, {self.period}, [self.figures, self.file], **WITH_MESSAGES)
        self.export.click(self._on_export, {self.period, self.format}, [self.file], **WITH_MESSAGES)

    @shows_errors
    def _on_show(self, values: Values) -> Updates:
        figures = statistics_html(self._history.statistics(since=_start(values[self.period])))
        return {self.figures: figures, self.file: gr.update(visible=False)}

    @shows_errors
    def _on_export(self, values: Values) -> Updates:
        kind = str(values[self.format])
        if kind not in EXPORTS:
            raise ValueError(f"format is one of {', '.join(EXPORTS)}, not {kind!r:.40}")
        data = EXPORTS[kind](self._history.statistics(since=_start(values[self.period])))
        path = hand_out(data.encode(), f"statistics.{kind}")
        return {self.file: gr.update(value=path, visible=True)}


def _start(period: object) -> float:
    """Return when a period began, in seconds since 1970."""
    if period not in PERIODS:
        raise ValueError(f"period is one of {', '.join(PERIODS.values())}, not {period!r:.40}")
    return time.time() - int(str(period)) * DAY if period else 0.0


def statistics_html(statistics: Statistics) -> str:
    """Return tiles, charts and tables; a sentence if there is nothing to count."""
    if not statistics.generations:
        return f"<p>{EMPTY}</p>"
    parts = [_tiles(statistics), f'<div class="charts">{"".join(_charts(statistics))}</div>', *_tables(statistics)]
    return "".join(parts)


def _tiles(statistics: Statistics) -> str:
    days = statistics.days
    counts = {
        "generation": statistics.generations,
        "token": statistics.tokens,
        "day": len({day.day for day in days}),
        "model": len({day.model for day in days}),
    }
    figures = {noun: short(float(count)) if noun == "token" else f"{count:,}" for noun, count in counts.items()}
    tiles = (f"<div><b>{figures[noun]}</b>{noun if count == 1 else f'{noun}s'}</div>" for noun, count in counts.items())
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _charts(statistics: Statistics) -> list[str]:
    generations, tokens = defaultdict[int, float](float), defaultdict[int, float](float)
    speed, first = defaultdict[str, list[Point]](list), defaultdict[str, list[Point]](list)
    for day in statistics.days:
        at = _number(day)
        generations[at] += day.generations
        tokens[at] += day.tokens
        if day.tokens_per_second is not None:
            speed[_name(day)].append((at, day.tokens_per_second))
        if day.seconds_to_first_token is not None:
            first[_name(day)].append((at, 1000 * day.seconds_to_first_token))
    counts = (("Generations", generations), ("Tokens", tokens))
    charts = [_chart(title, [Line(title.lower(), _every_day(values))]) for title, values in counts]
    for title, lines in (("Tokens/s", speed), ("Time to first token (ms)", first)):
        drawn = [
            Line(name, points, number % COLOURS, "line" if len(points) > 1 else "dots")
            for number, (name, points) in enumerate(sorted(lines.items()))
        ]
        charts.append(_chart(title, drawn))
    return charts


def _chart(title: str, lines: list[Line]) -> str:
    return chart(title, lines, unit="day", height=180, name_x=lambda x: date.fromordinal(round(x)).strftime("%d %b"))


def _every_day(values: dict[int, float]) -> list[Point]:
    """Return a point for each day from the first to the last, those without a generation at 0."""
    return [(float(day), values.get(day, 0.0)) for day in range(min(values), max(values) + 1)]


def _number(day: DayOfModel) -> int:
    return date.fromisoformat(day.day).toordinal()


def _name(day: DayOfModel) -> str:
    return f"{day.model} · {day.precision}"


def _tables(statistics: Statistics) -> list[str]:
    by_model = defaultdict[str, list[DayOfModel]](list)
    for day in statistics.days:
        by_model[_name(day)].append(day)
    models = [
        [
            name,
            f"{sum(day.generations for day in days):,}",
            f"{sum(day.tokens for day in days):,}",
            _mean([(day.tokens_per_second, day.generations) for day in days], "{:,.0f}"),
            _mean([(day.seconds_to_first_token, day.generations) for day in days], None),
        ]
        for name, days in sorted(by_model.items())
    ]
    lengths = [[f"{one.low:,} to {one.high:,}" if one.high else "0", f"{one.texts:,}"] for one in statistics.lengths]
    endings = [[FINISHES.get(one.reason, "not finished"), f"{one.texts:,}"] for one in statistics.endings]
    chains = [[chain_words(json.loads(one.chain)), f"{one.liked:,}", f"{one.disliked:,}"] for one in statistics.chains]
    prompts = [[one.opening, plural(one.generations, "generation")] for one in statistics.prompts]
    return [
        f'<div class="figures-table">{html_table(head, rows)}</div>'
        for head, rows in (
            (["Model", "Generations", "Tokens", "Tokens/s, mean", "First token, mean"], models),
            (["Tokens of a text", "Texts"], lengths),
            (["Texts ended by", "Texts"], endings),
            (["Samplers of rated texts", "Liked", "Disliked"], chains),
            (["Most used prompts", "Generations"], prompts),
        )
        if rows
    ]


def _mean(values: list[tuple[float | None, int]], form: str | None) -> str:
    """Return the mean of days weighted by their generations as text; `form` None: as a duration."""
    known = [(value, count) for value, count in values if value is not None]
    if not known:
        return ""
    mean = sum(value * count for value, count in known) / sum(count for _, count in known)
    return duration(mean) if form is None else form.format(mean)
