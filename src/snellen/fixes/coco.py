"""Edits of COCO files: only the values that change are written anew, everything else stays byte for byte."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from snellen.fixes.edit import Edit, EditError, clipped, number, rows_of, spliced
from snellen.fixes.json_text import Span, elements, members, value, without

Change = tuple[int, int, str]
OPS = frozenset({
    "drop-box", "clip-box", "set-box", "set-area", "set-annotation-id", "corners-to-sizes", "rewrite-size",
    "drop-image",
})  # fmt: skip


def edited(content: bytes, edits: Sequence[Edit], ids: Mapping[str, str]) -> bytes:
    """The file after `edits`; `ids`: image -> its id in this file, as text. Raises EditError."""
    encoding = json.detect_encoding(content)
    try:
        text = content.decode(encoding, "surrogatepass")
    except UnicodeDecodeError as error:
        raise EditError(f"the file is not {encoding}") from error
    start = len(text) - len(text.lstrip())
    top = members(text, start)
    lists = {key: elements(text, top[key][0]) if key in top else [] for key in ("images", "annotations")}
    changes: list[Change] = []
    gone: set[int] = set()
    for edit in edits:
        op = edit["op"]
        if op == "drop-image":
            changes += _drop_images(text, lists, {ids[i] for i in _images(edit) if i in ids}, gone)
        elif op == "rewrite-size":
            wanted = ids.get(edit["image"])
            for span in lists["images"]:
                fields = _object(text, span)
                if fields and _said(text, fields, "id") == wanted:
                    changes += _set(fields, width=edit["width"], height=edit["height"])
        elif op == "drop-box":
            gone |= {row - 1 for row in rows_of(edit)}
        else:
            changes += _annotation_changes(text, lists["annotations"], edit)
    if gone and max(gone) >= len(lists["annotations"]):
        raise EditError("the file has fewer annotations than were read")
    return spliced(text, [*without(lists["annotations"], gone), *changes]).encode(encoding, "surrogatepass")


def _images(edit: Edit) -> list[str]:
    return list(edit["images"]) if "images" in edit else [edit["image"]]


def _object(text: str, span: Span) -> dict[str, Span]:
    return members(text, span[0]) if text[span[0]] == "{" else {}


def _said(text: str, fields: Mapping[str, Span], key: str) -> str | None:
    """An id as the facts hold it: text."""
    if key not in fields:
        return None
    said = value(text, fields[key])
    if isinstance(said, float) and said == int(said):
        said = int(said)
    return str(said) if isinstance(said, int | str) and not isinstance(said, bool) else None


def _set(fields: Mapping[str, Span], **values: Any) -> list[Change]:
    return [(*fields[key], json.dumps(new)) for key, new in values.items() if key in fields]


def _drop_images(text: str, lists: dict[str, list[Span]], wanted: set[str], gone: set[int]) -> list[Change]:
    """Take the images of the ids `wanted` out, and mark their annotations as `gone`."""
    dropped = {
        place
        for place, span in enumerate(lists["images"])
        if (fields := _object(text, span)) and _said(text, fields, "id") in wanted
    }
    for place, span in enumerate(lists["annotations"]):
        fields = _object(text, span)
        if fields and _said(text, fields, "image_id") in wanted:
            gone.add(place)
    return without(lists["images"], dropped)


def _annotation_changes(text: str, spans: list[Span], edit: Edit) -> list[Change]:
    op = edit["op"]
    if op == "corners-to-sizes":
        return [change for span in spans for change in _corners_to_sizes(text, span)]
    if edit["row"] > len(spans):
        raise EditError("the file has fewer annotations than were read")
    fields = _object(text, spans[edit["row"] - 1])
    if op == "set-area":
        return _set(fields, area=number(edit["area"]))
    if op == "set-annotation-id":
        taken = {_said(text, _object(text, span), "id") for span in spans}
        free = next(n for n in range(len(spans) + 1, 2 * len(spans) + 3) if str(n) not in taken)
        return _set(fields, id=free)
    if op == "set-box":
        return _set(fields, bbox=_xywh(edit["box_xyxy"]))
    if op == "clip-box":
        return _clip(text, fields, edit["width"], edit["height"])
    raise EditError(f"{op} is not known for COCO files")


def _corners_to_sizes(text: str, span: Span) -> list[Change]:
    fields = _object(text, span)
    box = value(text, fields["bbox"]) if "bbox" in fields else None
    return _set(fields, bbox=_xywh(box)) if isinstance(box, list) and len(box) == 4 else []


def _xywh(box: Sequence[float]) -> list[int | float]:
    x1, y1, x2, y2 = box
    return [number(v) for v in (x1, y1, x2 - x1, y2 - y1)]


def _clip(text: str, fields: Mapping[str, Span], width: int, height: int) -> list[Change]:
    """Box, polygons and area cut off at the image; an area is only touched where it was that of box or polygons."""
    x, y, w, h = (float(v) for v in value(text, fields["bbox"]))
    box = clipped((x, y, x + w, y + h), width, height)
    changes = _set(fields, bbox=_xywh(box))
    rings = value(text, fields["segmentation"]) if "segmentation" in fields else None
    old, new = w * h, (box[2] - box[0]) * (box[3] - box[1])
    if isinstance(rings, list) and rings and all(isinstance(ring, list) for ring in rings):
        inside = [clipped_ring(ring, width, height) for ring in rings]
        changes += _set(fields, segmentation=inside)
        old, new = sum(map(enclosed, rings)), sum(map(enclosed, inside))
    area = value(text, fields["area"]) if "area" in fields else None
    if isinstance(area, int | float) and abs(area - old) <= 0.05 * max(old, 1.0):
        changes += _set(fields, area=number(round(new, 4)))
    return changes


def clipped_ring(ring: Sequence[float], width: float, height: float) -> list[int | float]:
    """Every point moved to the nearest one of the image."""
    sides = (width, height)
    return [number(min(max(v, 0), sides[place % 2])) for place, v in enumerate(ring)]


def enclosed(ring: Sequence[float]) -> float:
    """Shoelace formula, px^2."""
    xs, ys = list(ring[0::2]), list(ring[1::2])
    return abs(sum(x * v - u * y for x, y, u, v in zip(xs, ys, xs[1:] + xs[:1], ys[1:] + ys[:1], strict=True))) / 2
