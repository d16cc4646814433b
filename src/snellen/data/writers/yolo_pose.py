"""YOLO poses: rows `class cx cy w h` and x y visibility of each keypoint; data.yaml says `kpt_shape`, `flip_idx`.

Precision: as yolo; visibility exactly. Every row holds the same number of points: objects with fewer, or none, are
filled up with absent ones. The names of the points and the lines between them cannot be held.
"""

from snellen.data.dataset_error import DatasetError
from snellen.data.facts import DataFacts
from snellen.data.writers.losses import Losses
from snellen.data.writers.written import Row, Written, at
from snellen.data.writers.yolo import fractions_of_box, write_rows


def write(data: DataFacts, losses: Losses) -> Written:
    """The dataset with rows of poses. Raises DatasetError when no object has keypoints."""
    count = max((len(xyv) // 3 for xyv in data.keypoints["xyv"].drop_nulls()), default=0)
    if not count:
        raise DatasetError(f"{data.root}: no object has keypoints; write `yolo` for its boxes")
    if data.keypoint_names or data.skeleton:
        losses.add("keypoint-names", "names and lines of keypoints are lost", ", ".join(data.keypoint_names))

    def values(data: DataFacts, row: Row, losses: Losses) -> list[float] | None:
        if row["outline"] is not None:
            losses.add("outlines", "outlines (polygons, masks, rotated boxes) became boxes", at(row))
        xyv = row["xyv"] or []
        if len(xyv) < 3 * count:
            losses.add("absent-keypoints", "objects were filled up with absent keypoints", at(row))
        xyv = [*xyv, *[0.0] * (3 * count - len(xyv))]
        sides = (row["wide"], row["high"], 1)
        return [*fractions_of_box(row, losses), *(v / sides[place % 3] for place, v in enumerate(xyv))]

    extra = {"kpt_shape": [count, 3]} | ({"flip_idx": data.keypoint_flip} if data.keypoint_flip else {})
    return write_rows(data, losses, values, extra, keypoints=True)
