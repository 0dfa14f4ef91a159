"""Charts: positions of points, axes and legends, and escaping of names."""

import html
import re

import pytest

from gptdesk.formatting import short
from gptdesk.page.chart import COLOURS, CSS, Line, Mark, chart


def places(drawn: str, what: str) -> list[tuple[float, float]]:
    """Return the positions of dots or marks, in per cent from the left and from the top."""
    found = re.findall(rf'class="{what} c\d" style="left:(-?[\d.]+)%;top:(-?[\d.]+)%"', drawn)
    return [(float(x), float(y)) for x, y in found]


def labels(drawn: str, axis: str) -> list[str]:
    return re.findall(rf'class="{axis}(?: last)?" style="[^"]*">([^<]*)<', drawn)


def test_points_lie_where_their_values_are() -> None:
    drawn = chart("Loss", [Line("validation", [(0, 4.0), (50, 3.0), (100, 2.0)], 1, "dots")])
    assert [x for x, _ in places(drawn, "dot")] == [0, 50, 100]
    tops = [y for _, y in places(drawn, "dot")]
    assert tops[0] < tops[1] < tops[2]  # a smaller loss lies lower
    assert tops[1] - tops[0] == pytest.approx(tops[2] - tops[1], abs=0.02)


def test_a_logarithmic_axis_gives_each_factor_the_same_room() -> None:
    points = [(1.0, 1.0), (10.0, 10.0), (100.0, 100.0)]
    by_x, by_y = (
        places(chart("", [Line("a", points, 1, "dots")], log_x=log_x, log_y=not log_x), "dot")
        for log_x in (True, False)
    )
    assert [x for x, _ in by_x] == [0, 50, 100]
    tops = [y for _, y in by_y]
    assert tops[0] - tops[1] == pytest.approx(tops[1] - tops[2], abs=0.02)


def test_what_is_no_number_or_has_no_logarithm_is_left_out() -> None:
    points = [(0.0, 1.0), (1.0, float("nan")), (2.0, 0.0), (3.0, float("inf")), (4.0, 2.0), (5.0, 3.0)]
    assert len(places(chart("", [Line("a", points, 0, "dots")]), "dot")) == 4
    assert len(places(chart("", [Line("a", points, 0, "dots")], log_x=True, log_y=True), "dot")) == 2


@pytest.mark.parametrize(
    ("points", "logarithmic"),
    [([(1.0, 2.5)], False), ([(1.0, 2.5)], True), ([(0.0, 0.0), (1.0, 0.0)], False), ([(1, 1e-9), (2, 1e9)], True)],
)
def test_any_points_give_an_axis_with_labels(points: list[tuple[float, float]], logarithmic: bool) -> None:
    drawn = chart("", [Line("a", points, 0, "dots")], log_y=logarithmic)
    found = places(drawn, "dot")
    assert len(found) == len(points)
    assert all(0 <= x <= 100 and 0 <= y <= 100 for x, y in found)
    assert 1 <= len(labels(drawn, "y")) <= 8


def test_labels_are_round_numbers_between_the_ends() -> None:
    drawn = chart("", [Line("a", [(0, 1.83), (1500, 4.17)])])
    assert labels(drawn, "x") == ["0", "250", "500", "750", "1000", "1250", "1500"]
    assert labels(drawn, "y") == ["2", "2.5", "3", "3.5", "4"]


def test_without_points_it_says_so() -> None:
    assert "Nothing yet" in chart(
        "Loss", [Line("validation", [], 1, "dots"), Line("chance", [(0, 4.1)], None, "level")]
    )


def test_names_are_text_and_not_markup() -> None:
    name = '<img src=x onerror="alert(1)">'
    drawn = chart(
        name, [Line(name, [(0, 1), (1, 2)], 0, "dots"), Line("b", [(0, 1)])], marks=[Mark(name, (1, 2))], unit=name
    )
    assert "<img" not in drawn
    assert html.escape(name) in drawn


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0, "0"),
        (1500, "1500"),
        (9994.4, "9994"),
        (9999.7, "10k"),
        (15_000, "15k"),
        (999_400, "999k"),
        (999_700, "1M"),
        (-999_700, "-1M"),
        (2_400_000, "2.4M"),
        (999_700_000, "1G"),
        (0.5, "0.5"),
        (0.00031, "0.00031"),
        (3e9, "3G"),
    ],
)
def test_numbers_are_told_briefly(value: float, told: str) -> None:
    assert short(value) == told


def test_every_point_can_be_pointed_at_up_to_the_newest() -> None:
    lines = [Line("a", [(0, 1.0), (5_000, 2.0), (12_345, 3.0)]), Line("b", [(12_345, 4.0)])]
    titles = re.findall(r'class="at"[^>]*title="([^"]*)"', chart("Loss", lines))
    assert titles == ["step 0&#10;a 1", "step 5,000&#10;a 2", "step 12,345&#10;a 3&#10;b 4"]


def _luminance(colour: str) -> float:
    shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.03928 else ((one + 0.055) / 1.055) ** 2.4 for one in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("background", ["#ffffff", "#0f172a"])
def test_every_colour_can_be_told_from_the_page(background: str) -> None:
    colours = re.findall(r"\.c\d \{ color: (#\w{6}); \}", CSS)
    assert len(colours) == COLOURS
    for colour in colours:
        low, high = sorted((_luminance(colour), _luminance(background)))
        assert (high + 0.05) / (low + 0.05) >= 3, colour


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ([20], ["day 20"]),
        ([20, 21], ["day 20", "day 21"]),
        ([20, 22], ["day 20", "day 21", "day 22"]),
        (list(range(20, 51)), ["day 20", "day 26", "day 32", "day 38", "day 44", "day 50"]),
    ],
)
def test_an_axis_of_days_is_labelled_with_days_of_it_alone(days: list[int], expected: list[str]) -> None:
    drawn = chart("", [Line("a", [(day, 1.0) for day in days], 0, "dots")], name_x=lambda x: f"day {x:g}")
    assert labels(drawn, "x") == expected
    assert places(drawn, "dot")[0][0] == (0 if len(days) > 1 else 50)
