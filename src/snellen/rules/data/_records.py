"""What the rules about records share: places, sizes and the usable geometry of boxes."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import polars as pl

from snellen.boxes import CORNERS
from snellen.data.facts import DataFacts
from snellen.findings import Finding, Fix, Place

EXAMPLES = 12
"""Most example paths a finding carries."""


def box_place(box: Mapping[str, Any]) -> Place:
    """Where a box stands; its corners only when all are known."""
    corners = tuple(box[c] for c in CORNERS)
    known = None if None in corners else corners
    return Place(file=box["file"], row=box["row"], image=box["image"], box=known, class_name=box["class_name"])


def outline_place(row: Mapping[str, Any]) -> Place:
    """Where an outline or a set of keypoints stands."""
    return Place(file=row["file"], row=row["row"], image=row["image"], class_name=row["class_name"])


def finite_boxes(data: DataFacts) -> pl.DataFrame:
    """Boxes with four finite corners; without those of stuff, which are no objects: sky and road are boxed by form."""
    stuff = data.classes.filter(~pl.col("thing").fill_null(True))["class_name"].drop_nulls()
    boxes = data.boxes.filter(pl.all_horizontal(pl.col(c).is_finite().fill_null(False) for c in CORNERS))
    return boxes.filter(~pl.col("class_name").is_in(stuff.implode()).fill_null(False)) if len(stuff) else boxes


def solid_boxes(data: DataFacts) -> pl.DataFrame:
    """Finite boxes of positive width and height, with their image's `true_width` and `true_height` where known."""
    sizes = data.sizes().rename({"width": "true_width", "height": "true_height"})
    solid = finite_boxes(data).filter((pl.col("x2") > pl.col("x1")) & (pl.col("y2") > pl.col("y1")))
    return solid.join(sizes, on="image", how="left", maintain_order="left")


def overlap(a: Mapping[str, Any], b: Mapping[str, Any]) -> float:
    """Intersection over union of two solid boxes."""
    width = min(a["x2"], b["x2"]) - max(a["x1"], b["x1"])
    height = min(a["y2"], b["y2"]) - max(a["y1"], b["y1"])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    areas = sum((q["x2"] - q["x1"]) * (q["y2"] - q["y1"]) for q in (a, b))
    return float(both / (areas - both))


def problem_findings(
    data: DataFacts, kind: str, consequence: str, fix: Callable[[Mapping[str, Any]], Fix | None] = lambda _: None
) -> Iterator[Finding]:
    """One finding for each problem that a reader recorded under `kind`, with what `fix` makes of its row."""
    for problem in data.problems.filter(pl.col("kind") == kind).iter_rows(named=True):
        yield Finding(
            message=f"{problem['message']}; {consequence}",
            place=Place(file=problem["file"], row=problem["row"], image=problem["image"]),
            evidence={"value": problem["value"]} if problem["value"] is not None else {},
            fix=fix(problem),
        )


def class_usage(data: DataFacts) -> dict[tuple[str | None, str], int]:
    """(split, class) -> number of images that hold a usable example of it; empty while masks are not measured."""
    if data.task == "classification":
        labelled = data.images.select("split", "class_name")
    else:
        splits = data.images.select("image", "split")
        labelled = examples(data).unique().join(splits, on="image", how="inner")
    counts = labelled.drop_nulls("class_name").group_by("split", "class_name").len()
    return {(split, name): count for split, name, count in counts.sort("class_name", "split").iter_rows()}


def examples(data: DataFacts) -> pl.DataFrame:
    """`image` and `class_name` of everything that is labelled: images, usable boxes, or classes drawn in a mask."""
    if data.task == "classification":
        rows = data.images
    elif data.task == "detection" or data.boxes.height:
        rows = data.boxes.filter("usable")
    else:
        rows = data.mask_values
    return rows.select("image", "class_name").drop_nulls("class_name")
