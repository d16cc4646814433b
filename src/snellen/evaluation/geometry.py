"""What is compared when a detection meets an object: boxes, masks, rotated boxes or keypoints, read from the tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from snellen.boxes import CORNERS
from snellen.evaluation import keypoints, oriented
from snellen.evaluation.facts import PROBLEMS
from snellen.evaluation.masks import MaskOverlap, Masks, read_segmentations
from snellen.evaluation.pairs import Bools, BoxOverlap, Floats, Ints, Overlap
from snellen.evaluation.records import MAX_VALUE
from snellen.facts import table

By = Literal["box", "mask", "oriented", "keypoints"]
_SIZES: dict[By, str] = {
    "box": "object size by the stated area, else by the box; IoU of boxes",
    "mask": "object size by the stated area, else by the mask, a detection's by its mask (pycocotools: by its box "
    "where it has one); IoU of masks",
    "oriented": "object size by the stated area, else by the rotated box; IoU of rotated boxes",
    "keypoints": "object size by the stated area, else by the box, a detection's by the box around its points; object "
    "keypoint similarity instead of IoU; objects without labelled points ignored",
}


@dataclass(frozen=True)
class Geometry:
    """The records whose shape can be read, and how they are compared. G objects, N detections."""

    truth: pl.DataFrame
    """G rows."""
    guesses: pl.DataFrame
    """N rows."""
    overlap: Overlap
    object_areas: Floats
    """(G,) px^2, for the size classes."""
    areas: Floats
    """(N,) px^2."""
    ignore: Bools
    """(G,) neither counted nor missed."""
    problems: pl.DataFrame
    """Records whose shape cannot be read, as `facts.PROBLEMS`."""
    convention: str
    """What sizes and overlaps are, in words."""


def geometry(
    by: By,
    truth: pl.DataFrame,
    guesses: pl.DataFrame,
    *,
    sizes: Floats | None,
    floor: float = 0.0,
    sigmas: Floats = keypoints.COCO_PERSON_SIGMAS,
) -> Geometry:
    """Compare what `sift_boxes` let pass by box, mask, rotated box or keypoints.

    Masks are `rings` (a list of x0, y0, x1, y1 ... a part) or `rle` (COCO's compressed counts) with `rle_height` and
    `rle_width`; rotated boxes are `rings` of one ring of four points; keypoints `xyv` (x, y, visibility a point), as
    many points as `sigmas`. `sizes` (images, 2) are the images' width and height, NaN where not known: then masks have
    the size of an RLE of the same image. Mask overlaps below `floor` may be taken for 0. A record without the shape
    asked for, or with one that cannot be read, is left out and listed: see `read_segmentations`, not-a-rotated-box,
    malformed-keypoints; objects with `object-` in front. Raises KeyError where no column could hold the shape.
    """
    crowd = truth["crowd"].to_numpy()
    if by == "box":
        boxes, own = _xywh(truth), _xywh(guesses)
        areas = boxes[:, 2] * boxes[:, 3], own[:, 2] * own[:, 3]
        return _geometry(by, truth, guesses, BoxOverlap(own, boxes, crowd), *areas, crowd, table(PROBLEMS))
    wanted = {"mask": ("rings", "rle"), "oriented": ("rings",), "keypoints": ("xyv",)}[by]
    for name, records in (("objects", truth), ("predictions", guesses)):
        if not set(wanted) & set(records.columns):
            raise KeyError(f"{name} have no column {' or '.join(wanted)}, and cannot be scored by {by}")
    if by == "mask":
        shapes = _image_shapes(truth, guesses, sizes)
        object_masks, object_bad = _masks(truth, shapes)
        masks, bad = _masks(guesses, shapes)
        problems = pl.concat([_problems(guesses, bad, ""), _problems(truth, object_bad, "object-")])
        kept, own_kept = _others(object_bad, len(truth)), _others(bad, len(guesses))
        truth, guesses, crowd = truth[kept], guesses[own_kept], crowd[kept]
        object_masks, masks = object_masks.take(kept), masks.take(own_kept)
        areas = object_masks.areas.astype(np.float64), masks.areas.astype(np.float64)
        overlap = MaskOverlap(masks, object_masks, crowd, floor)
        return _geometry(by, truth, guesses, overlap, *areas, crowd, problems)
    points = len(sigmas)
    (objects, object_bad), (found, bad) = (
        _quads(records) if by == "oriented" else _points(records, points) for records in (truth, guesses)
    )
    problems = pl.concat([_problems(guesses, bad, ""), _problems(truth, object_bad, "object-")])
    kept, own_kept = _others(object_bad, len(truth)), _others(bad, len(guesses))
    truth, guesses, crowd, objects, found = truth[kept], guesses[own_kept], crowd[kept], objects[kept], found[own_kept]
    if by == "oriented":
        turned = oriented.OrientedOverlap(found, objects, crowd)
        areas = oriented.areas(objects), oriented.areas(found)
        return _geometry(by, truth, guesses, turned, *areas, crowd, problems)
    boxes, spots = _xywh(truth), np.ascontiguousarray(found[..., :2])
    extent = np.ptp(spots, axis=1)
    object_areas = _stated(truth, boxes[:, 2] * boxes[:, 3])
    similarity = keypoints.KeypointOverlap(spots, objects, boxes, object_areas, sigmas)
    ignore = crowd | (keypoints.labelled(objects) == 0)
    return _geometry(by, truth, guesses, similarity, object_areas, extent[:, 0] * extent[:, 1], ignore, problems)


def _geometry(
    by: By,
    truth: pl.DataFrame,
    guesses: pl.DataFrame,
    overlap: Overlap,
    object_areas: Floats,
    areas: Floats,
    ignore: Bools,
    problems: pl.DataFrame,
) -> Geometry:
    return Geometry(
        truth, guesses, overlap, _stated(truth, object_areas), areas, ignore, problems, _SIZES[by]
    )  # fmt: skip


def _stated(truth: pl.DataFrame, measured: Floats) -> Floats:
    """The area that the annotations state, else the one measured."""
    if "stated_area" not in truth.columns:
        return measured
    stated = truth["stated_area"].fill_null(float("nan")).to_numpy()
    return np.where(np.isfinite(stated) & (stated >= 0), stated, measured)


def _xywh(records: pl.DataFrame) -> Floats:
    xyxy = records.select(CORNERS).to_numpy()
    return np.ascontiguousarray(np.hstack([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]]))


def _image_shapes(truth: pl.DataFrame, guesses: pl.DataFrame, sizes: Floats | None) -> Floats:
    """(images, 2) height and width, 0 where nothing says."""
    tables = [t for t in (guesses, truth) if {"rle_height", "rle_width"} <= set(t.columns)]
    highest = [int(t["image_index"].max()) for t in (truth, guesses) if len(t)]  # type: ignore[arg-type]
    shapes = np.zeros((len(sizes) if sizes is not None else max(highest, default=-1) + 1, 2))
    for records in tables:  # objects last: their word counts
        stated = records.drop_nulls(["rle_height", "rle_width"])
        shapes[stated["image_index"].to_numpy()] = stated.select("rle_height", "rle_width").to_numpy()
    if sizes is not None:
        shapes = np.where(np.isfinite(sizes[:, ::-1]), sizes[:, ::-1], shapes)
    return shapes


def _masks(records: pl.DataFrame, shapes: Floats) -> tuple[Masks, list[tuple[int, str, str]]]:
    names = [n for n in ("rings", "rle", "rle_height", "rle_width") if n in records.columns]
    items = [
        {"size": [row.get("rle_height"), row.get("rle_width")], "counts": row["rle"]}
        if row.get("rle") is not None
        else row.get("rings")
        for row in records.select(names).iter_rows(named=True)
    ]
    return read_segmentations(items, shapes[records["image_index"].to_numpy()].astype(np.int64))


def _quads(records: pl.DataFrame) -> tuple[Floats, list[tuple[int, str, str]]]:
    """(n, 4, 2) corners; unit squares where a record has none."""
    square = [0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    rings = records["rings"].to_list()
    given = [r[0] if r and len(r) == 1 and len(r[0]) == 8 and None not in r[0] else None for r in rings]
    quads = np.array([g or square for g in given]).reshape(-1, 4, 2)
    good = oriented.convex(quads)
    bad = [i for i, g in enumerate(given) if g is None or not good[i]]
    return quads, [(i, "not-a-rotated-box", str(rings[i])) for i in bad]


def _points(records: pl.DataFrame, count: int) -> tuple[Floats, list[tuple[int, str, str]]]:
    """(n, count, 3) x, y, visibility; zeros where a record has none."""
    given = records["xyv"].to_list()
    good = [g is not None and len(g) == 3 * count and None not in g and np.isfinite(g).all() for g in given]
    points = np.array([g if ok else [0.0] * 3 * count for g, ok in zip(given, good, strict=True)])
    return points.reshape(-1, count, 3), [
        (i, "malformed-keypoints", str(given[i])) for i, ok in enumerate(good) if not ok
    ]


def _problems(records: pl.DataFrame, bad: Sequence[tuple[int, str, str]], prefix: str) -> pl.DataFrame:
    rows, images = records["row"].to_list(), records["image"].to_list()
    return table(
        PROBLEMS,
        [
            {"kind": prefix + kind, "row": rows[i], "image": images[i], "value": value[:MAX_VALUE]}
            for i, kind, value in bad
        ],
    )


def _others(bad: Sequence[tuple[int, str, str]], count: int) -> Ints:
    """Rows that are not bad."""
    return np.setdiff1d(np.arange(count), np.array([i for i, _, _ in bad], dtype=np.int64))
