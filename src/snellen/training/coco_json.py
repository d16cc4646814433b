"""Detections as one COCO JSON object: images, categories, and annotations with a score."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl

from snellen.boxes import CORNERS
from snellen.files import to_json, write_text


def coco_object(
    predictions: pl.DataFrame, sizes: Mapping[str, tuple[int, int]], class_names: Sequence[str]
) -> dict[str, Any]:
    """What `write_coco` writes.

    Images are numbered by their names where all of these are different numbers (COCO's own files), else from 1;
    categories from 1, in the order of the run's classes. The list `annotations` alone is COCO's format of results.

    Args:
        predictions: Rows of detections: image, class_name, score, x1, y1, x2, y2.
        sizes: Image -> width and height in pixels; images without detections included.
        class_names: Of the run.
    """
    stems = [PurePosixPath(name).stem for name in sizes]
    numbered = all(stem.isdecimal() for stem in stems) and len({int(stem) for stem in stems}) == len(stems)
    ids = {name: int(stem) if numbered else i for i, (name, stem) in enumerate(zip(sizes, stems, strict=True), 1)}
    categories = {name: k for k, name in enumerate(class_names, 1)}
    annotations = []
    boxes = predictions.filter(pl.col("x1").is_not_null())
    columns = ("image", "class_name", "score", *CORNERS)
    for number, (image, name, score, x1, y1, x2, y2) in enumerate(boxes.select(columns).iter_rows(), 1):
        bbox = [round(x1, 2), round(y1, 2), round(x2 - x1, 2), round(y2 - y1, 2)]
        annotations.append(
            {
                "id": number,
                "image_id": ids[image],
                "category_id": categories[name],
                "bbox": bbox,
                "area": round(bbox[2] * bbox[3], 2),
                "iscrowd": 0,
                "score": round(score, 6),
            }
        )
    return {
        "images": [
            {"id": ids[name], "file_name": name, "width": width, "height": height}
            for name, (width, height) in sizes.items()
        ],
        "categories": [{"id": k, "name": name} for name, k in categories.items()],
        "annotations": annotations,
    }


def write_coco(
    path: Path, predictions: pl.DataFrame, sizes: Mapping[str, tuple[int, int]], class_names: Sequence[str]
) -> None:
    """Write the detections, whole or not at all; arguments as in `coco_object`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, to_json(coco_object(predictions, sizes, class_names)))
