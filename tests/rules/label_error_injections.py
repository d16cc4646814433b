"""Detectors and classifiers beside the dataset they speak of, healthy, and with labels of one kind spoilt."""

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from snellen.boxes import CORNERS
from snellen.data.examine import examine
from snellen.data.facts import DataFacts
from snellen.evaluation.classification import evaluate_classification
from snellen.facts import Facts
from snellen.findings import Tier
from snellen.verbs.scoring.truth import truth_of
from tests.rules.evaluation_injections import CLASSES, SIZE, detector, good_detector, scored

Subject = Callable[[Path], list[Facts]]


def coco(folder: Path, truth: pl.DataFrame, images: list[str]) -> DataFacts:
    """The objects `truth` as a COCO set of `images`, read without a look at any picture."""
    ids = {name: i for i, name in enumerate(images, 1)}
    side = int(SIZE)
    document = {
        "images": [{"id": i, "file_name": name, "width": side, "height": side} for name, i in ids.items()],
        "categories": [{"id": k, "name": name} for k, name in enumerate(CLASSES, 1)],
        "annotations": [
            {
                "id": row, "image_id": ids[image], "category_id": CLASSES.index(name) + 1, "iscrowd": 0,
                "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1),
            }
            for row, (image, name, x1, y1, x2, y2) in enumerate(truth.select("image", "class_name", *CORNERS).rows(), 1)
        ],
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels.json").write_text(json.dumps(document), encoding="utf-8")
    return examine(folder / "labels.json", tier=Tier.LABELS, cache=False)


def labelled(change: Callable[[pl.DataFrame], pl.DataFrame], **options: Any) -> Subject:
    """What a good detector says of the true objects, scored against the labels that `change` leaves."""

    def make(folder: Path) -> list[Facts]:
        truth, _guesses, images = good_detector()
        # An error that is as sure as a right answer could not be told from a wrong label: this one confuses nothing.
        guesses = detector(truth, images, np.random.default_rng(1), confused=0.0)
        data = coco(folder / "data", change(truth), images)
        return [data, *scored(truth_of(data, images), guesses, images, **options)]

    return make


def some(truth: pl.DataFrame) -> pl.Expr:
    """One object in fifty."""
    return pl.int_range(len(truth)) % 50 == 7


def left_out(truth: pl.DataFrame) -> pl.DataFrame:
    return truth.filter(~some(truth))


def renamed(truth: pl.DataFrame) -> pl.DataFrame:
    names = dict(zip(CLASSES, (*CLASSES[1:], CLASSES[0]), strict=True))
    other = pl.col("class_name").replace_strict(names)
    return truth.with_columns(pl.when(some(truth)).then(other).otherwise("class_name").alias("class_name"))


def moved(truth: pl.DataFrame) -> pl.DataFrame:
    across, down = pl.col("x2") - pl.col("x1"), pl.col("y2") - pl.col("y1")
    steps = {"x1": across, "x2": across, "y1": down, "y2": down}
    return truth.with_columns(
        pl.when(some(truth)).then(pl.col(c) + 0.4 * step).otherwise(c).alias(c) for c, step in steps.items()
    )


@cache
def sure_digits() -> tuple[list[str], np.ndarray]:
    """True classes of 899 digits, and the probabilities of trees that were grown on the others: 97 % accuracy."""
    from sklearn.datasets import load_digits
    from sklearn.ensemble import ExtraTreesClassifier

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(1).permutation(len(x))
    train, test = order[:898], order[898:]
    trees = ExtraTreesClassifier(300, random_state=0).fit(x[train], y[train])
    return [str(k) for k in y[test]], trees.predict_proba(x[test])


def relabelled(share: float) -> Subject:
    """Real digits in class folders, `share` of them in a wrong one, and a classifier that never saw any.

    The files are empty, as no pixel is read.
    """

    def make(folder: Path) -> list[Facts]:
        true, p = sure_digits()
        rng = np.random.default_rng(3)
        wrong = rng.random(len(true)) < share
        labels = [str((int(k) + rng.integers(1, 10)) % 10) if bad else k for k, bad in zip(true, wrong, strict=True)]
        images = [f"{label}/{i:04d}.png" for i, label in enumerate(labels)]
        for image in images:
            path = folder / "data" / image
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        data = examine(folder / "data", tier=Tier.LABELS, cache=False)
        return [data, evaluate_classification(images, labels, p, sorted(set(true)))]

    return make


CLEAN: Mapping[str, Subject] = {
    "detector and its data": labelled(lambda truth: truth),
    "detector that learned half of it": labelled(lambda t: t, learned=[f"{i:04d}.jpg" for i in range(0, 150, 2)]),
    "classifier and its data": relabelled(0.0),
}

SICK: Mapping[str, Subject] = {
    "overlooked-object": labelled(left_out),
    "swapped-class": labelled(renamed),
    "misplaced-box": labelled(moved),
    "mislabelled-image": relabelled(0.06),
}

ALSO: Mapping[str, set[str]] = {}
