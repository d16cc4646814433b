"""What became of every segment of an image, as rows of the facts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snellen.boxes import CORNERS
from snellen.evaluation.panoptic_match import SegmentMatch, Segments, segment_boxes

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Sides:
    """One image's truth and prediction, matched."""

    image: str
    true_map: Ints
    true: Segments
    predicted_map: Ints
    predicted: Segments
    match: SegmentMatch


def prediction_rows(sides: Sides, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """One row for each predicted segment, with the box around it and its outcome in the words of detection."""
    match, true, predicted = sides.match, sides.true, sides.predicted
    boxes = segment_boxes(sides.predicted_map, predicted.ids).tolist()
    rows = []
    for j, (k, box) in enumerate(zip(predicted.classes.tolist(), boxes, strict=True)):
        nearest = int(match.nearest[j])
        rows.append(
            {
                "image": sides.image,
                "class_name": class_names[k],
                **dict(zip(CORNERS, box, strict=True)),
                "true_class": class_names[int(true.classes[nearest])] if nearest >= 0 else None,
                "iou": float(match.iou[j]),
                "outcome": _outcome(sides, j),
            }
        )
    return rows


def _outcome(sides: Sides, j: int) -> str:
    """A wrong class at IoU above 0.5, the right one below, both, or nothing there (below 0.1, as for boxes)."""
    match = sides.match
    if match.partner[j] >= 0:
        return "correct"
    if match.ignored[j]:
        return "ignored"
    if match.iou[j] > 0.5:
        return "classification"
    if match.iou[j] < 0.1:
        return "background"
    same = sides.true.classes[match.nearest[j]] == sides.predicted.classes[j]
    return "localisation" if same else "both"


def object_rows(sides: Sides, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """One row for each true segment."""
    boxes = segment_boxes(sides.true_map, sides.true.ids).tolist()
    return [
        {
            "image": sides.image,
            "class_name": class_names[k],
            **dict(zip(CORNERS, box, strict=True)),
            "found": bool(sides.match.found[i]),
            "best_iou": float(sides.match.best_iou[i]),
            "crowd": bool(sides.true.crowd[i]),
        }
        for i, (k, box) in enumerate(zip(sides.true.classes.tolist(), boxes, strict=True))
    ]


def count_confusion(confusion: Ints, sides: Sides) -> None:
    """Add to (C + 1, C + 1): each segment once, matches and those misnamed at IoU above 0.5, the rest as background."""
    match, true, predicted = sides.match, sides.true, sides.predicted
    seen = match.found | true.crowd
    for j, k in enumerate(predicted.classes.tolist()):
        i = int(match.nearest[j])
        if match.partner[j] >= 0 or (match.iou[j] > 0.5 and not seen[i]):
            confusion[true.classes[i], k] += 1
            seen[i] = True
        elif not match.ignored[j]:
            confusion[-1, k] += 1
    for k in true.classes[~seen].tolist():
        confusion[k, -1] += 1
