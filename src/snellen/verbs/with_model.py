"""What a model says of a whole dataset, for the rules that look for wrong labels."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from snellen.data.facts import DataFacts
from snellen.errors import UseError
from snellen.evaluation.facts import ScoreFacts
from snellen.progress import Progress, silent
from snellen.verbs.evaluate import is_run
from snellen.verbs.scoring.truth import class_ids_of, classes_of, names_of, truth_of


@dataclass(frozen=True)
class Opinion:
    """What `opinion_of` returns."""

    scores: ScoreFacts
    unreadable: Mapping[str, str]
    """Image -> why it could not be read; nothing is said of it."""


def opinion_of(subject: Path, data: DataFacts, progress: Progress = silent) -> Opinion:
    """Score `subject` on every image of `data`, of all splits: a run folder, or predictions as `evaluate` takes them.

    Of a run the best weights predict all labelled images, and its ledger tells which of them it learned from; of
    predictions, the images are those that they name. Raises UseError when the subject cannot be read, or is for
    another task.
    """
    if data.task not in ("classification", "detection"):
        raise UseError(f"{subject}: a model judges labelled images or objects; {data.root} is a {data.task} dataset")
    if is_run(subject):
        return _of_run(subject, data, progress)
    if not subject.exists():
        raise UseError(f"{subject}: no such run, nor file or folder of predictions")
    of_objects = data.task == "detection"
    return Opinion(_of_boxes(subject, data) if of_objects else _of_labels(subject, data, progress), {})


def _of_run(folder: Path, data: DataFacts, progress: Progress) -> Opinion:
    from snellen.evaluation.classification import evaluate_classification
    from snellen.evaluation.detection import evaluate_detection
    from snellen.training.predict import load_ledger, load_run, predict
    from snellen.training.splits import trained_on

    model, recipe, class_names = load_run(folder)
    if recipe.task != data.task:
        raise UseError(f"{folder}: trained for {recipe.task}, and {data.root} is a {data.task} dataset")
    there = data.images.filter(pl.col("exists").fill_null(True) & pl.col("error").is_null() & pl.col("listed"))
    if data.task == "classification":
        there = there.drop_nulls("class_name")
    images = list(there["image"])
    learned = trained_on(load_ledger(folder))
    if learned is not None and learned.isdisjoint(images):
        # Another dataset, or this one under another root: its names say nothing.
        learned = None
    found = predict(model, recipe, class_names, {i: Path(data.root) / i for i in images}, progress=progress)
    split = _split(len(found.images), None if learned is None else len(learned.intersection(found.images)))
    if data.task == "detection":
        scores = evaluate_detection(
            truth_of(data, found.images), found.predictions, _classes(class_names, data), images=found.images,
            split=split, input_size=recipe.image_size, learned=learned, bootstrap=0,
        )  # fmt: skip
    else:
        labels = dict(there.select("image", "class_name").iter_rows())
        scores = evaluate_classification(
            found.images, [labels[i] for i in found.images], found.probabilities, class_names,  # type: ignore[arg-type]
            split=split, input_size=recipe.image_size, learned=learned, bootstrap=0,
        )  # fmt: skip
    return Opinion(scores, found.unreadable)


def _of_labels(path: Path, data: DataFacts, progress: Progress) -> ScoreFacts:
    from snellen.verbs.scoring.labels import score_labels

    # Without splits, all images are asked for.
    whole = replace(data, images=data.images.with_columns(pl.lit(None, dtype=pl.String).alias("split")), splits=[])
    scores = score_labels(path, whole, None, progress)
    return replace(scores, split=_split(scores.images, None))


def _of_boxes(path: Path, data: DataFacts) -> ScoreFacts:
    from snellen.evaluation.detection import evaluate_detection
    from snellen.evaluation.read import read_predictions

    every = list(data.images["image"])
    sizes = {image: (w, h) for image, w, h in data.sizes().drop_nulls().iter_rows()}
    told, problems = read_predictions(
        path, image_names=names_of(data, every), class_names=class_ids_of(data), image_sizes=sizes
    )
    images = list(data.images.filter(pl.col("image").is_in(told["image"].implode()))["image"])
    if not images:
        raise UseError(f"{path}: names no image of {data.root}")
    scores = evaluate_detection(
        truth_of(data, images), told, _classes([], data), images=images, split=_split(len(images), None), bootstrap=0,
    )  # fmt: skip
    return replace(scores, problems=pl.concat([problems, scores.problems]))


def _classes(known: list[str], data: DataFacts) -> list[str]:
    """Those that the model knows, then the others: an object of one that it never learned is labelled all the same."""
    return list(dict.fromkeys([*known, *classes_of(data)]))


def _split(images: int, learned: int | None) -> str:
    """What the scores are on, in words."""
    if learned is None:
        return f"all ({images:,} images, not known whether trained on)"
    return f"all ({images - learned:,} images held out, {learned:,} trained on)"
