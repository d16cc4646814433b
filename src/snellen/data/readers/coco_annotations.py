"""The `annotations` of a COCO document: typed in bulk, odd ones mended one by one, gathered by column."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Annotated, Any

import msgspec
import numpy as np
import polars as pl

from snellen.data.nested import nested
from snellen.data.records import RecordError, Records, clean, integer, number

Whole = Annotated[int, msgspec.Meta(ge=-(2**63) + 1, le=2**63 - 1)]
NO_IMAGE, NOT_LISTED = -1, -2
"""In place of an image's position: its boxes are not usable; no such id."""


class Rle(msgspec.Struct, gc=False):
    """Run lengths, column by column, the first of background."""

    counts: list[Whole] | str
    size: tuple[Whole, Whole]
    """Height, width."""


class Annotation(msgspec.Struct, gc=False):
    """An annotation as it should be. Every field may be missing."""

    id: Whole | str | None = None
    image_id: Whole | str | None = None
    category_id: Whole | None = None
    bbox: tuple[float, float, float, float] | None = None
    area: float | None = None
    iscrowd: Whole | bool | None = None
    ignore: Whole | bool | None = None
    segmentation: list[list[float]] | Rle | None = None
    keypoints: list[float] | None = None
    num_keypoints: Whole | None = None


@dataclass
class Gatherer:
    """Adds the annotations of one file to `records`, a chunk at a time."""

    records: Records
    file: str
    categories: Mapping[int, str]
    positions: Mapping[int | str | None, int]
    """Image id -> position in `keys`, or NO_IMAGE."""
    keys: list[str]
    seen: set[int | str] = field(default_factory=set)
    row: int = 0
    """Annotations taken so far."""

    def __post_init__(self) -> None:
        self._keys = pl.Series(self.keys, dtype=pl.String())
        ids = list(self.categories)
        self._class_at = {class_id: at for at, class_id in enumerate(ids)}
        self._names = pl.Series([self.categories[i] for i in ids], dtype=pl.String())

    def add(self, entries: list[Any]) -> None:
        """Take the next chunk: Annotations, and what the standard library or its failure made of odd ones."""
        rows = range(self.row + 1, self.row + 1 + len(entries))
        self.row += len(entries)
        numbered = [
            (row, good)
            for row, entry in zip(rows, entries, strict=True)
            if (good := entry if type(entry) is Annotation else self._mended(entry, row)) is not None
        ]
        images = [self.positions.get(a.image_id, NOT_LISTED) for _, a in numbered]
        self._check_ids(numbered, images)
        kept = [
            (row, a, image)
            for (row, a), image in zip(numbered, images, strict=True)
            if (a.bbox is not None or a.segmentation) and a.category_id is not None
        ]
        if len(kept) < len(numbered):
            self._report_unusable(numbered, images)
        if not kept:
            return
        annotations = [a for _, a, _ in kept]
        places = _Places(self, [row for row, _, _ in kept], [image for _, _, image in kept], annotations)
        first = self.records.boxes.extend(_boxes(places, annotations))
        _add_outlines(places, annotations, first)
        _add_keypoints(places, annotations, first)

    def problem(self, message: str, row: int, image: int, value: object) -> None:
        """A record that cannot be used."""
        self.records.problem("malformed-label", self.file, message, row=row, image=self.key(image), value=value)

    def key(self, image: int) -> str | None:
        """The key of the image at a position."""
        return self.keys[image] if image >= 0 else None

    def _check_ids(self, numbered: list[tuple[int, Annotation]], images: list[int]) -> None:
        ids = [a.id for _, a in numbered]
        fresh = set(ids)
        if NOT_LISTED not in images and len(fresh) == len(ids) and None not in fresh and fresh.isdisjoint(self.seen):
            self.seen |= fresh  # type: ignore[arg-type]
            return
        for (row, a), image in zip(numbered, images, strict=True):
            if image == NOT_LISTED:
                message = f"annotation {row} belongs to image id {a.image_id!r:.60}, which is not listed"
                self.records.problem("unknown-image-id", self.file, message, row=row, value=a.image_id)
            if a.id is not None and a.id in self.seen:
                message = f"annotation id {a.id} appears again; COCO's own tools keep only the last"
                key = self.key(image)
                self.records.problem("duplicate-id", self.file, message, row=row, image=key, value=a.id)
            elif a.id is not None:
                self.seen.add(a.id)

    def _report_unusable(self, numbered: list[tuple[int, Annotation]], images: list[int]) -> None:
        for (row, a), image in zip(numbered, images, strict=True):
            if a.category_id is None or (a.bbox is None and not a.segmentation):
                message = f"annotation {row} has no bbox of four numbers or no category_id"
                self.problem(message, row, image, {"bbox": a.bbox})

    def _mended(self, entry: Any, row: int) -> Annotation | None:
        """What can be read of an annotation that is not as it should be; None, and a problem, when nothing can."""
        if not isinstance(entry, dict):
            why = str(entry) if isinstance(entry, RecordError) else "it is no object"
            value = None if isinstance(entry, RecordError) else entry
            self.problem(f"annotations entry {row}: {why}", row, NO_IMAGE, value)
            return None
        image_id = identity(entry.get("image_id"))
        image = self.positions.get(image_id, NOT_LISTED)
        bbox, area = entry.get("bbox"), number(entry.get("area"))
        corners = [number(v) for v in bbox] if isinstance(bbox, list) and len(bbox) == 4 else []
        if bbox and (not corners or None in corners):
            self.problem(f"the bbox of annotation {row} is not four numbers", row, image, bbox)
            return None
        outline: Any = None
        keypoints: list[float] | None = None
        try:
            outline = _outline(entry.get("segmentation"))
        except RecordError as error:
            self.problem(f"the segmentation of annotation {row} {error}", row, image, entry["segmentation"])
        if entry.get("keypoints"):
            keypoints = _numbers(entry["keypoints"])
            if keypoints is None:
                self.problem(f"the keypoints of annotation {row} are not numbers", row, image, entry["keypoints"])
        return Annotation(
            identity(entry.get("id")), image_id, integer(entry.get("category_id")),
            tuple(corners) or None, area, bool(entry.get("iscrowd")), bool(entry.get("ignore")), outline,  # type: ignore[arg-type]
            keypoints, integer(entry.get("num_keypoints")),
        )  # fmt: skip


def identity(value: object) -> int | str | None:
    """An id: a whole number or a text, else None."""
    return integer(value) if not isinstance(value, str) else clean(value)


class _Places:
    """Where the annotations of a chunk stand: columns that boxes, outlines and keypoints share."""

    def __init__(self, gatherer: Gatherer, rows: list[int], images: list[int], annotations: list[Annotation]) -> None:
        self.gatherer = gatherer
        self.rows = np.array(rows, dtype=np.int64)
        self.images = np.array(images, dtype=np.int64)
        classes = [gatherer._class_at.get(a.category_id, -1) for a in annotations]  # type: ignore[arg-type]
        self.classes = np.array(classes, dtype=np.int64)

    def columns(self, at: np.ndarray[Any, Any] | slice = slice(None)) -> dict[str, Any]:
        """image, file, row, class_name of the annotations at `at`."""
        rows = self.rows[at]
        return {
            "image": _gather(self.gatherer._keys, self.images[at]),
            "file": pl.Series([self.gatherer.file], dtype=pl.String()).new_from_index(0, len(rows)),
            "row": rows,
            "class_name": _gather(self.gatherer._names, self.classes[at]),
        }


def _gather(values: pl.Series, at: np.ndarray[Any, Any]) -> pl.Series:
    """`values` at positions, null at negative ones; the strings are shared, not copied."""
    return values.gather(pl.Series(np.where(at >= 0, at, 0)).set(pl.Series(at < 0), None)) if len(values) else (
        values.clear(len(at))
    )  # fmt: skip


def _boxes(places: _Places, annotations: list[Annotation]) -> pl.DataFrame:
    n = len(annotations)
    stated = np.array([a.bbox is not None for a in annotations])
    nothing = (np.nan,) * 4
    flat = chain.from_iterable(a.bbox if a.bbox is not None else nothing for a in annotations)
    x, y, width, height = np.fromiter(flat, np.float64, 4 * n).reshape(n, 4).T
    with np.errstate(invalid="ignore", over="ignore"):
        corners = {"x1": x, "y1": y, "x2": x + width, "y2": y + height}
        finite = np.isfinite(np.stack(list(corners.values()))).all(axis=0)
        solid = finite & (corners["x2"] > x) & (corners["y2"] > y)
    polygons = [a.segmentation if type(a.segmentation) is list else () for a in annotations]
    ids = [a.id for a in annotations]
    try:
        named = pl.Series(ids, dtype=pl.Int64()).cast(pl.String())
    except TypeError:  # texts among them
        named = pl.Series([None if i is None else str(i) for i in ids], dtype=pl.String())
    hulled = pl.Series(~stated)
    return pl.DataFrame(
        places.columns() | {
            "annotation_id": named,
            "class_id": np.fromiter((a.category_id for a in annotations), np.int64, n),
            **{c: pl.Series(v).set(hulled, None) for c, v in corners.items()},
            "area": pl.Series([a.area for a in annotations], dtype=pl.Float64()),
            "crowd": [bool(a.iscrowd or a.ignore) for a in annotations],
            "box_stated": stated,
            "polygon_points": pl.Series([sum(map(len, p)) // 2 or None for p in polygons], dtype=pl.Int64()),
            "usable": solid & (places.images >= 0) & (places.classes >= 0),
        }
    )  # fmt: skip


def _add_outlines(places: _Places, annotations: list[Annotation], first: int) -> None:
    drawn = [
        (at, a.segmentation) for at, a in enumerate(annotations) if type(a.segmentation) is list and a.segmentation
    ]
    polygons: list[tuple[int, list[list[float]]]] = []
    for at, rings in drawn:
        if odd := [len(r) for r in rings if len(r) % 2]:
            row = int(places.rows[at])
            message = f"the segmentation of annotation {row} has a ring of {odd[0]} numbers, half a point too many"
            places.gatherer.problem(message, row, int(places.images[at]), rings)
        elif parts := [r for r in rings if r]:
            polygons.append((at, parts))
    outlines = places.gatherer.records.outlines
    if polygons:
        where = np.array([at for at, _ in polygons], dtype=np.int64)
        columns = {"object": where + first, **places.columns(where), "rings": nested([parts for _, parts in polygons])}
        outlines.extend(pl.DataFrame(columns).with_columns(kind=pl.lit("polygon")))
    runs = [(at, a.segmentation) for at, a in enumerate(annotations) if type(a.segmentation) is Rle]
    if runs:
        texts = _compressed([rle.counts for _, rle in runs])
        where = np.array([at for at, _ in runs], dtype=np.int64)
        sizes = np.array([rle.size for _, rle in runs], dtype=np.int64)
        outlines.extend(
            pl.DataFrame(
                {
                    "object": where + first, **places.columns(where), "rle": texts,
                    "rle_width": sizes[:, 1], "rle_height": sizes[:, 0],
                }
            ).with_columns(kind=pl.lit("rle"))
        )  # fmt: skip


def _compressed(counts: list[list[int] | str]) -> list[str]:
    plain = [at for at, c in enumerate(counts) if not isinstance(c, str)]
    if plain:
        from snellen.data.run_lengths import compress  # brings numba, which takes a moment

        for at, text in zip(plain, compress([counts[at] for at in plain]), strict=True):  # type: ignore[misc]
            counts[at] = text
    return counts  # type: ignore[return-value]


def _add_keypoints(places: _Places, annotations: list[Annotation], first: int) -> None:
    posed: list[int] = []
    points: list[list[float]] = []
    for at, a in enumerate(annotations):
        if not a.keypoints:
            continue
        if len(a.keypoints) % 3:
            row = int(places.rows[at])
            message = f"the keypoints of annotation {row} are {len(a.keypoints)} numbers, no multiple of three"
            places.gatherer.problem(message, row, int(places.images[at]), a.keypoints)
        else:
            posed.append(at)
            points.append(a.keypoints)
    if posed:
        where = np.array(posed, dtype=np.int64)
        stated = pl.Series([annotations[at].num_keypoints for at in posed], dtype=pl.Int64())
        columns = {"object": where + first, **places.columns(where), "stated": stated}
        xyv = nested([[p] for p in points]).list.first()
        places.gatherer.records.keypoints.extend(pl.DataFrame(columns | {"xyv": xyv}))


def _outline(value: Any) -> list[list[float]] | Rle | None:
    """A segmentation whose numbers may be texts. Raises RecordError saying what it is instead."""
    if not value:
        return None
    if isinstance(value, dict):
        size, counts = value.get("size"), value.get("counts")
        sides = [integer(v) for v in size] if isinstance(size, list) else []
        if len(sides) != 2 or None in sides:
            raise RecordError("has no size of two whole numbers")
        if isinstance(counts, str):
            return Rle(clean(counts), (sides[0], sides[1]))  # type: ignore[arg-type]
        runs = [integer(v) for v in counts] if isinstance(counts, list) else [None]
        if None in runs:
            raise RecordError("has no counts: whole numbers or a text")
        return Rle(runs, (sides[0], sides[1]))  # type: ignore[arg-type]
    if not isinstance(value, list):
        raise RecordError("is neither rings nor run lengths")
    rings = [_numbers(ring) for ring in value]
    if None in rings:
        raise RecordError("holds a ring that is no list of numbers")
    return rings  # type: ignore[return-value]


def _numbers(values: Iterable[Any]) -> list[float] | None:
    """Floats, NaN and infinities as they are; None when something else is among them."""
    found = [number(v) for v in values] if isinstance(values, list) else [None]
    return None if None in found else found  # type: ignore[return-value]
