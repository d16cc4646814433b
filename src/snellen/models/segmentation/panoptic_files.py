"""Panoptic predictions as COCO keeps them: a JSON of segments, and a PNG an image beside it."""

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from snellen.data.writers.painting import colour_png
from snellen.files import to_json, write_text, written_whole
from snellen.models.segmentation.panoptic import Panoptic


def write_panoptic(file: Path, results: Iterable[tuple[int | str, str, Panoptic]], class_ids: Sequence[int]) -> None:
    """Write `file` and the folder of its stem, whose PNG files hold r + 256 g + 65536 b = segment id.

    Args:
        file: The JSON: `annotations` of `image_id`, `file_name` and `segments_info`, as panopticapi reads predictions.
        results: Image id, the image's file name, and its map.
        class_ids: The dataset's id of each class, in order of the network's outputs.

    Raises:
        ValueError: A file name that leads out of the folder.
    """
    annotations: list[dict[str, Any]] = []
    for image_id, name, found in results:
        place = PurePosixPath(name).with_suffix(".png")
        if place.is_absolute() or ".." in place.parts:
            raise ValueError(f"{name}: leads out of the folder")
        target = file.with_suffix("") / place
        target.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(target) as temporary:
            temporary.write_bytes(colour_png(found.ids.astype(np.uint32)))
        segments = []
        for segment in found.segments:
            mine = found.ids == segment.id
            ys, xs = np.flatnonzero(mine.any(axis=1)), np.flatnonzero(mine.any(axis=0))
            box = [int(xs[0]), int(ys[0]), int(xs[-1] - xs[0]) + 1, int(ys[-1] - ys[0]) + 1]
            entry = {"id": segment.id, "category_id": int(class_ids[segment.label]), "bbox": box, "iscrowd": 0}
            segments.append(entry | {"area": segment.area})
        annotations.append({"image_id": image_id, "file_name": str(place), "segments_info": segments})
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, to_json({"annotations": annotations}))
