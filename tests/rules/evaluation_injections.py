"""Healthy predictions, and the same with one defect each, scored by the evaluators."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from snellen.data.examine import examine
from snellen.evaluation.classification import evaluate_classification
from snellen.evaluation.detection import evaluate_detection
from snellen.evaluation.facts import ScoreFacts
from snellen.evaluation.multilabel import evaluate_multilabel
from snellen.evaluation.panoptic import PanopticImage, Segment, evaluate_panoptic
from snellen.evaluation.read import read_predictions
from snellen.evaluation.records import sift_boxes
from snellen.evaluation.semantic import evaluate_semantic
from snellen.evaluation.suppression import by_image_and_class, suppress
from snellen.findings.severity import Tier
from snellen.verbs.scoring.predictions import score_predictions

Subject = Callable[[Path], list[Any]]
CLASSES = ("cat", "dog", "bird", "fish")
SIZE = 640.0


# --- classification: a real classifier on real digits -----------------------------------------------------------


@cache
def digits(noise: float = 0.0) -> tuple[list[str], np.ndarray, float]:
    """True classes and probabilities on 899 held-out images of scikit-learn's digits, and the training accuracy.

    About 96 % accuracy; `noise` on the (standardised) pixels makes it worse.
    """
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    x, y = load_digits(return_X_y=True)
    x = StandardScaler().fit_transform(x) + np.random.default_rng(0).normal(0, noise, x.shape)
    order = np.random.default_rng(1).permutation(len(x))
    train, test = order[:898], order[898:]
    model = LogisticRegression(max_iter=2000, C=0.01 if noise else 0.3).fit(x[train], y[train])
    return [str(k) for k in y[test]], model.predict_proba(x[test]), float(model.score(x[train], y[train]))


def classified(labels: list[str], p: np.ndarray, names: list[str] | None = None, **options: Any) -> list[ScoreFacts]:
    names = names or [str(k) for k in range(p.shape[1])]
    return [evaluate_classification([f"{i:04d}.png" for i in range(len(labels))], labels, p, names, **options)]


def good_digits(_: Path) -> list[ScoreFacts]:
    labels, p, trained = digits()
    return _beside(classified(labels, p, train_scores={"accuracy": trained}), 9, 14)


def _beside(scores: list[ScoreFacts], only_baseline: int, only_network: int) -> list[ScoreFacts]:
    """With a simple baseline, and the images that one of the two alone gets right."""
    images, right = 360, 300
    told = {
        "name": "hog+colour+logistic", "images": images, "accuracy": (right + only_baseline) / images,
        "network": (right + only_network) / images, "only_baseline": only_baseline, "only_network": only_network,
    }  # fmt: skip
    return [replace(scores[0], simple_baseline=told)]


def behind_the_baseline(path: Path) -> list[ScoreFacts]:
    return _beside(good_digits(path), 40, 15)


def mediocre_digits(_: Path) -> list[ScoreFacts]:
    labels, p, trained = digits(noise=2.0)
    return classified(labels, p, train_scores={"accuracy": trained})


def few_digits(_: Path) -> list[ScoreFacts]:
    labels, p, _score = digits()
    return classified(labels[:60], p[:60])


def two_classes(_: Path) -> list[ScoreFacts]:
    labels, p, _score = digits()
    pair = [i for i, label in enumerate(labels) if label in "38"]
    q = p[pair][:, [3, 8]]
    return classified([labels[i] for i in pair], q / q.sum(1, keepdims=True), ["3", "8"])


# --- detection: objects and what a detector makes of them -------------------------------------------------------


def objects(
    rng: np.random.Generator, images: int, per_image: float, classes: int, small: float = 0.1
) -> tuple[pl.DataFrame, list[str]]:
    """Random objects that hardly overlap; a share `small` is below 32 x 32 px."""
    names = [f"{i:04d}.jpg" for i in range(images)]
    rows = []
    for name in names:
        cells = rng.permutation(16)[: min(16, max(1, rng.poisson(per_image)))]
        for cell in cells:
            side = rng.uniform(14, 30, 2) if rng.random() < small else rng.uniform(40, 130, 2)
            x, y = 160 * (cell % 4) + rng.uniform(0, 25), 160 * (cell // 4) + rng.uniform(0, 25)
            k = rng.choice(classes, p=_shares(classes))
            rows.append((name, CLASSES[k], x, y, x + side[0], y + side[1]))
    return pl.DataFrame(rows, schema=["image", "class_name", "x1", "y1", "x2", "y2"], orient="row"), names


def _shares(classes: int) -> np.ndarray:
    weights = 1.0 / np.arange(1, classes + 1)
    return weights / weights.sum()


def detector(
    truth: pl.DataFrame,
    images: list[str],
    rng: np.random.Generator,
    *,
    jitter: float = 0.05,
    missed: float = 0.05,
    confused: float = 0.03,
    noise: float = 3.0,
    classes: int = 4,
    certainty: tuple[float, float] = (6.0, 1.5),
) -> pl.DataFrame:
    """What a detector says of `truth`: jittered boxes, some missed, some misnamed, and low-scored boxes elsewhere."""
    rows: list[tuple[Any, ...]] = []
    for image, name, x1, y1, x2, y2 in truth.select("image", "class_name", "x1", "y1", "x2", "y2").iter_rows():
        if rng.random() < missed:
            continue
        w, h = x2 - x1, y2 - y1
        dx1, dy1, dx2, dy2 = rng.normal(0, jitter, 4) * [w, h, w, h]
        named = CLASSES[rng.integers(classes)] if rng.random() < confused else name
        score = rng.beta(*certainty)
        rows.append((image, named, score, x1 + dx1, y1 + dy1, max(x2 + dx2, x1 + dx1 + 1), max(y2 + dy2, y1 + dy1 + 1)))
    for image in images:
        for _ in range(rng.poisson(noise)):
            x, y = rng.uniform(0, 500, 2)
            w, h = rng.uniform(20, 140, 2)
            rows.append((image, CLASSES[rng.integers(classes)], rng.beta(1, 8), x, y, x + w, y + h))
    return pl.DataFrame(rows, schema=["image", "class_name", "score", "x1", "y1", "x2", "y2"], orient="row")


@cache
def good_detector(
    images: int = 150, per_image: float = 4, classes: int = 4
) -> tuple[pl.DataFrame, pl.DataFrame, list[str]]:
    rng = np.random.default_rng(images)
    truth, names = objects(rng, images, per_image, classes)
    return truth, detector(truth, names, rng, classes=classes), names


def scored(
    truth: pl.DataFrame, predictions: pl.DataFrame, images: list[str], classes: int = 4, **options: Any
) -> list[ScoreFacts]:
    return [evaluate_detection(truth, predictions, CLASSES[:classes], images=images, **options)]


def good_detections(_: Path) -> list[ScoreFacts]:
    return scored(*good_detector(), input_size=640, train_scores={"mAP50": 0.97})


def mediocre_detections(_: Path) -> list[ScoreFacts]:
    """About mAP 0.3: a short training. Boxes are loose, a third is missed, scores overlap."""
    rng = np.random.default_rng(3)
    truth, images = objects(rng, 200, 4, 3)
    guesses = detector(
        truth, images, rng, jitter=0.1, missed=0.25, confused=0.1, noise=12, classes=3, certainty=(3.0, 2.5)
    )
    return scored(truth, guesses, images, 3, train_scores={"mAP50": 0.6})


def one_class(_: Path) -> list[ScoreFacts]:
    return scored(*good_detector(100, 3, 1), 1)


def small_set(_: Path) -> list[ScoreFacts]:
    return scored(*good_detector(16, 6, 2), 2)


def perfect_detections(_: Path) -> list[ScoreFacts]:
    truth, _guesses, images = good_detector()
    rng = np.random.default_rng(5)
    return scored(truth, truth.with_columns(pl.Series("score", rng.uniform(0.6, 1, len(truth)))), images)


def crowded(_: Path) -> list[ScoreFacts]:
    """Crowd regions are not objects, and a detector's boxes in them are no errors."""
    truth, guesses, images = good_detector()
    rng = np.random.default_rng(6)
    crowd = truth.with_columns(pl.Series("crowd", rng.random(len(truth)) < 0.1))
    return scored(crowd, guesses, images)


def several_labels(_: Path) -> list[ScoreFacts]:
    rng = np.random.default_rng(7)
    truth = rng.random((400, 4)) < 0.3
    scores = np.clip(0.4 * truth + 0.6 * rng.random(truth.shape), 0, 1)
    return [evaluate_multilabel([f"{i:04d}.jpg" for i in range(400)], truth, scores, CLASSES)]


def label_maps(_: Path) -> list[ScoreFacts]:
    """Regions whose borders are a few pixels off."""
    rng = np.random.default_rng(8)
    pairs = []
    for i in range(60):
        truth = rng.integers(0, 4, (6, 8)).repeat(12, axis=0).repeat(12, axis=1)
        pairs.append((f"{i:04d}.png", truth, np.roll(truth, rng.integers(-2, 3, 2), axis=(0, 1))))
    return [evaluate_semantic(pairs, CLASSES)]


def segments(_: Path) -> list[ScoreFacts]:
    """Tiles as segments, the odd one misnamed."""
    rng = np.random.default_rng(9)
    images = []
    for i in range(60):
        ids = np.arange(1, 25).reshape(4, 6).repeat(12, axis=0).repeat(12, axis=1)
        truth = [Segment(k, CLASSES[rng.integers(4)], crowd=bool(rng.random() < 0.03)) for k in range(1, 25)]
        told = [Segment(s.id, s.class_name if rng.random() < 0.9 else CLASSES[rng.integers(4)]) for s in truth]
        images.append(
            PanopticImage(f"{i:04d}.png", ids, truth, np.roll(ids, rng.integers(-2, 3, 2), axis=(0, 1)), told)
        )
    return [evaluate_panoptic(images, CLASSES, CLASSES[:2])]


CLEAN: dict[str, Subject] = {
    "several labels": several_labels,
    "label maps": label_maps,
    "segments": segments,
    "good digits": good_digits,
    "mediocre digits": mediocre_digits,
    "few digits": few_digits,
    "two classes": two_classes,
    "good detections": good_detections,
    "mediocre detections": mediocre_detections,
    "one class": one_class,
    "small set": small_set,
    "perfect detections": perfect_detections,
    "crowded": crowded,
}


# --- one defect each --------------------------------------------------------------------------------------------


def no_predictions(_: Path) -> list[ScoreFacts]:
    truth, guesses, images = good_detector()
    return scored(truth, guesses.filter(pl.col("score") > 2), images)


def ids_as_names(_: Path) -> list[ScoreFacts]:
    """Ids from 1 on one side and from 0 on the other, with numbers as names."""
    truth, guesses, images = good_detector()
    from_zero = {name: str(k) for k, name in enumerate(CLASSES)}
    from_one = {name: str(k + 1) for k, name in enumerate(CLASSES)}
    return [
        evaluate_detection(
            truth.with_columns(pl.col("class_name").replace_strict(from_zero)),
            guesses.with_columns(pl.col("class_name").replace_strict(from_one)),
            list(from_zero.values()),
            images=images,
        )
    ]


def shifted(_: Path) -> list[ScoreFacts]:
    truth, guesses, images = good_detector()
    following = {name: CLASSES[(k + 1) % 4] for k, name in enumerate(CLASSES)}
    return scored(truth, guesses.with_columns(pl.col("class_name").replace_strict(following)), images)


def stems(_: Path) -> list[ScoreFacts]:
    truth, guesses, images = good_detector()
    return scored(truth, guesses.with_columns(pl.col("image").str.replace(".jpg", "", literal=True)), images)


def some_nan(_: Path) -> list[ScoreFacts]:
    truth, guesses, images = good_detector()
    broken = pl.int_range(pl.len()) % 50 == 0
    return scored(truth, guesses.with_columns(pl.when(broken).then(float("nan")).otherwise("x1").alias("x1")), images)


def logits(_: Path) -> list[ScoreFacts]:
    labels, p, _score = digits()
    return classified(labels, np.log(p))


def network_pixels(_: Path) -> list[ScoreFacts]:
    """Boxes at the network's input of 320 x 240, never scaled back."""
    truth, guesses, images = good_detector()
    return scored(truth, guesses.with_columns(pl.col("x1", "x2") * 0.5, pl.col("y1", "y2") * 0.375), images)


def as_xywh(_: Path) -> list[ScoreFacts]:
    truth, guesses, images = good_detector()
    return scored(truth, guesses.with_columns(x2=pl.col("x2") - pl.col("x1"), y2=pl.col("y2") - pl.col("y1")), images)


def some_empty(_: Path) -> list[ScoreFacts]:
    truth, guesses, images = good_detector()
    broken = pl.int_range(pl.len()) % 20 == 0
    return scored(truth, guesses.with_columns(pl.when(broken).then("x1").otherwise("x2").alias("x2")), images)


def forgotten_class(_: Path) -> list[ScoreFacts]:
    labels, p, _score = digits()
    p = p.copy()
    p[:, 4] = 0.0
    return classified(labels, p / p.sum(1, keepdims=True))


def confused_pair(_: Path) -> list[ScoreFacts]:
    labels, p, _score = digits()
    rng = np.random.default_rng(0)
    p = p.copy()
    for i, label in enumerate(labels):
        if label == "9" and rng.random() < 0.5:
            p[i, [8, 9]] = 0.6 * p[i, 9], 0.4 * p[i, 9]
    return classified(labels, p / p.sum(1, keepdims=True))


def loose_boxes(_: Path) -> list[ScoreFacts]:
    truth, _guesses, images = good_detector()
    rng = np.random.default_rng(2)
    return scored(truth, detector(truth, images, rng, jitter=0.3), images)


def sure_background(_: Path) -> list[ScoreFacts]:
    """Boxes on nothing that score as the right ones of a weak detector do."""
    truth, _guesses, images = good_detector()
    rng = np.random.default_rng(2)
    guesses = detector(truth, images, rng, certainty=(1.2, 6.0), noise=12)
    return scored(truth, guesses, images)


def no_suppression(_: Path) -> list[ScoreFacts]:
    truth, guesses, images = good_detector()
    again = guesses.with_columns(pl.col("score") * 0.97, pl.col("x1") + 2, pl.col("x2") + 2)
    return scored(truth, pl.concat([guesses, again]), images)


def blind_to_small(_: Path) -> list[ScoreFacts]:
    rng = np.random.default_rng(9)
    truth, images = objects(rng, 150, 4, 4, small=0.35)
    area = (pl.col("x2") - pl.col("x1")) * (pl.col("y2") - pl.col("y1"))
    seen = truth.filter((area > 1024) | (pl.int_range(pl.len()) % 8 == 0))
    return scored(truth, detector(seen, images, rng), images, input_size=320)


def boasting(_: Path) -> list[ScoreFacts]:
    labels, p, _score = digits(noise=2.0)
    sharp = p**6
    return classified(labels, sharp / sharp.sum(1, keepdims=True))


def learned_by_heart(_: Path) -> list[ScoreFacts]:
    labels, p, _score = digits(noise=2.0)
    return classified(labels, p, train_scores={"accuracy": 1.0})


def always_three(_: Path) -> list[ScoreFacts]:
    labels, p, _score = digits()
    return classified(labels, np.tile(np.eye(10)[3] * 0.1 + 0.09, (len(p), 1)))


def wrong_labels(_: Path) -> list[ScoreFacts]:
    """Six in a hundred labels of the held-out images are changed."""
    true, p, _score = digits()
    rng = np.random.default_rng(1)
    labels = [str((int(k) + rng.integers(1, 10)) % 10) if rng.random() < 0.06 else k for k in true]
    return classified(labels, p)


def unlabelled(_: Path) -> list[ScoreFacts]:
    truth, guesses, images = good_detector()
    return scored(truth.filter(pl.int_range(pl.len()) % 10 != 0), guesses, images)


def tiny_validation(_: Path) -> list[ScoreFacts]:
    labels, p, _score = digits(noise=2.0)
    return classified(labels[:40], p[:40])


def cut_scores(_: Path) -> list[ScoreFacts]:
    truth, _guesses, images = good_detector()
    guesses = detector(truth, images, np.random.default_rng(4), certainty=(3.0, 2.0))
    return scored(truth, guesses.filter(pl.col("score") >= 0.6), images)


def scaled_scores(_: Path) -> list[ScoreFacts]:
    """Half of the classes score in the upper half of the scale, the others in the lower."""
    truth, guesses, images = good_detector()
    low = pl.col("class_name").is_in(["dog", "fish"])
    half = pl.when(low).then(pl.col("score") / 2).otherwise(0.5 + pl.col("score") / 2)
    return scored(truth, guesses.with_columns(half.alias("score")), images)


def inflated(_: Path) -> list[ScoreFacts]:
    """The order of a mediocre detector's scores, and none below 0.4."""
    rng = np.random.default_rng(3)
    truth, images = objects(rng, 200, 4, 3)
    guesses = detector(truth, images, rng, jitter=0.08, missed=0.15, noise=6, classes=3, certainty=(3.0, 2.5))
    return scored(truth, guesses.with_columns(pl.col("score") ** 0.3), images, 3)


def in_pairs(apart: tuple[float, float], other_class: bool = False) -> tuple[pl.DataFrame, pl.DataFrame, list[str]]:
    """(objects, their neighbours, images): most objects have one beside them, shifted by a part of their width."""
    rng = np.random.default_rng(12)
    truth, images = objects(rng, 200, 4, 4)
    shift = (pl.col("x2") - pl.col("x1")) * pl.Series(rng.uniform(*apart, len(truth)))
    beside = truth.with_columns(pl.col("x1") + shift, pl.col("x2") + shift).filter(pl.int_range(pl.len()) % 5 < 3)
    if other_class:
        names = dict(zip(CLASSES, (*CLASSES[1:], CLASSES[0]), strict=True))
        beside = beside.with_columns(pl.col("class_name").replace_strict(names))
    return truth, beside, images


def over_suppressed(_: Path) -> list[ScoreFacts]:
    """Pairs of one class, and suppression at an IoU of 0.35."""
    truth, beside, images = in_pairs((0.25, 0.6))
    truth = pl.concat([truth, beside])
    guesses = detector(truth, images, np.random.default_rng(1))
    sifted, _problems = sift_boxes(guesses, images, CLASSES, scored=True)
    order, groups = by_image_and_class(sifted, len(CLASSES), len(images))
    return scored(truth, guesses[order[suppress(groups, 0.35)]], images)


def blind_in_crowds(_: Path) -> list[ScoreFacts]:
    """Of two objects of different classes that overlap, most often neither is found."""
    truth, beside, images = in_pairs((0.1, 0.4), other_class=True)
    lone = pl.int_range(pl.len()) % 5 >= 3
    some = pl.int_range(pl.len()) % 4 == 0
    seen = pl.concat([truth.filter(lone | some), beside.filter(some)])
    return scored(pl.concat([truth, beside]), detector(seen, images, np.random.default_rng(1)), images)


def blind_at_the_border(_: Path) -> list[ScoreFacts]:
    """The leftmost objects are cut by the edge of the image; most of these are missed."""
    truth, _guesses, images = good_detector(200)
    cut = pl.col("x1") < 30
    width = pl.col("x2") - pl.col("x1")
    truth = truth.with_columns(x1=pl.when(cut).then(0.0).otherwise("x1"), x2=pl.when(cut).then(width).otherwise("x2"))
    seen = truth.filter((pl.col("x1") > 0) | (pl.int_range(pl.len()) % 16 == 0))
    sizes = pl.DataFrame({"image": images, "width": SIZE, "height": SIZE})
    return scored(truth, detector(seen, images, np.random.default_rng(1)), images, image_properties=sizes)


def blind_in_the_dark(_: Path) -> list[ScoreFacts]:
    """Most objects of the darkest quarter of the images are missed."""
    truth, _guesses, images = good_detector(200)
    brightness = np.random.default_rng(2).uniform(0.1, 0.9, len(images))
    dark = [image for image, value in zip(images, brightness, strict=True) if value < 0.3]
    seen = truth.filter(~pl.col("image").is_in(dark) | (pl.int_range(pl.len()) % 4 == 0))
    light = pl.DataFrame({"image": images, "brightness": brightness})
    return scored(truth, detector(seen, images, np.random.default_rng(1)), images, image_properties=light)


def misnamed(_: Path) -> list[ScoreFacts]:
    """Well placed boxes of which four in ten have any other name."""
    truth, _guesses, images = good_detector()
    return scored(truth, detector(truth, images, np.random.default_rng(2), confused=0.55), images)


def grazing(_: Path) -> list[ScoreFacts]:
    """Beside every object, a sure box of another class that overlaps it by about a third."""
    truth, guesses, images = good_detector()
    names = dict(zip(CLASSES, (*CLASSES[1:], CLASSES[0]), strict=True))
    shift = (pl.col("x2") - pl.col("x1")) * 0.5
    beside = truth.with_columns(
        pl.col("class_name").replace_strict(names), pl.col("x1") + shift, pl.col("x2") + shift,
        score=pl.Series(np.random.default_rng(3).beta(6, 1.5, len(truth))),
    ).select(guesses.columns)  # fmt: skip
    return scored(truth, pl.concat([guesses, beside]), images)


def unreadable_records(folder: Path) -> list[ScoreFacts]:
    """A file of results in which every twentieth record has lost its score, and one is a number."""
    truth, guesses, images = good_detector()
    records: list[Any] = [
        {"image_id": image, "category_id": name, "score": score, "bbox": [x1, y1, x2 - x1, y2 - y1]}
        for image, name, score, x1, y1, x2, y2 in guesses.iter_rows()
    ]
    for record in records[::20]:
        del record["score"]
    records[7] = 7
    path = folder / "results.json"
    path.write_text(json.dumps(records))
    told, problems = read_predictions(path)
    found = evaluate_detection(truth, told, CLASSES, images=images)
    return [replace(found, problems=pl.concat([problems, found.problems]))]


def outlined(records: pl.DataFrame) -> pl.DataFrame:
    """The same with the box as outline."""
    rings = [[[x1, y1, x2, y1, x2, y2, x1, y2]] for x1, y1, x2, y2 in records.select("x1", "y1", "x2", "y2").rows()]
    return records.with_columns(pl.Series("rings", rings, dtype=pl.List(pl.List(pl.Float64))))


def broken_outlines(_: Path) -> list[ScoreFacts]:
    """Every thirtieth predicted outline has two points."""
    truth, guesses, images = good_detector()
    line = pl.lit([[1.0, 2.0, 3.0, 4.0]], dtype=pl.List(pl.List(pl.Float64)))
    broken = pl.when(pl.int_range(pl.len()) % 30 == 0).then(line).otherwise("rings")
    sizes = pl.DataFrame({"image": images, "width": SIZE, "height": SIZE})
    told = outlined(guesses).with_columns(broken.alias("rings"))
    return scored(outlined(truth), told, images, by="mask", image_properties=sizes)


def network_sized_masks(_: Path) -> list[ScoreFacts]:
    """A quarter of the label maps at the network's size."""
    rng = np.random.default_rng(8)
    pairs = []
    for i in range(60):
        truth = rng.integers(0, 4, (6, 8)).repeat(12, axis=0).repeat(12, axis=1)
        pairs.append((f"{i:04d}.png", truth, truth if i % 4 else truth[:64, :64]))
    return [evaluate_semantic(pairs, CLASSES)]


def half_predicted(folder: Path) -> list[Any]:
    """A CSV of labels that stops after two thirds of the images."""
    for name in CLASSES:
        (folder / "set" / name).mkdir(parents=True)
        for i in range(60):
            Image.new("L", (8, 8), 40 + i).save(folder / "set" / name / f"{name}{i}.png")
    rows = [f"{name}{i}.png,{name}" for name in CLASSES for i in range(60) if i % 3]
    (folder / "told.csv").write_text("\n".join(["image,label", *rows]))
    data = examine(folder / "set", tier=Tier.HEADERS, cache=False)
    return [score_predictions(folder / "told.csv", data)]


def written_twice(_: Path) -> list[ScoreFacts]:
    truth, guesses, images = good_detector()
    return scored(truth, pl.concat([guesses, guesses]), images)


def broken_truth(_: Path) -> list[ScoreFacts]:
    truth, guesses, images = good_detector()
    broken = pl.when(pl.int_range(pl.len()) % 40 == 0).then(float("nan")).otherwise("x1")
    return scored(truth.with_columns(broken.alias("x1")), guesses, images)


def boxes_of_nothing(_: Path) -> list[ScoreFacts]:
    """A class that is nowhere, and that the detector sees in a quarter of the images, as sure as of the others."""
    rng = np.random.default_rng(5)
    truth, images = objects(rng, 150, 4, 3)
    guesses = detector(truth, images, rng, classes=3)
    rows = []
    for image in images:
        for _box in range(rng.poisson(0.8)):
            x, y = rng.uniform(0, 500, 2)
            w, h = rng.uniform(20, 140, 2)
            rows.append((image, "fish", rng.beta(4, 3), x, y, x + w, y + h))
    return scored(truth, pl.concat([guesses, pl.DataFrame(rows, schema=guesses.schema, orient="row")]), images)


def lost_ids(_: Path) -> list[ScoreFacts]:
    """Segments written under another id than the pictures hold, one an image in every fifth."""
    rng = np.random.default_rng(9)
    images = []
    for i in range(60):
        ids = np.arange(1, 25).reshape(4, 6).repeat(12, axis=0).repeat(12, axis=1)
        truth = [Segment(k, CLASSES[rng.integers(4)]) for k in range(1, 25)]
        told = [Segment(99 if s.id == 7 and i % 5 == 0 else s.id, s.class_name) for s in truth]
        images.append(PanopticImage(f"{i:04d}.png", ids, truth, ids, told))
    return [evaluate_panoptic(images, CLASSES, CLASSES[:2])]


SICK: dict[str, Subject] = {
    "worse-than-simple-baseline": behind_the_baseline,
    "unreadable-prediction": unreadable_records,
    "unreadable-predicted-shape": broken_outlines,
    "prediction-of-other-size": network_sized_masks,
    "image-without-prediction": half_predicted,
    "repeated-prediction": written_twice,
    "unusable-ground-truth": broken_truth,
    "predictions-of-absent-class": boxes_of_nothing,
    "predicted-segments-disagree": lost_ids,
    "no-predictions": no_predictions,
    "predictions-of-unknown-class": ids_as_names,
    "shifted-class-ids": shifted,
    "predictions-of-unknown-image": stems,
    "non-finite-prediction": some_nan,
    "score-out-of-range": logits,
    "boxes-in-other-units": network_pixels,
    "swapped-box-format": as_xywh,
    "unusable-predicted-box": some_empty,
    "class-never-predicted": forgotten_class,
    "class-confusion": confused_pair,
    "localisation-errors-dominate": loose_boxes,
    "background-errors-dominate": sure_background,
    "duplicate-detections": no_suppression,
    "missed-small-objects": blind_to_small,
    "overconfident-scores": boasting,
    "train-val-gap": learned_by_heart,
    "constant-prediction": always_three,
    "likely-label-errors": wrong_labels,
    "likely-unlabelled-objects": unlabelled,
    "too-few-validation-images": tiny_validation,
    "score-threshold-too-high": cut_scores,
    "one-threshold-for-all-classes": scaled_scores,
    "miscalibrated-detections": inflated,
    "suppression-removes-objects": over_suppressed,
    "failing-segment": blind_in_the_dark,
    "crowded-objects-missed": blind_in_crowds,
    "border-objects-missed": blind_at_the_border,
    "classification-errors-dominate": misnamed,
    "ambiguous-errors-dominate": grazing,
}

ALSO: dict[str, set[str]] = {}
