import numpy as np
import polars as pl
import pytest
import torch
from torchvision.ops import batched_nms

from snellen.evaluation.detection import evaluate_detection
from snellen.evaluation.records import sift_boxes
from snellen.evaluation.suppression import by_image_and_class, suppress, suppression_limit, sweep
from tests.rules.evaluation_injections import CLASSES, detector, objects

CORNERS = ["x1", "y1", "x2", "y2"]


def raw(seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame, list[str]]:
    """Objects, some in pairs of one class that overlap, and four boxes on each, as before suppression."""
    rng = np.random.default_rng(seed)
    truth, images = objects(rng, 150, 4, 3)
    width = pl.col("x2") - pl.col("x1")
    shift = width * pl.Series(rng.uniform(0.1, 0.5, 300))
    beside = truth.sample(300, seed=seed).with_columns(pl.col("x1") + shift, pl.col("x2") + shift)
    truth = pl.concat([truth, beside])
    said = pl.concat([detector(truth, images, rng, classes=3, confused=0) for _ in range(4)])
    return truth, said, images


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_keeps_what_torchvision_keeps(threshold: float) -> None:
    _, said, images = raw()
    sifted, _ = sift_boxes(said, images, CLASSES, scored=True)
    order, groups = by_image_and_class(sifted, len(CLASSES), len(images))
    kept = order[suppress(groups, threshold)]
    boxes = torch.tensor(sifted.select(CORNERS).to_numpy())
    key = torch.tensor(sifted["image_index"].to_numpy() * len(CLASSES) + sifted["class_index"].to_numpy())
    theirs = batched_nms(boxes, torch.tensor(sifted["score"].to_numpy()), key, threshold)
    assert sorted(kept.tolist()) == sorted(theirs.tolist())
    assert suppression_limit(groups) is None
    after = by_image_and_class(sifted[np.sort(kept)], len(CLASSES), len(images))[1]
    assert suppression_limit(after) == pytest.approx(threshold, abs=0.02)


def test_the_sweep_finds_the_better_threshold_and_counts_what_was_removed() -> None:
    truth, said, images = raw()
    given = sweep(truth, said, CLASSES, images=images, thresholds=[0.2, 0.5])
    assert given["iou_threshold"].to_list() == [None, 0.2, 0.5]
    assert given["kept"][1] < given["kept"][2] < given["kept"][0]
    as_given, strict, usual = given["map50"]
    assert usual > as_given
    assert usual > strict
    facts = evaluate_detection(truth, said, CLASSES, images=images)
    assert facts.suppression["map50"][0] == facts.score("mAP50") == as_given
    assert facts.suppression["duplicates"][0] > facts.suppression["duplicates"][3] >= 0


def test_objects_that_suppression_removed_are_counted_and_cost_points() -> None:
    truth, said, images = raw()
    sifted, _ = sift_boxes(said, images, CLASSES, scored=True)
    order, groups = by_image_and_class(sifted, len(CLASSES), len(images))
    facts = evaluate_detection(truth, said[order[suppress(groups, 0.4)]], CLASSES, images=images)
    close = facts.objects.filter(pl.col("same_class_iou") > 0.42)
    assert facts.suppressed["limit"] == pytest.approx(0.4, abs=0.02)
    assert facts.suppressed["at_risk"] >= len(close) > 50
    assert 0.3 * len(close) < facts.suppressed["lost"] < 0.7 * len(close)
    assert 0.02 < facts.suppressed["cost"] < 0.4
    assert facts.suppressed["cost"] <= facts.special_costs["false_negative"]
