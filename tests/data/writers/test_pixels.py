"""What is drawn keeps its pixels: masks, instance masks, panoptic pictures, and the polygons traced from them."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from snellen.data.examine import examine
from snellen.data.writers.bitmaps import mask_values
from snellen.data.writers.polygons import joined, traced
from snellen.verbs.convert import convert
from tests.rules.data_injections import detection


@settings(max_examples=60, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 1)))
def test_traced_polygons_enclose_just_the_pixels(mask: np.ndarray) -> None:
    """Holes apart, which are counted: drawn by the evaluator, the polygons give the mask again."""
    import cv2

    from snellen.evaluation.masks import read_segmentations

    rings, holes = traced(mask)
    filled = mask.copy()
    if holes:
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(filled, contours, -1, 1, cv2.FILLED)
    if not mask.any():
        assert rings == []
        return
    sizes = np.array([mask.shape], np.int64)
    drawn, problems = read_segmentations([rings], sizes)
    assert problems == []
    np.testing.assert_array_equal(drawn.dense(0).astype(np.uint8), filled)
    one, _ = read_segmentations([[joined(rings)]], sizes)
    assert one.dense(0).sum() == pytest.approx(filled.sum(), abs=0)


def named(classes: pl.Series) -> pl.Series:
    """Digits alone are no class in the name of a file."""
    return classes.str.replace("class-", "")


def areas(folder: Path) -> list[tuple[str, int]]:
    facts = examine(folder, cache=False, workers=1)
    return sorted(
        (n, round(a)) for n, a in zip(named(facts.outlines["class_name"]), facts.outlines["area"], strict=True)
    )


@pytest.mark.parametrize("name", ["instance-masks", "panoptic", "coco"])
def test_objects_that_do_not_overlap_keep_every_pixel(name: str, tmp_path: Path) -> None:
    source = detection(tmp_path)
    done = convert(source, tmp_path / "target", to=name)
    assert areas(tmp_path / "target") == areas(source)
    again = convert(tmp_path / "target", tmp_path / "again", to="coco")
    assert areas(tmp_path / "again") == areas(source)
    kinds = {loss["kind"] for loss in [*done.losses, *again.losses]}
    assert not kinds & {"overlaps", "covered-objects", "boxes-to-rectangles", "unreadable-outlines"}
    boxes = [examine(p, cache=False).boxes for p in (source, tmp_path / "target", tmp_path / "again")]
    rows = [sorted(zip(named(b["class_name"]), b["x1"], b["y1"], b["x2"], b["y2"], strict=True)) for b in boxes]
    assert rows[0] == rows[1] == rows[2]


def values(folder: Path) -> dict[tuple[str, str], int]:
    """(image, class) -> pixels; the image without the folder that holds all of them."""
    facts = examine(folder, cache=False, workers=1)
    rows = facts.mask_values.filter(pl.col("class_name").is_not_null()).select("image", "class_name", "pixels")
    return {(i.removeprefix("images/"), n): p for i, n, p in rows.iter_rows()}


def test_index_and_colour_masks_keep_every_pixel_of_every_class(tmp_path: Path) -> None:
    source = detection(tmp_path)
    convert(source, tmp_path / "index", to="masks")
    drawn = values(tmp_path / "index")
    told: dict[tuple[str, str], int] = {}
    for row in examine(source, cache=False).outlines.iter_rows(named=True):
        key = (row["image"].removeprefix("images/"), row["class_name"])
        told[key] = told.get(key, 0) + round(row["area"])
    assert {k: v for k, v in drawn.items() if v} == told
    done = convert(tmp_path / "index", tmp_path / "colour", to="colour-masks")
    assert values(tmp_path / "colour") == drawn
    assert {loss["kind"] for loss in done.losses} <= {"class-ids"}
    convert(tmp_path / "colour", tmp_path / "back", to="masks")
    assert values(tmp_path / "back") == drawn
    copied = convert(tmp_path / "index", tmp_path / "copied", to="masks")
    for path in (tmp_path / "index" / "masks").rglob("*.png"):
        assert path.read_bytes() == (tmp_path / "copied" / path.relative_to(tmp_path / "index")).read_bytes()
    assert copied.losses == []


def test_a_missing_mask_is_no_crash(tmp_path: Path) -> None:
    convert(detection(tmp_path), tmp_path / "index", to="masks")
    victim = next((tmp_path / "index" / "masks").rglob("*.png"))
    victim.write_bytes(b"no picture")
    mask_values.cache_clear()
    done = convert(tmp_path / "index", tmp_path / "colour", to="colour-masks")
    assert {loss["kind"]: loss["count"] for loss in done.losses}["unreadable-masks"] == 1
