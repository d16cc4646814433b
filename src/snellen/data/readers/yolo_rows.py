"""The rows of YOLO label files: boxes, polygons, oriented boxes and poses, gathered by column.

A row is `class cx cy w h`, `class x1 y1 x2 y2 x3 y3 ...`, or, where data.yaml gives `kpt_shape: [K, 2 or 3]`,
`class cx cy w h` and K points. All are fractions of the image's sides as displayed. Pixels are the fraction times the
side in float64: they give the fraction back to within one part in 2^52, far below the six digits that most files write.
"""

import math
from collections import Counter
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import polars as pl
from numpy.typing import NDArray

from snellen.data.nested import gathered
from snellen.data.records import Records, integer

NORMALIZED_LIMIT = 2.0
"""Above it a value is no fraction of the image's side but something else, most often pixels."""
FLUSH_ROWS = 65_536
BOX, SHAPE, POSE = "box", "polygon", "pose"
PLURALS = {BOX: "boxes", SHAPE: "polygons", POSE: "poses"}


@dataclass
class _Columns:
    """Rows not yet in the tables."""

    image: list[str] = field(default_factory=list)
    file: list[str] = field(default_factory=list)
    row: list[int] = field(default_factory=list)
    class_id: list[int] = field(default_factory=list)
    side: list[tuple[float, float]] = field(default_factory=list)
    """Width and height of the image, pixels; NaN when unknown."""
    kind: list[str] = field(default_factory=list)
    numbers: list[list[float]] = field(default_factory=list)
    """Fractions, without the class."""


class LabelRows:
    """Adds the rows of label files to `records`; `finish` adds the last ones and decides what four points mean."""

    def __init__(self, records: Records, task: str | None, points: int, dims: int) -> None:
        self.records = records
        self.task = task
        self.points, self.dims = points, dims
        """Keypoints of a row, 0: none, and numbers of each: 2 or 3."""
        self._waiting = _Columns()
        self._outlines: list[pl.DataFrame] = []
        self._columns: Counter[int] = Counter()

    def add(self, key: str, file: str, text: str, size: tuple[int, int] | None) -> None:
        """Take the label file of the image `key`, of `size` (width, height) pixels as displayed."""
        side = size or (math.nan, math.nan)
        first: dict[str, int] = {}
        counts: Counter[str] = Counter()
        out = self._waiting
        for row, line in enumerate(text.splitlines(), 1):
            parts = line.split()
            if not parts:
                continue
            try:
                values = list(map(float, parts))
            except ValueError:
                self._malformed(key, file, row, line, "holds something that is no number")
                continue
            class_id, kind = integer(values[0]), self._kind(len(values))
            if class_id is None or kind is None:
                why = f"is neither {self._forms()}: {len(values)} columns"
                self._malformed(key, file, row, line, "starts with no whole number" if class_id is None else why)
                continue
            del values[0]
            if not (max(values) <= NORMALIZED_LIMIT and min(values) >= -NORMALIZED_LIMIT):  # or NaN hides it
                self._check_normalised(key, file, row, line, values, kind)
            first.setdefault(kind, row)
            counts[kind] += 1
            self._columns[len(values)] += 1
            out.image.append(key)
            out.file.append(file)
            out.row.append(row)
            out.class_id.append(class_id)
            out.side.append(side)
            out.kind.append(kind)
            out.numbers.append(values)
        if len(counts) > 1:
            rarer = min(counts, key=lambda k: (counts[k], first[k]))
            held = " and ".join(f"{n} {PLURALS[k] if n > 1 else k}" for k, n in counts.most_common())
            message = f"{file} holds {held}: rows of one kind are expected"
            self.records.problem("mixed-label-rows", file, message, row=first[rarer], image=key, value=held)
        if len(out.row) >= FLUSH_ROWS:
            self._flush()

    def finish(self) -> None:
        """Add what is left. Four points in every row are oriented boxes, unless data.yaml says otherwise."""
        self._flush()
        quads = set(self._columns) == {8}
        oriented = self.task == "obb" or (quads and self.task is None)
        if oriented and self.task is None:
            self.records.notes.append("every row has four points: taken as oriented boxes (data.yaml names no task)")
        for frame in self._outlines:
            quad = frame["rings"].list.first().list.len() == 8
            kinds = pl.Series("kind", ["polygon"]).new_from_index(0, frame.height)
            kinds = kinds.set(quad, "oriented") if oriented else kinds
            self.records.outlines.extend(frame.with_columns(kinds))
        if self.dims == 2 and len(self.records.keypoints):
            note = "kpt_shape has no visibility: points at or below 0, 0 are taken as absent, the others as visible"
            self.records.notes.append(note)

    def _kind(self, columns: int) -> str | None:
        if columns == 5:
            return BOX
        if self.points:
            return POSE if columns == 5 + self.points * self.dims else None
        return SHAPE if columns >= 7 and columns % 2 else None

    def _forms(self) -> str:
        pose = f"a pose of {5 + self.points * self.dims} columns" if self.points else "a polygon"
        return f"`class cx cy w h` nor {pose}"

    def _malformed(self, key: str, file: str, row: int, line: str, why: str) -> None:
        self.records.problem("malformed-label", file, f"{file}:{row} {why}", row=row, image=key, value=line)

    def _check_normalised(self, key: str, file: str, row: int, line: str, values: list[float], kind: str) -> None:
        if kind == POSE and self.dims == 3:  # visibility is no fraction
            values = [v for at, v in enumerate(values) if at < 4 or (at - 4) % 3 < 2]
        far = [v for v in values if math.isfinite(v) and abs(v) > NORMALIZED_LIMIT]
        if far:
            message = f"{file}:{row} holds {max(far, key=abs):g} where fractions of the image are expected"
            self.records.problem("unnormalized-coordinates", file, message, row=row, image=key, value=line)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, _Columns()
        if waiting.row:
            with np.errstate(invalid="ignore", over="ignore"):  # NaN and infinities are carried through
                self._add(waiting)

    def _add(self, waiting: _Columns) -> None:
        sides = np.array(waiting.side, dtype=np.float64)
        names = {class_id: name for class_id, (name, _) in self.records.classes.items()}
        shared = pl.DataFrame(
            {
                "image": pl.Series(waiting.image, dtype=pl.String()),
                "file": pl.Series(waiting.file, dtype=pl.String()),
                "row": pl.Series(waiting.row, dtype=pl.Int64()),
                "class_name": pl.Series([names.get(c) for c in waiting.class_id], dtype=pl.String()),
            }
        )
        kinds = np.array(waiting.kind)
        corners = np.full((len(waiting.row), 4), np.nan)
        framed = np.flatnonzero(kinds != SHAPE)
        boxes = np.array([waiting.numbers[at][:4] for at in framed], dtype=np.float64).reshape(-1, 4)
        half = boxes[:, 2:] / 2
        corners[framed] = np.hstack([boxes[:, :2] - half, boxes[:, :2] + half]) * np.tile(sides[framed], 2)
        known = ~np.isnan(sides[:, 0])
        drawn = np.flatnonzero(kinds == SHAPE)
        first = len(self.records.boxes)
        if len(drawn):
            corners[drawn] = self._add_shapes(waiting, drawn, sides, known, shared, first)
        finite = np.isfinite(corners).all(axis=1)
        solid = finite & (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])
        unknown = pl.Series(~known)
        points = [len(n) // 2 if k == SHAPE else None for n, k in zip(waiting.numbers, waiting.kind, strict=True)]
        self.records.boxes.extend(
            shared.with_columns(
                pl.Series("class_id", waiting.class_id, dtype=pl.Int64()),
                *(pl.Series(c, corners[:, at]).set(unknown, None) for at, c in enumerate(("x1", "y1", "x2", "y2"))),
                pl.Series("polygon_points", points, dtype=pl.Int64()),
                pl.Series("box_stated", kinds != SHAPE),
                pl.Series("usable", solid & shared["class_name"].is_not_null().to_numpy()),
                crowd=pl.lit(False),
            )
        )
        posed = np.flatnonzero((kinds == POSE) & known)
        if len(posed):
            self._add_poses(waiting, posed, sides, shared, first)

    def _add_shapes(
        self, waiting: _Columns, drawn: NDArray[np.int64], sides: NDArray[np.float64], known: NDArray[np.bool_],
        shared: pl.DataFrame, first: int,
    ) -> NDArray[np.float64]:  # fmt: skip
        """Keep the outlines of sized images for `finish`; their hulls, (n, 4)."""
        rings = [waiting.numbers[at] for at in drawn]
        lengths = np.fromiter(map(len, rings), np.int64, len(rings))
        flat = np.fromiter(chain.from_iterable(rings), np.float64, int(lengths.sum())).reshape(-1, 2)
        flat *= np.repeat(sides[drawn], lengths // 2, axis=0)
        starts = np.concatenate(([0], np.cumsum(lengths // 2)[:-1]))
        hulls = np.hstack([np.minimum.reduceat(flat, starts), np.maximum.reduceat(flat, starts)])
        sized = known[drawn]
        if sized.any():
            kept = np.repeat(sized, lengths // 2)
            parts = gathered(pl.Series(flat[kept].ravel()), lengths[sized])
            frame = shared[drawn[sized]].with_columns(
                pl.Series("object", drawn[sized] + first), gathered(parts, np.ones(len(parts), np.int64)).alias("rings")
            )
            self._outlines.append(frame)
        return hulls

    def _add_poses(
        self, waiting: _Columns, posed: NDArray[np.int64], sides: NDArray[np.float64], shared: pl.DataFrame, first: int
    ) -> None:
        points = np.array([waiting.numbers[at][4:] for at in posed]).reshape(len(posed), self.points, self.dims)
        xyv = np.empty((len(posed), self.points, 3))
        xyv[..., :2] = points[..., :2] * sides[posed][:, None]
        absent = (points[..., 0] <= 0) & (points[..., 1] <= 0)
        xyv[..., 2] = points[..., 2] if self.dims == 3 else np.where(absent, 0, 2)
        lengths = np.full(len(posed), 3 * self.points)
        self.records.keypoints.extend(
            shared[posed].with_columns(
                pl.Series("object", posed + first), gathered(pl.Series(xyv.ravel()), lengths).alias("xyv")
            )
        )


def pose_shape(records: Records, file: str, shape: object, flip: object) -> tuple[int, int]:
    """Points and numbers a point that `kpt_shape` says, (0, 0) when nothing usable; keeps `flip_idx`."""
    if shape is None:
        return 0, 0
    sides = [integer(v) for v in shape[:3]] if isinstance(shape, list) else []
    if len(sides) != 2 or not 0 < (sides[0] or 0) <= 10_000 or sides[1] not in (2, 3):
        records.problem("malformed-label", file, f"kpt_shape of {file} is not [points, 2 or 3]", value=shape)
        return 0, 0
    if flip is not None:
        places = [integer(v) for v in flip[:10_001]] if isinstance(flip, list) else [None]
        if None in places:
            records.problem("malformed-label", file, f"flip_idx of {file} is no list of whole numbers", value=flip)
        else:
            records.keypoint_flip = [v for v in places if v is not None]
    return sides[0] or 0, sides[1] or 0
