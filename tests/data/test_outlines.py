"""Outlines measured against exact arithmetic."""

import math
import subprocess
import sys
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snellen.data import outlines as module
from snellen.data.facts import OUTLINES
from snellen.data.nested import flattened
from snellen.facts import table

Point = tuple[Fraction, Fraction]
EXACT = settings(max_examples=150, deadline=None)
COORDINATE = st.integers(0, 12) | st.integers(0, 100_000).map(lambda v: v / 100)


def measured(rings: list[list[float]], kind: str = "polygon") -> dict[str, object]:
    rows = table(OUTLINES, [{"object": 0, "kind": kind, "rings": rings}])
    return module.measured(rows).row(0, named=True)


def turn(a: Point, b: Point, c: Point) -> int:
    cross = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    return (cross > 0) - (cross < 0)


def crosses(points: list[Point]) -> bool:
    edges = list(zip(points, [*points[1:], points[0]], strict=True))
    return any(
        turn(*one, other[0]) * turn(*one, other[1]) < 0 and turn(*other, one[0]) * turn(*other, one[1]) < 0
        for one, other in combinations(edges, 2)
    )


def points_of(ring: list[float]) -> list[Point]:
    found = [(Fraction(x), Fraction(y)) for x, y in zip(ring[::2], ring[1::2], strict=True)]
    return found[:-1] if len(found) > 1 and found[0] == found[-1] else found


@EXACT
@given(st.lists(st.lists(st.tuples(COORDINATE, COORDINATE), min_size=1, max_size=12), min_size=1, max_size=3))
def test_polygons_as_exact_arithmetic_has_them(shape: list[list[tuple[float, float]]]) -> None:
    rings = [[float(v) for point in ring for v in point] for ring in shape]
    row = measured(rings)
    parts = [points_of(ring) for ring in rings]
    areas = [abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(p, [*p[1:], p[0]], strict=True))) / 2 for p in parts]
    assert row["area"] == pytest.approx(float(sum(areas)), rel=1e-9, abs=1e-6)
    assert row["smallest_component"] == pytest.approx(float(min(areas)), rel=1e-9, abs=1e-6)
    assert row["components"] == len(rings)
    assert row["fewest_points"] == min(map(len, parts))
    xs, ys = [v for r in rings for v in r[::2]], [v for r in rings for v in r[1::2]]
    assert (row["x1"], row["y1"], row["x2"], row["y2"]) == (min(xs), min(ys), max(xs), max(ys))
    assert row["finite"] is True
    assert row["self_intersecting"] == any(map(crosses, parts))
    assert (row["skew"], row["angle"]) == (None, None)


@pytest.mark.parametrize(
    ("ring", "expected"),
    [
        ([0, 0, 4, 4, 4, 0, 0, 4], True),
        ([0, 0, 4, 0, 4, 4, 0, 4, 0, 0], False),
        ([0, 0, 4, 0, 4, 4, 2, 0, 0, 4], False),
        ([0, 0, 8, 0, 8, 0, 4, 0, 4, 4], False),
        ([1e7, 1e7, 1e7 + 4, 1e7 + 4, 1e7 + 4, 1e7, 1e7, 1e7 + 4], True),
    ],
)
def test_bow_ties_cross_and_touching_rings_do_not(ring: list[float], expected: bool) -> None:
    assert measured([[float(v) for v in ring]])["self_intersecting"] is expected


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_non_finite_outlines_have_no_area(value: float) -> None:
    row = measured([[0.0, 0.0, 4.0, 0.0, 4.0, 4.0], [0.0, 0.0, value, 1.0, 2.0, 2.0]])
    assert row["finite"] is False
    assert (row["area"], row["x1"], row["self_intersecting"], row["fewest_points"]) == (None, None, None, 3)


@EXACT
@given(st.floats(0, 360), st.floats(2, 500), st.floats(2, 500), st.floats(-1e3, 1e3))
def test_rotated_rectangles_have_square_corners(degrees: float, width: float, height: float, at: float) -> None:
    angle = math.radians(degrees)
    across = np.array([math.cos(angle), math.sin(angle)]) * width
    down = np.array([-math.sin(angle), math.cos(angle)]) * height
    corners = np.array([[0, 0], across, across + down, down]) + at
    row = measured([corners.ravel().tolist()], "oriented")
    assert row["skew"] == pytest.approx(0, abs=1e-5)
    difference = abs(row["angle"] - degrees % 90)  # type: ignore[operator]
    assert min(difference, 90 - difference) < 1e-5
    assert 0 <= row["angle"] < 90  # type: ignore[operator]
    assert row["area"] == pytest.approx(width * height, rel=1e-6)


def test_skew_of_a_slanted_box() -> None:
    assert measured([[0, 0, 10, 0, 20, 10, 10, 10]], "oriented")["skew"] == pytest.approx(45)


def test_a_ring_too_large_to_try_is_unknown_not_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TESTS", 1000)
    comb = [float(v) for i in range(199) for v in (1000.0 * (i % 2), float(i))]
    row = measured([[*comb, -1.0, 199.0, -1.0, 0.0]])
    assert row["self_intersecting"] is None
    assert row["area"] is not None


def test_rows_without_geometry_stay_as_they_are() -> None:
    rows = table(
        OUTLINES,
        [
            {"object": 0, "kind": "bitmap", "area": 5.0, "components": 2},
            {"object": 1, "kind": "polygon", "rings": None},
            {"object": 2, "kind": "polygon", "rings": []},
            {"object": 3, "kind": "polygon", "rings": [[]]},
            {"object": 4, "kind": "polygon", "rings": [[1, 2, None, 4, 5]]},
            {"object": 5, "kind": "rle"},
        ],
    )
    found = module.measured(rows)
    assert found.schema == rows.schema
    assert found.row(0) == rows.row(0)
    assert found["finite"].to_list() == [None, True, True, True, False, False]
    assert found["components"].to_list() == [2, 0, 0, 1, 1, None]


@given(st.lists(st.none() | st.lists(st.lists(st.floats(allow_nan=False), max_size=4), max_size=3), max_size=6))
def test_nested_lists_flatten_and_find_back(cells: list[list[list[float]] | None]) -> None:
    numbers, rings, shapes = flattened(pl.Series(cells, dtype=pl.List(pl.List(pl.Float64()))))
    back = [
        [numbers[rings[r] : rings[r + 1]].tolist() for r in range(shapes[s], shapes[s + 1])] for s in range(len(cells))
    ]
    assert back == [cell or [] for cell in cells]


def test_plain_boxes_do_without_the_compiler(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text(
        '{"images": [{"id": 1, "file_name": "a.jpg", "width": 9, "height": 9}], "categories": [{"id": 1, "name": "a"}],'
        '"annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2]}]}'
    )
    code = (
        "import sys; from snellen.data.examine import examine; from snellen.findings import Tier\n"
        f"assert examine({str(tmp_path)!r}, tier=Tier.LABELS, cache=False).boxes.height == 1\n"
        "assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
