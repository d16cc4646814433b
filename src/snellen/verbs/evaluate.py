"""`evaluate`: score a run's model, or anybody's predictions, on a dataset."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import polars as pl

from snellen.data.facts import DataFacts
from snellen.environment import environment
from snellen.errors import UseError
from snellen.evaluation.facts import ScoreFacts
from snellen.findings.engine import judge
from snellen.findings.settings import LoadedSettings, chosen_rules, load_settings
from snellen.findings.severity import Tier
from snellen.progress import Progress, silent
from snellen.result import Result

if TYPE_CHECKING:
    from torch import nn

    from snellen.training.recipe import Recipe

TRAIN_SAMPLE = 200
"""Training images scored beside the validation split, to see the gap between the two."""


def evaluate(
    subject: str | Path,
    data: str | Path,
    *,
    split: str | None = None,
    settings: LoadedSettings | None = None,
    progress: Progress = silent,
) -> Result:
    """Score `subject`, a run folder or a file of predictions (COCO results JSON, CSV), against the truth in `data`.

    `split` names the images to score: for a run, by default, those it was validated with; for predictions, the `val`
    split, or all images where none is declared. Raises UseError when either cannot be read.
    """
    from snellen.data.examine import examine

    settings = settings or load_settings(Path.cwd())
    facts = examine(Path(data), tier=Tier.HEADERS, progress=progress)
    if Path(subject).is_dir():
        from snellen.training.predict import load_run

        model, recipe, class_names = load_run(Path(subject))
        scores = score_model(model, recipe, class_names, facts, split=split, progress=progress)
    else:
        scores = score_file(Path(subject), facts, split)
    rules = [rule for rule in chosen_rules(settings.values) if ScoreFacts in rule.needs().values()]
    verdict = judge([facts, scores], settings, rules=rules, data_root=Path(facts.root))
    return Result(subject=str(subject), verdict=verdict, data=facts, scores=scores, environment=environment())


def score_model(
    model: "nn.Module",
    recipe: "Recipe",
    class_names: Sequence[str],
    data: DataFacts,
    *,
    split: str | None = None,
    progress: Progress = silent,
) -> ScoreFacts:
    """Predict and score `split`; None: what a training with this recipe validates with, and a sample of the rest."""
    from snellen.training.samples import split_examples

    parts = split_examples(data, recipe.seed)
    if split is None:
        held_out, learned = [e.image for e in parts.val], [e.image for e in parts.train]
    else:
        held_out, learned = _images_of(data, split), []
    train_scores: dict[str, float] = {}
    if learned:
        some = learned[:: max(1, len(learned) // TRAIN_SAMPLE)]
        seen = _score(model, recipe, class_names, data, some, "train", {}, 0, progress)
        train_scores = {row["metric"]: row["value"] for row in seen.scores.to_dicts() if row["value"] is not None}
    return _score(model, recipe, class_names, data, held_out, split or "val", train_scores, 200, progress)


def _score(
    model: "nn.Module",
    recipe: "Recipe",
    class_names: Sequence[str],
    data: DataFacts,
    images: Sequence[str],
    split: str,
    train_scores: dict[str, float],
    bootstrap: int,
    progress: Progress,
) -> ScoreFacts:
    from snellen.evaluation.classification import evaluate_classification
    from snellen.evaluation.detection import evaluate_detection
    from snellen.training.predict import predict

    root = Path(data.root)
    stage = "predict" if split != "train" else "predict (train)"
    found = predict(
        model, recipe, class_names, {image: root / image for image in images},
        progress=lambda _, done, total, note="": progress(stage, done, total, note),
    )  # fmt: skip
    common = {"split": split, "input_size": recipe.image_size, "train_scores": train_scores, "bootstrap": bootstrap}
    if data.task == "detection":
        return evaluate_detection(truth_of(data, images), found.predictions, class_names, images=images, **common)  # type: ignore[arg-type]
    labels = dict(data.images.select("image", "class_name").iter_rows())
    truth = [str(labels[image]) for image in found.images]
    return evaluate_classification(found.images, truth, found.probabilities, class_names, **common)  # type: ignore[arg-type]


def score_file(path: Path, data: DataFacts, split: str | None) -> ScoreFacts:
    """Score the predictions in `path`. Raises UseError when they cannot be read, or `data` is not a detection set."""
    from snellen.evaluation.detection import evaluate_detection
    from snellen.evaluation.read import read_predictions

    if data.task != "detection":
        raise UseError(f"{path}: predictions in a file are scored for detection; {data.root} is a {data.task} dataset")
    images = _images_of(data, split)
    classes = list(data.classes.drop_nulls("class_name").sort("class_id")["class_name"])
    ids = {str(i): str(name) for i, name in data.classes.select("class_id", "class_name").drop_nulls().iter_rows()}
    predictions, problems = read_predictions(path, image_names=_names_of(data), class_names=ids)
    scores = evaluate_detection(truth_of(data, images), predictions, classes, images=images, split=split or "all")
    return replace(scores, problems=pl.concat([problems, scores.problems]))


def _names_of(data: DataFacts) -> dict[str, str]:
    """What a file of predictions may call an image -> its key: the format's own id, the file's name or its stem.

    A name that two images share stands for neither.
    """
    names: dict[str, str | None] = {}
    for image, own in data.images.select("image", "image_id").iter_rows():
        path = PurePosixPath(image)
        for name in {path.name, path.stem} if own is None else {own, path.name}:
            names[name] = image if names.get(name, image) == image else None
    return {name: image for name, image in names.items() if image is not None}


def truth_of(data: DataFacts, images: Sequence[str]) -> pl.DataFrame:
    """The usable objects of `images`: image, class_name, x1, y1, x2, y2, crowd."""
    boxes = data.boxes.filter(pl.col("usable") & pl.col("image").is_in(list(images)))
    return boxes.select("image", "class_name", "x1", "y1", "x2", "y2", pl.col("crowd").fill_null(False))


def _images_of(data: DataFacts, split: str | None) -> list[str]:
    """Images of the split; None: `val`, or all where nothing is declared. Raises UseError on an unknown one."""
    declared = sorted(data.images["split"].drop_nulls().unique())
    if split is None:
        split = "val" if "val" in declared else None
    elif split not in declared:
        raise UseError(f"{data.root}: no split {split!r}; declared are {', '.join(declared) or 'none'}")
    chosen = data.images if split is None else data.images.filter(pl.col("split") == split)
    return list(chosen.filter(pl.col("exists").fill_null(True))["image"])
