"""Coinciding boxes: the fast search says what comparing every box with every other says."""

import time
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snellen.data.facts import BOXES, CLASSES, IMAGES, LEDGER, PROBLEMS, DataFacts
from snellen.facts import table
from snellen.rules.data._overlapping import overlapping_pairs
from snellen.rules.data._records import overlap

SIDE = st.integers(0, 8).map(float)
BOX = st.tuples(st.sampled_from(["a", "b", None]), SIDE, SIDE, SIDE, SIDE, st.booleans())


def dataset(boxes: list[tuple[Any, ...]]) -> DataFacts:
    rows = [
        {"object": n, "image": image, "file": "f", "row": n + 1, "class_name": "c", "x1": x, "y1": y, "x2": x + w,
         "y2": y + h, "crowd": crowd, "usable": True}
        for n, (image, x, y, w, h, crowd) in enumerate(boxes)
    ]  # fmt: skip
    images = table(IMAGES, [{"image": "b"}, {"image": "a"}])
    return DataFacts(
        root="/", format="coco", task="detection", images=images, boxes=table(BOXES, rows), problems=table(PROBLEMS),
        classes=table(CLASSES), ledger=table(LEDGER),
    )  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(BOX, max_size=25), st.sampled_from([0.2, 0.5, 0.95]))
def test_pairs_are_those_of_comparing_all(boxes: list[tuple[Any, ...]], least: float) -> None:
    data = dataset(boxes)
    solid = [
        b for b in data.boxes.to_dicts() if b["image"] and not b["crowd"] and b["x2"] > b["x1"] and b["y2"] > b["y1"]
    ]
    expected = {
        (a["row"], b["row"]): iou
        for a, b in combinations(solid, 2)
        if a["image"] == b["image"] and (iou := overlap(a, b)) >= least
    }
    found = [((a["row"], b["row"]), iou) for a, b, iou in overlapping_pairs(data, least)]
    assert len(found) == len(expected)
    assert dict(found) == pytest.approx(expected)


def test_thousands_of_copies_of_one_box_end() -> None:
    data = dataset([("a", 1.0, 1.0, 5.0, 5.0, False)] * 5000)
    start = time.process_time()
    assert sum(1 for _ in overlapping_pairs(data, 0.9)) >= 200_000
    assert time.process_time() - start < 30
