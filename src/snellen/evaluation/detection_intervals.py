"""95 % intervals of a detector's scores: COCO's numbers, and precision, recall and F1 at the threshold chosen."""

import numpy as np
import polars as pl

from snellen.evaluation.bootstrap import image_draws, interval, replicate_detection
from snellen.evaluation.coco_core import AREA_RANGES, Matching
from snellen.evaluation.pairs import Ints

Interval = tuple[float | None, float | None]


def detection_intervals(
    matching: Matching,
    order: Ints,
    starts: Ints,
    truth: pl.DataFrame,
    evaluated: pl.DataFrame,
    replicates: int,
    seed: int,
) -> dict[str, Interval]:
    """Metric -> interval; empty with fewer than two images, without objects or without replicates.

    `order` and `starts` as from `matching.staircase_order()`; `truth` with image_index, class_index, area and crowd;
    `evaluated` the facts' table, whose threshold is held fixed.
    """
    images = len(evaluated)
    if images < 2 or not len(truth) or not replicates:
        return {}
    area, crowd = truth["area"].to_numpy(), truth["crowd"].to_numpy()
    drawn = replicate_detection(
        matching,
        order,
        starts,
        truth["class_index"].to_numpy(),
        truth["image_index"].to_numpy(),
        crowd | (area < AREA_RANGES[:, :1]) | (area > AREA_RANGES[:, 1:]),
        num_images=images,
        replicates=replicates,
        seed=seed,
        max_dets=matching.max_dets,
    )
    metrics = dict(drawn.metrics)
    counts = evaluated.select("objects", "correct", "wrong").to_numpy().astype(np.float64)
    held, right, false = np.stack([w @ counts for w in image_draws(images, replicates, seed)]).T
    for name, top, bottom in (
        ("precision", right, right + false),
        ("recall", right, held),
        ("f1", 2 * right, right + false + held),
    ):
        metrics[name] = np.divide(top, bottom, out=np.full(replicates, np.nan), where=bottom > 0)
    return {metric: interval(values, images) for metric, values in metrics.items()}
