"""Datasets as hypothesis makes them: odd names, empty images, boxes of any place, several splits and rings."""

import io
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from PIL import Image

from snellen.data.facts import BOXES, CLASSES, IMAGES, KEYPOINTS, LEDGER, OUTLINES, PROBLEMS, DataFacts
from snellen.facts import table
from snellen.findings.severity import Tier

SIZES = [(64, 48), (37, 91), (1, 1), (640, 480)]
STEMS = st.text(
    st.characters(codec="utf-8", exclude_characters="/\\\0", exclude_categories=("Cc", "Cs", "Zl", "Zp", "Zs")),
    min_size=1,
    max_size=8,
)
CLASS_NAMES = st.lists(
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=10)
    .map(str.strip)
    .filter(bool)
    | st.sampled_from(["yes", "null", "1", "1.5", "~", "# no", "a: b", "- c", "<tag>&amp;", "'q\"", "…", "car, red"]),
    min_size=1,
    max_size=4,
    unique=True,
)


@cache
def picture(size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", size, 90).save(buffer, "PNG")
    return buffer.getvalue()


@st.composite
def datasets(
    draw: st.DrawFn, *, splits: tuple[str | None, ...] = (None, "train", "val", "test"), outlines: tuple[str, ...] = (),
    keypoints: bool = False, outside: bool = True, ids: bool = True,
) -> DataFacts:  # fmt: skip
    """Facts with a root of ``; `on_disk` gives them their images."""
    names = draw(CLASS_NAMES)
    first = draw(st.sampled_from([0, 1, 5]))
    used_splits = draw(st.lists(st.sampled_from(splits), min_size=1, max_size=3, unique=True))
    stems = draw(st.lists(STEMS, min_size=len(used_splits), max_size=5, unique_by=lambda s: s.casefold()))
    points = draw(st.integers(1, 3)) if keypoints else 0
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    rings: list[dict[str, Any]] = []
    poses: list[dict[str, Any]] = []
    for number, stem in enumerate(stems):
        split = used_splits[number % len(used_splits)]
        width, height = draw(st.sampled_from(SIZES))
        key = f"images/{split + '/' if split else ''}{stem}.png"
        row = {"image": key, "split": split, "label_file": "labels", "listed": True, "exists": True}
        row |= {"width": width, "height": height, "declared_width": width, "declared_height": height}
        row |= {"image_id": str(7 * number + 3) if ids else None, "exif_orientation": 1}
        images.append(row)
        for _ in range(draw(st.integers(0, 3))):
            kind = draw(st.integers(0, len(names) - 1))
            box = draw(corners(width, height, outside))
            common = {"object": len(boxes), "image": key, "file": "labels", "row": len(boxes) + 1}
            common["class_name"] = names[kind]
            boxes.append(
                common | dict(zip(("x1", "y1", "x2", "y2"), box, strict=True))
                | {"class_id": first + kind, "crowd": draw(st.booleans()), "usable": True, "box_stated": True}
            )  # fmt: skip
            shape = draw(st.sampled_from(["", *outlines]))
            if shape:
                drawn = draw(polygons(box, shape))
                rings.append(common | {"kind": shape, "rings": drawn})
                boxes[-1] |= hull(drawn) | {"polygon_points": sum(len(r) // 2 for r in drawn)}
            if keypoints:
                xyv = [v for _ in range(points) for v in draw(keypoint(width, height))]
                poses.append(common | {"xyv": xyv, "stated": sum(v > 0 for v in xyv[2::3])})
    return DataFacts(
        root="", format="generated", task="detection", images=table(IMAGES, images), boxes=table(BOXES, boxes),
        outlines=table(OUTLINES, rings), keypoints=table(KEYPOINTS, poses), problems=table(PROBLEMS),
        classes=table(
            CLASSES, [{"class_id": first + n, "class_name": name, "declared": True} for n, name in enumerate(names)]
        ),
        ledger=table(LEDGER), tier_gathered=int(Tier.HEADERS),
        keypoint_names=[f"point {n}" for n in range(points)], keypoint_flip=list(range(points)),
    )  # fmt: skip


@st.composite
def corners(draw: st.DrawFn, width: int, height: int, outside: bool) -> tuple[float, float, float, float]:
    """Sub-pixel boxes, whole ones, and ones beyond the image."""
    over = 300 if outside else 0
    low_high = []
    for side in (width, height):
        a = draw(st.integers(-over * side, (1000 + over) * side)) / 1000
        # Twice the image's side is taken for pixels by the reader of YOLO.
        b = min(a + draw(st.integers(10, 1300 * side)) / 1000, 1.9 * side)
        low_high.append((a, b if outside else max(min(b, side), a + 0.01)))
    (x1, x2), (y1, y2) = low_high
    return x1, y1, x2, y2


@st.composite
def polygons(draw: st.DrawFn, box: tuple[float, float, float, float], kind: str) -> list[list[float]]:
    x1, y1, x2, y2 = box
    if kind == "oriented":
        mid_x, mid_y = (x1 + x2) / 2, (y1 + y2) / 2
        return [[mid_x, y1, x2, mid_y, mid_x, y2, x1, mid_y]]
    share = st.floats(0, 1, width=16)
    rings = []
    for _ in range(draw(st.integers(1, 3))):
        points = draw(st.lists(st.tuples(share, share), min_size=3, max_size=6))
        rings.append([v for u, w in points for v in (x1 + u * (x2 - x1), y1 + w * (y2 - y1))])
    rings.append([x1, y1, x2, y1, x2, y2, x1, y2])
    return rings


@st.composite
def keypoint(draw: st.DrawFn, width: int, height: int) -> tuple[float, float, float]:
    seen = draw(st.sampled_from([0.0, 1.0, 2.0]))
    if not seen:
        return 0.0, 0.0, 0.0
    return draw(st.integers(0, 10 * width)) / 10, draw(st.integers(0, 10 * height)) / 10, seen


def hull(rings: list[list[float]]) -> dict[str, float]:
    xs, ys = [v for r in rings for v in r[0::2]], [v for r in rings for v in r[1::2]]
    return {"x1": min(xs), "y1": min(ys), "x2": max(xs), "y2": max(ys)}


@contextmanager
def on_disk(data: DataFacts) -> Iterator[tuple[DataFacts, Path]]:
    """The facts with their images on disk, and an empty folder beside them."""
    from dataclasses import replace

    folder = Path(tempfile.mkdtemp())
    try:
        root = folder / "source"
        for row in data.images.iter_rows(named=True):
            path = root / row["image"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture((row["width"], row["height"])))
        root.mkdir(exist_ok=True)
        yield replace(data, root=str(root)), folder
    finally:
        shutil.rmtree(folder)
