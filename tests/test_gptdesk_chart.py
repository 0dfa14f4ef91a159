"""Charts: where points, axes and legends come to lie, and that nothing of a name becomes markup."""

import html
import re

import pytest

from gptdesk.chart import Line, Mark, chart, short


def places(drawn: str, what: str) -> list[tuple[float, float]]:
    """Where dots or marks are, in per cent from the left and from the top."""
    found = re.findall(rf'class="{what} c\d" style="left:([\d.]+)%;top:([\d.]+)%"', drawn)
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
    assert all(0 <= x <= 100 and 0 <= y <= 100 for x, y in places(drawn, "dot"))
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
    [(0, "0"), (1500, "1500"), (15_000, "15k"), (2_400_000, "2.4M"), (0.5, "0.5"), (0.00031, "0.00031"), (3e9, "3G")],
)
def test_numbers_are_told_briefly(value: float, told: str) -> None:
    assert short(value) == told
