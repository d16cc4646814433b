"""The drawing of a receptive field: to scale, cut at the border, bounded, escaped."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from snellen.report.receptive_field import receptive_field


def _rects(drawn: str, class_: str) -> list[tuple[float, ...]]:
    root = ElementTree.fromstring(drawn)
    sides = ("x", "y", "width", "height")
    return [tuple(float(r.get(s, "nan")) for s in sides) for r in root.iter("rect") if r.get("class") == class_]


def test_frames_and_objects_share_the_scale_of_the_image() -> None:
    drawn = receptive_field(
        (300, 600), theory=(100, 50, 500, 250), effective=(200, 100, 400, 200), objects=[("median", 60, 30)]
    )
    assert _rects(drawn, "track") == [(0, 0, 300, 150)]
    assert _rects(drawn, "box b0") == [(50, 25, 200, 100)]
    assert _rects(drawn, "box b1") == [(100, 50, 100, 50)]
    assert _rects(drawn, "s3")[0][2:] == (30, 15)
    assert "theoretical 400 x 200 px" in drawn


def test_a_field_beyond_the_image_is_cut_and_told_in_full() -> None:
    drawn = receptive_field((300, 300), theory=(-100, -100, 327, 327))
    assert _rects(drawn, "box b0") == [(0, 0, 300, 300)]
    assert "427 x 427 px" in drawn
    assert "sees the whole input" in receptive_field((300, 300), theory=(float("-inf"), 0, float("inf"), 300))


@pytest.mark.parametrize("shape", [(1, 1), (30, 77), (640, 480)])
def test_heat_is_drawn_where_it_is_and_in_few_bytes(shape: tuple[int, int]) -> None:
    heat = np.zeros(shape)
    heat[shape[0] // 2, shape[1] // 2] = 1.0
    drawn = receptive_field(shape, heat=heat)
    ((x, y, width, height),) = _rects(drawn, "s1")
    scale = 300 / max(shape)
    assert x - 0.01 <= (shape[1] // 2) * scale <= x + width
    assert y - 0.01 <= (shape[0] // 2) * scale <= y + height
    assert len(receptive_field(shape, heat=np.ones(shape))) < 400_000


def test_names_are_escaped_and_no_style_attribute_is_written() -> None:
    drawn = receptive_field((64, 64), name="<script>", objects=[("<b>", 5, 5)])
    assert "<script>" not in drawn
    assert "<b>" not in drawn
    assert not re.search(r"\sstyle=", drawn)
