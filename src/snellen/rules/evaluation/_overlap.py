"""What several rules of this wing ask of boxes: how many predictions lie on an object, under some reading of them."""

import numpy as np
import polars as pl

from snellen.boxes import CORNERS, Floats, pairwise_iou
from snellen.evaluation.facts import ScoreFacts

MOST = 2000
"""Predictions looked at, the best first: enough to tell a systematic error, bounded on large sets."""


def as_written(scores: ScoreFacts) -> tuple[list[str], Floats]:
    """Images and (n, 4) boxes of the best predictions, and of those left out because a side was not positive."""
    best = scores.predictions.sort("score", descending=True).head(MOST)
    left_out = scores.problems.filter(pl.col("kind").is_in(["inverted-box", "empty-box"])).head(MOST)
    values = [[float(v) for v in str(text).split()] for text in left_out["value"]]
    boxes = np.array(best.select(CORNERS).rows() + values, dtype=np.float64).reshape(-1, 4)
    return best["image"].to_list() + left_out["image"].to_list(), boxes


def share_on_objects(scores: ScoreFacts, images: list[str], boxes: Floats, iou: float = 0.5) -> float:
    """Share of `boxes` (n, 4) xyxy that overlap some object of their image by at least `iou`; any class counts."""
    if not len(boxes):
        return 0.0
    objects: dict[str, Floats] = {
        str(key[0]): group.select(CORNERS).to_numpy() for key, group in scores.objects.group_by("image")
    }
    hits = 0
    for image, box in zip(images, boxes, strict=True):
        others = objects.get(image)
        if others is None or not (box[2:] > box[:2]).all():
            continue
        hits += bool((pairwise_iou(box[None], others) >= iou).any())
    return hits / len(boxes)
