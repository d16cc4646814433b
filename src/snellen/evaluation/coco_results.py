"""COCO results JSON: [{"image_id", "category_id", "score", "bbox": [x, y, w, h], "segmentation", "keypoints"}, ...]."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from snellen.evaluation.prediction_records import NO_BOX, Prediction, PredictionsError, Refused, number, parse
from snellen.evaluation.records import MAX_VALUE
from snellen.evaluation.rle import count_string

_MAX_SIDE = 2**31 - 1
_Side = Annotated[int, msgspec.Meta(ge=0, le=_MAX_SIDE)]


class _Rle(msgspec.Struct):
    size: tuple[_Side, _Side]
    counts: str


class _Result(msgspec.Struct):
    """A result as it should be; others are read field by field, to say what is wrong with them."""

    image_id: int | str
    category_id: int | str
    score: float
    bbox: tuple[float, float, float, float] | None = None
    segmentation: _Rle | list[list[float]] | None = None
    keypoints: list[float] | None = None


_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_DOCUMENT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_RESULT = msgspec.json.Decoder(_Result)


def read_coco_results(path: Path) -> Iterator[Prediction | Refused]:
    """Yield the records of `path`, a list of results or an object whose `annotations` are one.

    A record needs a box, or a segmentation or keypoints to take one from. Records are decoded one by one, so that
    memory is about twice the file; a file with NaN, which JSON does not know, is read by the slower, larger way.
    Refused are not-an-object, missing-field, not-a-number and malformed-record (no UTF-8, or nested without
    end). Raises PredictionsError when the file is no such list.
    """
    try:
        data = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise PredictionsError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        records = _raw_records(data)
    except (msgspec.DecodeError, RecursionError):
        yield from map(_loose, _loaded(path, data))
        return
    for raw in records:
        try:
            result = _RESULT.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            yield _relaxed(raw)
            continue
        shape = _shape(result.segmentation, result.keypoints)
        corners = _corners(result.bbox, shape)
        if corners is None:
            yield _relaxed(raw)
        else:
            yield Prediction(str(result.image_id), str(result.category_id), result.score, corners, shape)


def _raw_records(data: bytes) -> list[msgspec.Raw]:
    """The text of every record. Raises msgspec.DecodeError where JSON, list or `annotations` are not as they should."""
    try:
        return _LIST.decode(data)
    except msgspec.ValidationError:
        return _LIST.decode(_DOCUMENT.decode(data).get("annotations", b"0"))


def _loaded(path: Path, data: bytes) -> list[Any]:
    try:
        document = json.loads(data)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise PredictionsError(f"{path}: not JSON ({error})") from error
    records = document.get("annotations") if isinstance(document, dict) else document
    if not isinstance(records, list):
        raise PredictionsError(f"{path}: expected a list of results, got {type(document).__name__}")
    return records


def _relaxed(raw: msgspec.Raw) -> Prediction | Refused:
    try:
        return _loose(json.loads(bytes(raw)))
    except (ValueError, RecursionError):
        return Refused("malformed-record", None, bytes(raw)[:MAX_VALUE].decode("utf-8", "replace"))


def _loose(record: Any) -> Prediction | Refused:
    """Read a record of any shape, naming what is wrong; numbers may be text."""
    if not isinstance(record, Mapping):
        return Refused("not-an-object", None, record)
    points = record.get("keypoints")
    shape = _shape(record.get("segmentation"), points if _numbers(points) else None)
    named: dict[str, Any] = {"image": record.get("image_id"), "class_name": record.get("category_id")}
    named["score"] = record.get("score")
    box = record.get("bbox")
    if isinstance(box, list) and len(box) == 4:
        x, y, w, h = (number(v) for v in box)
        if x is None or y is None or w is None or h is None:
            corners: Any = box
        else:
            corners = (x, y, x + w, y + h)
    else:
        corners = _corners(None, shape) or (None,) * 4
    return parse({**named, **dict(zip(("x1", "y1", "x2", "y2"), corners, strict=True))}, shape)


def _numbers(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _shape(segmentation: Any, points: list[float] | None) -> dict[str, Any]:
    """The columns of a shape. What is no shape at all becomes one that scoring refuses, so that it is not lost."""
    found: dict[str, Any] = {} if points is None else {"xyv": _floats(points)}
    if isinstance(segmentation, _Rle):
        return found | {
            "rle": segmentation.counts,
            "rle_height": segmentation.size[0],
            "rle_width": segmentation.size[1],
        }
    if isinstance(segmentation, Mapping):
        size, counts = segmentation.get("size"), segmentation.get("counts")
        whole = isinstance(size, list) and len(size) == 2 and all(type(v) is int and 0 <= v <= _MAX_SIDE for v in size)
        text = counts if isinstance(counts, str) else _compressed(counts)
        height, width = size if whole and isinstance(size, list) else (None, None)
        return found | {"rle": text, "rle_height": height, "rle_width": width}
    if isinstance(segmentation, list) and segmentation:
        found["rings"] = [_floats(ring) for ring in segmentation] if all(map(_numbers, segmentation)) else [[]]
    return found


def _floats(values: list[float]) -> list[float]:
    """The same as floats; NaN for an integer too large to be one."""
    return [float("nan") if (v := number(value)) is None else v for value in values]


def _compressed(counts: Any) -> str:
    """Uncompressed counts as COCO's string; "" for what is none."""
    if not _numbers(counts) or not all(type(v) is int and 0 <= v <= _MAX_SIDE for v in counts):
        return ""
    return count_string(np.array(counts, dtype=np.int64)).tobytes().decode("ascii")


def _corners(box: tuple[float, float, float, float] | None, shape: Mapping[str, Any]) -> tuple[float, ...] | None:
    """The box stated, else that of the polygon or of the labelled points; NO_BOX for run lengths, None for nothing."""
    if box is not None:
        x, y, w, h = box
        return x, y, x + w, y + h
    if shape.get("rings"):
        xy = [v for ring in shape["rings"] for v in ring]
    elif "rle" in shape:
        return NO_BOX
    elif len(shape.get("xyv", ())) >= 3:
        points = shape["xyv"]
        xy = [v for pair in zip(points[::3], points[1::3], strict=False) for v in pair]
    else:
        return None
    if len(xy) < 2:
        return NO_BOX
    return min(xy[::2]), min(xy[1::2]), max(xy[::2]), max(xy[1::2])
