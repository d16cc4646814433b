"""Drawings: bounded in size, true to the extremes, silent when there is nothing to draw."""

import re
from itertools import pairwise

import numpy as np
import pytest

from snellen.report.charts import Series, bars, decimate, density, heat, histogram, lines
from snellen.report.marks import confusion, gauge, levels
from snellen.report.pages import to_html
from snellen.report.svg import Scale, log_ticks, ticks


def test_decimation_keeps_every_extreme() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=100_000)
    y[[777, 54_321]] = 99, -99
    x, kept = decimate(np.arange(100_000.0), y)
    assert len(kept) <= 4 * 280
    assert (kept.max(), kept.min()) == (99, -99)
    assert all(a < b for a, b in pairwise(x))


def test_long_series_draw_few_bytes() -> None:
    drawn = lines("loss", [Series("a", list(range(200_000)), list(np.random.default_rng(0).random(200_000)))])
    assert len(drawn) < 20_000


def test_gaps_are_gaps_and_infinities_are_marked() -> None:
    drawn = str(lines("loss", [Series("a", [0, 1, 2, 3, 4, 5], [1.0, 2.0, float("inf"), 3.0, None, 2.0])]))
    assert drawn.count("not finite") == 1
    assert drawn.count('class="line t0"') == 1
    assert "nan" not in drawn


@pytest.mark.parametrize(
    "drawn",
    [
        lines("a", [Series("a", [], [])]), lines("a", [Series("a", [1, 2], [float("nan")] * 2)]), bars("a", []),
        histogram("a", [("a", [])]), density("a", [], [], x_label="", y_label=""), levels("a", [], []),
        histogram("a", [("a", [float("nan"), float("inf")])]),
    ],
)  # fmt: skip
def test_nothing_to_draw_is_nothing(drawn: str) -> None:
    assert drawn == ""


@pytest.mark.parametrize("values", [[5.0], [0.0, 0.0], [-1e-12, 1e-12], [1e12, 2e12], [-3.0, 4.0]])
def test_any_range_draws(values: list[float]) -> None:
    for drawn in (
        lines("a", [Series("a", list(range(len(values))), values)]), histogram("a", [("a", values)]),
        density("a", values, values, x_label="x", y_label="y"), gauge("a", values[0], values[-1]),
        heat("a", np.abs(np.array([values]))), levels("a", [("l", 8.0, float("inf"))], values),
    ):  # fmt: skip
        assert drawn.startswith("<svg")
        assert not re.search(r"nan|inf\b", str(drawn).replace("∞", ""))


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert ticks(0.3, 97) == [20, 40, 60, 80]
    assert log_ticks(0.5, 2000) == [1, 10, 100, 1000]
    assert len(log_ticks(1e-12, 1e12)) <= 7
    assert Scale(1, 100, 0, 10, True)(10) == pytest.approx(5)


def test_confusion_tells_counts_and_shares() -> None:
    drawn = str(confusion("c", ["a", "b"], np.array([[8.0, 2.0], [0.0, 5.0]])))
    assert "a → b: 2 (20 %)" in drawn
    assert "b → b: 5 (100 %)" in drawn
    assert "b → a" not in drawn


def test_rule_pages_become_html_and_nothing_else() -> None:
    page = to_html("One `x < y` line\nand on.\n\n* first\n  goes on\n* second\n\n    code <b>\n      deep")
    assert page == (
        "<p>One <code>x &lt; y</code> line and on.</p><ul><li>first goes on</li><li>second</li></ul>"
        "<pre>code &lt;b&gt;\n  deep</pre>"
    )
