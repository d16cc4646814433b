"""An evaluation read back from its facts, ready to be scored on any draw of its images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl

from snellen.boxes import CORNERS
from snellen.errors import UseError
from snellen.evaluation.bootstrap import image_draws, replicate_detection
from snellen.evaluation.coco_core import (
    IGNORED,
    IOU_THRESHOLDS,
    TRUE,
    Matching,
    interpolated_precision,
    mean_defined,
)
from snellen.evaluation.facts import ScoreFacts
from snellen.evaluation.pairs import Bools, Floats, Ints

Drawn = tuple[dict[str, Floats], Floats]
"""Metric -> (R,), and (R, K) by class; NaN where undefined."""


@dataclass(frozen=True)
class Values:
    """The scores themselves."""

    metrics: dict[str, float]
    """NaN where undefined."""
    classes: Floats
    """(K,)."""


class Sample(Protocol):
    """What the comparison asks of an evaluation, on the images compared."""

    truth: object
    """Equal for evaluations against equal labels."""
    class_names: list[str]
    class_counts: Ints
    """(K,) objects or images of each class."""
    class_images: Ints
    """(K,) images that hold the class."""
    right: Bools
    """(n,) objects found, or images rightly classified."""
    right_classes: Ints
    """(n,) their class."""
    what: str
    """What `right` counts, in words."""
    exact: str | None
    """The metric that is the share of `right` among independent images."""
    headline: str
    lower_is_better: frozenset[str]

    def values(self) -> Values:
        """Score as evaluated."""

    def draw(self, replicates: int, seed: int) -> Drawn:
        """Score `replicates` draws of the images."""


def sample_of(facts: ScoreFacts, images: Sequence[str], name: str) -> Sample:
    """Read an evaluation back for `images`. Raises UseError on a task that keeps no row for each prediction."""
    if facts.task == "classification":
        return ClassificationSample(facts, images)
    if len(facts.evaluated) and facts.predictions["hits"].null_count() == 0:
        return DetectionSample(facts, images)
    raise UseError(f"{name}: scores of {facts.task} keep no row for each prediction, and cannot be compared")


class DetectionSample:
    """Detections with their status at every IoU threshold (the columns `hits` and `excused`): nothing is matched."""

    what = "objects found at each run's threshold of best F1"
    exact: str | None = None
    headline = "mAP"
    lower_is_better: frozenset[str] = frozenset()

    def __init__(self, facts: ScoreFacts, images: Sequence[str]) -> None:
        position = {image: i for i, image in enumerate(images)}
        self.num_images = len(images)
        self.class_names = sorted(facts.per_class["class_name"].to_list())
        index = {name: k for k, name in enumerate(self.class_names)}
        objects = facts.objects.filter(pl.col("image").is_in(list(images))).sort("image", "class_name", *CORNERS)
        said = facts.predictions.filter(pl.col("image").is_in(list(images)))
        real = objects.filter(~pl.col("crowd"))
        self.truth: object = tuple(objects.select("image", "class_name", *CORNERS, "crowd").hash_rows().to_list())
        self.object_classes = _codes(real["class_name"], index)
        self.object_images = _codes(real["image"], position)
        threshold = facts.score("f1_threshold")
        shown = (real["found"] & (real["score"] >= (2.0 if threshold is None else threshold))).fill_null(False)
        self.right, self.right_classes = shown.to_numpy(), self.object_classes
        self.class_counts = np.bincount(self.object_classes, minlength=len(index))
        pairs = np.unique(self.object_classes * max(1, self.num_images) + self.object_images)
        self.class_images = np.bincount(pairs // max(1, self.num_images), minlength=len(index))
        evaluated = facts.evaluated.filter(pl.col("image").is_in(list(images)))
        place = _codes(evaluated["image"], position)
        self.counts = np.zeros((self.num_images, 3))
        self.counts[place] = evaluated.select("objects", "correct", "wrong").to_numpy()

        classes, owners = _codes(said["class_name"], index), _codes(said["image"], position)
        scores = said["score"].to_numpy()
        order = np.lexsort((-scores, owners, classes))
        hits, excused = (said[name].to_numpy()[order].astype(np.int64) for name in ("hits", "excused"))
        bits = np.arange(len(IOU_THRESHOLDS))[:, None]
        status = np.where((hits >> bits) & 1, TRUE, np.where((excused >> bits) & 1, IGNORED, 0)).astype(np.uint8)
        positives = self.class_counts[None].astype(np.int64)
        none = np.full(len(order), -1, dtype=np.int64)
        self.matching = Matching(
            order, classes[order], owners[order], scores[order], status[None], none, np.zeros(len(order)),
            np.zeros((1, len(bits), len(index), 1), dtype=np.int64), positives, IOU_THRESHOLDS, (100,),
        )  # fmt: skip

    def values(self) -> Values:
        """COCO's numbers over all sizes, and precision, recall and F1 at the run's threshold of best F1."""
        order, starts = self.matching.staircase_order()
        positives = self.class_counts.astype(np.float64)
        precision = interpolated_precision(self.matching.status[0], order, starts, np.ones(len(order)), positives)
        metrics = {
            "mAP": _number(mean_defined(precision)),
            "mAP50": _number(mean_defined(precision[0])),
            "mAP75": _number(mean_defined(precision[5])),
        }
        counted = precision.mean(axis=(0, 1))
        totals = {name: float(value[0]) for name, value in _rates(self.counts.sum(axis=0, keepdims=True)).items()}
        return Values(metrics | totals, np.where(positives > 0, counted, np.nan))

    def draw(self, replicates: int, seed: int) -> Drawn:
        """The same of every draw."""
        drawn = replicate_detection(
            self.matching, *self.matching.staircase_order(), self.object_classes, self.object_images,
            np.zeros((1, len(self.object_classes)), dtype=bool),
            num_images=self.num_images, replicates=replicates, seed=seed, max_dets=(100,),
        )  # fmt: skip
        metrics = {name: drawn.metrics[name] for name in ("mAP", "mAP50", "mAP75")}
        weighted = np.stack([w @ self.counts for w in image_draws(self.num_images, replicates, seed)])
        return metrics | _rates(weighted), drawn.ap


class ClassificationSample:
    """One row an image: the label, the answer, the loss."""

    what = "images rightly classified"
    exact: str | None = "accuracy"
    headline = "accuracy"
    lower_is_better: frozenset[str] = frozenset({"log_loss"})

    def __init__(self, facts: ScoreFacts, images: Sequence[str]) -> None:
        rows = pl.DataFrame({"image": list(images)}, schema={"image": pl.String}).join(
            facts.predictions.unique("image", keep="first"), on="image", how="left", maintain_order="left"
        )
        self.class_names = sorted(facts.per_class["class_name"].to_list())
        index = {name: k for k, name in enumerate(self.class_names)}
        self.truth: object = tuple(rows["true_class"].to_list())
        self.right_classes = _codes(rows["true_class"], index)
        self.answers = _codes(rows["class_name"], index)
        self.loss = rows["loss"].to_numpy()
        self.right = self.right_classes == self.answers
        self.class_counts = self.class_images = np.bincount(self.right_classes, minlength=len(index))

    def values(self) -> Values:
        """Accuracy, balanced accuracy, macro F1, log loss in nats; recall by class."""
        metrics, recall = self._score(np.ones(len(self.right)))
        return Values(metrics, recall)

    def draw(self, replicates: int, seed: int) -> Drawn:
        """The same of every draw."""
        scored = [self._score(weights) for weights in image_draws(len(self.right), replicates, seed)]
        metrics = {name: np.array([m[name] for m, _ in scored]) for name in scored[0][0]}
        return metrics, np.stack([recall for _, recall in scored])

    def _score(self, weights: Floats) -> tuple[dict[str, float], Floats]:
        count = len(self.class_names)
        held = np.bincount(self.right_classes, weights, count)
        said = np.bincount(self.answers, weights, count)
        right = np.bincount(self.right_classes[self.right], weights[self.right], count)
        there = held > 0
        recall = np.divide(right, held, out=np.full(count, np.nan), where=there)
        f1 = np.divide(2 * right, held + said, out=np.zeros(count), where=held + said > 0)
        metrics = {
            "accuracy": float(right.sum() / weights.sum()),
            "balanced_accuracy": float(recall[there].mean()),
            "macro_f1": float(f1[there].mean()),
            "log_loss": float(weights @ self.loss / weights.sum()),
        }
        return metrics, recall


def _rates(counts: Floats) -> dict[str, Floats]:
    """Precision, recall and F1 of rows (objects, correct, wrong); NaN where undefined."""
    objects, correct, wrong = counts.T
    return {
        name: np.divide(top, bottom, out=np.full(len(counts), np.nan), where=bottom > 0)
        for name, top, bottom in (
            ("precision", correct, correct + wrong),
            ("recall", correct, objects),
            ("f1", 2 * correct, objects + correct + wrong),
        )
    }


def _codes(names: pl.Series, index: dict[str, int]) -> Ints:
    return names.replace_strict(index, return_dtype=pl.Int64).to_numpy() if len(names) else np.zeros(0, dtype=np.int64)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
