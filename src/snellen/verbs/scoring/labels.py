"""Scores the labels that a CSV gives to images: one each, or several where the dataset's objects say which are true."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from snellen.data.facts import DataFacts
from snellen.errors import UseError
from snellen.evaluation.facts import CURVES, PROBLEMS, RELIABILITY, SUSPECTS, ScoreFacts
from snellen.facts import table
from snellen.progress import Progress
from snellen.verbs.scoring.label_rows import LabelRows, class_columns, header_of, read_label_rows
from snellen.verbs.scoring.truth import class_ids_of, classes_of, images_of, names_of, split_of, truth_of

Floats = NDArray[np.float64]
TOLERANCE = 1e-3
"""Rows sum to 1 within this, as `evaluate_classification` asks."""
OF_LABELS = (
    "accuracy", "balanced_accuracy", "g_mean", "mcc", "kappa",
    *(f"{mean}_{name}" for mean in ("macro", "weighted") for name in ("precision", "recall", "f1", "f05", "f2")),
)  # fmt: skip
"""Metrics that follow from the labels alone; the others ask for probabilities."""


def is_label_table(path: Path, data: DataFacts) -> bool:
    """Whether a CSV gives a number to each class of an image, and no boxes."""
    if path.suffix.lower() != ".csv" or not path.is_file():
        return False
    header = header_of(path)
    boxes = {"x1", "xmin", "x2", "xmax"} & {name.lower() for name in header}
    return not boxes and bool(class_columns(header, classes_of(data), class_ids_of(data)))


def score_labels(path: Path, data: DataFacts, split: str | None, progress: Progress) -> ScoreFacts:
    """Score one label an image, or the probabilities or logits of all classes. Raises UseError as `read_label_rows`."""
    from snellen.evaluation.classification import evaluate_classification

    images = images_of(data, split)
    true = dict(
        data.images.filter(pl.col("image").is_in(images)).drop_nulls("class_name")
        .select("image", "class_name").iter_rows()
    )  # fmt: skip
    classes = list(dict.fromkeys([*classes_of(data), *sorted(set(true.values()))]))
    found = read_label_rows(path, classes, class_ids_of(data), names_of(data, images), list(true), progress)
    if found.numbers is None:
        found, p = _one_hot(found, classes)
        told = "labels without probabilities: what asks for these has no value"
    else:
        own, told = _probabilities(found.numbers)
        p = _of_all(own, found, classes)
    names = [true[image] for image in found.images]
    scores = evaluate_classification(found.images, names, p, classes, split=split_of(data, split) or "all")
    if found.labels is not None:
        scores = _without_probabilities(scores)
    return _told(scores, found, list(true), told)


def score_several_labels(path: Path, data: DataFacts, split: str | None, progress: Progress) -> ScoreFacts:
    """Score a number a class and image against the classes of the image's objects, each for itself."""
    from snellen.evaluation.multilabel import evaluate_multilabel

    images = images_of(data, split)
    classes = classes_of(data)
    found = read_label_rows(path, classes, class_ids_of(data), names_of(data, images), images, progress)
    assert found.numbers is not None  # a CSV without class columns is not taken for labels of a detection set
    held = truth_of(data, found.images).filter(~pl.col("crowd")).select("image", "class_name").unique()
    row, column = ({name: at for at, name in enumerate(names)} for names in (found.images, classes))
    truth = np.zeros((len(found.images), len(classes)))
    for image, name in held.iter_rows():
        truth[row[image], column[name]] = 1
    with np.errstate(invalid="ignore", over="ignore"):
        out = np.any((found.numbers < 0) | (found.numbers > 1), axis=1)
        logits = bool(2 * np.sum(out) > len(found.numbers))
        own = 1 / (1 + np.exp(-found.numbers)) if logits else found.numbers
    s = _of_all(own, found, classes)
    kind = "logits, to which the sigmoid was applied" if logits else "probabilities, each class for itself"
    told = f"several labels an image: the classes of its objects, crowd regions left out; read as {kind}"
    scores = evaluate_multilabel(found.images, truth, s, classes, split=split_of(data, split) or "all")
    return _told(scores, found, images, told)


def _of_all(numbers: Floats, found: LabelRows, classes: Sequence[str]) -> Floats:
    """The columns of the file among those of all classes; one that the file lacks has no chance."""
    every = np.zeros((len(numbers), len(classes)))
    every[:, found.columns] = numbers
    return every


def _probabilities(numbers: Floats) -> tuple[Floats, str]:
    """Distributions, as far as `numbers` are any or are logits, and how they were read."""
    with np.errstate(invalid="ignore", over="ignore"):
        within = ((numbers >= -TOLERANCE) & (numbers <= 1 + TOLERANCE)).all(axis=1)
        sums = np.abs(numbers.sum(axis=1) - 1) <= TOLERANCE
        if 2 * (within & sums).sum() >= len(numbers):
            return numbers, "probabilities: the rows sum to 1"
        if 2 * within.sum() >= len(numbers):
            return numbers, "numbers of 0..1 that do not sum to 1, neither probabilities nor logits"
        e = np.exp(numbers - numbers.max(axis=1, keepdims=True))
        p = e / e.sum(axis=1, keepdims=True)
    broken = ~np.isfinite(numbers).all(axis=1)
    p[broken] = numbers[broken]
    return p, "logits, to which softmax was applied: the rows do not sum to 1"


def _one_hot(found: LabelRows, classes: Sequence[str]) -> tuple[LabelRows, Floats]:
    """The rows whose label is a class, as distributions; the others become problems."""
    position = {name: k for k, name in enumerate(classes)}
    labels = found.labels or []
    good = [i for i, name in enumerate(labels) if name in position]
    problems = [
        {"kind": "unknown-class", "row": found.rows[i], "image": found.images[i], "value": name[:200]}
        for i, name in enumerate(labels)
        if name not in position
    ]
    p = np.zeros((len(good), len(classes)))
    p[np.arange(len(good)), [position[labels[i]] for i in good]] = 1
    return replace(
        found, images=[found.images[i] for i in good], rows=[found.rows[i] for i in good],
        labels=[labels[i] for i in good], problems=[*found.problems, *problems],
    ), p  # fmt: skip


def _without_probabilities(scores: ScoreFacts) -> ScoreFacts:
    """The same, without the numbers that mean nothing where a label is all that is known."""
    kept = pl.col("metric").is_in(OF_LABELS)
    why = pl.lit("the predictions are labels without probabilities")
    number = [pl.when(kept).then(name).otherwise(None).alias(name) for name in ("value", "low", "high")]
    none = pl.lit(None, dtype=pl.Float64)
    return replace(
        scores,
        scores=scores.scores.with_columns(*number, pl.when(kept).then("undefined").otherwise(why).alias("undefined")),
        predictions=scores.predictions.with_columns(none.alias("score"), none.alias("loss")),
        per_class=scores.per_class.with_columns(none.alias("ap"), none.alias("roc_auc")),
        curves=table(CURVES),
        reliability=table(RELIABILITY),
        suspects=table(SUSPECTS),
    )


def _told(scores: ScoreFacts, found: LabelRows, wanted: Sequence[str], told: str) -> ScoreFacts:
    """`scores` with the file's problems, rows as in the file, and the sentence that says what was read."""
    rows = dict(enumerate(found.rows, 1))
    own = scores.problems.with_columns(pl.col("row").replace_strict(rows, default=None, return_dtype=pl.Int64))
    refused = {p["image"] for p in found.problems}
    missing = [
        {"kind": "missing-prediction", "image": image, "value": "no row of the file names it"}
        for image in dict.fromkeys(wanted)
        if image not in set(found.images) | refused
    ]
    if not found.images and not len(own) and wanted and not found.problems:
        raise UseError("the file of predictions holds no row")
    for name, columns in (("not read", found.not_read), ("classes without a column, taken for 0", found.absent)):
        told += f"; {name}: {', '.join(columns[:10])}{' ...' if len(columns) > 10 else ''}" if columns else ""
    problems = pl.concat([table(PROBLEMS, found.problems), own, table(PROBLEMS, missing)])
    return replace(scores, problems=problems, convention=f"{told}; {scores.convention}")
