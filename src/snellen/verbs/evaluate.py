"""`evaluate`: score a run's model, or anybody's predictions, on a dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import polars as pl

from snellen.data.facts import DataFacts
from snellen.data.measuring import measure_again
from snellen.environment import environment
from snellen.errors import UseError
from snellen.evaluation.facts import ScoreFacts
from snellen.findings.engine import judge
from snellen.findings.settings import LoadedSettings, chosen_rules, load_settings
from snellen.findings.severity import Tier
from snellen.progress import Progress, silent
from snellen.result import Result
from snellen.verbs.image_properties import image_properties

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
        from snellen.training.predict import load_ledger, load_run

        model, recipe, class_names = load_run(Path(subject))
        if recipe.task != facts.task:
            raise UseError(f"{subject}: trained for {recipe.task}, and {facts.root} is a {facts.task} dataset")
        ledger = load_ledger(Path(subject))
        scored = score_model(model, recipe, class_names, facts, split=split, ledger=ledger, progress=progress)
        scores, facts = scored.scores, measure_again(facts, scored.unreadable)
    else:
        scores = score_file(Path(subject), facts, split, progress)
    rules = [rule for rule in chosen_rules(settings.values) if ScoreFacts in rule.needs().values()]
    verdict = judge([facts, scores], settings, rules=rules, data_root=Path(facts.root))
    return Result(subject=str(subject), verdict=verdict, data=facts, scores=scores, environment=environment())


@dataclass(frozen=True)
class Scored:
    """What `score_model` returns."""

    scores: ScoreFacts
    unreadable: Mapping[str, str]
    """Image -> why it could not be read; it is not scored."""


def score_model(
    model: "nn.Module",
    recipe: "Recipe",
    class_names: Sequence[str],
    data: DataFacts,
    *,
    split: str | None = None,
    ledger: pl.DataFrame | None = None,
    progress: Progress = silent,
) -> Scored:
    """Predict and score `split`; None: what the run with this `ledger` validated with, and a sample of the rest.

    Without a ledger, or with that of another dataset, the parts are those that a training would make of `data`.
    """
    if split is None:
        held_out, learned = _parts(data, recipe, ledger)
    else:
        held_out, learned = _images_of(data, split), []
    unreadable: dict[str, str] = {}
    train_scores: dict[str, float] = {}
    if learned:
        some = learned[:: max(1, len(learned) // TRAIN_SAMPLE)]
        seen = _score(model, recipe, class_names, data, some, "train", {}, 0, progress, unreadable)
        train_scores = {row["metric"]: row["value"] for row in seen.scores.to_dicts() if row["value"] is not None}
    scores = _score(
        model, recipe, class_names, data, held_out, split or "val", train_scores, 1000, progress, unreadable
    )
    return Scored(scores, unreadable)


def _parts(data: DataFacts, recipe: "Recipe", ledger: pl.DataFrame | None) -> tuple[list[str], list[str]]:
    """Images to validate with and those learned from. Drawn anew from data that changed, the two would mix."""
    from snellen.training.splits import split_examples

    if ledger is not None:
        there = data.images.filter(pl.col("exists").fill_null(True) & pl.col("error").is_null())
        used = ledger.filter(pl.col("used") & pl.col("image").is_in(there["image"].implode()))
        held_out, learned = (list(used.filter(split=part)["image"]) for part in ("val", "train"))
        if held_out:
            return held_out, learned
    parts = split_examples(data, recipe.seed)
    return [e.image for e in parts.val], [e.image for e in parts.train]


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
    unreadable: dict[str, str],
) -> ScoreFacts:
    from snellen.evaluation.classification import evaluate_classification
    from snellen.evaluation.detection import evaluate_detection
    from snellen.evaluation.segments import image_segments
    from snellen.evaluation.suspects import classification_suspects
    from snellen.training.predict import predict

    root = Path(data.root)
    stage = "predict" if split != "train" else "predict (train)"
    found = predict(
        model, recipe, class_names, {image: root / image for image in images},
        progress=lambda _, done, total, note="": progress(stage, done, total, note),
    )  # fmt: skip
    unreadable |= found.unreadable
    common = {"split": split, "input_size": recipe.image_size, "train_scores": train_scores, "bootstrap": bootstrap}
    if data.task == "detection":
        truth = truth_of(data, found.images)
        properties = image_properties(data, found.images, progress) if bootstrap else None
        return evaluate_detection(
            truth, found.predictions, class_names, images=found.images, image_properties=properties, **common,  # type: ignore[arg-type]
        )  # fmt: skip
    labels = dict(data.images.select("image", "class_name").iter_rows())
    names = [str(labels[image]) for image in found.images]
    scores = evaluate_classification(found.images, names, found.probabilities, class_names, **common)  # type: ignore[arg-type]
    if not bootstrap:
        return scores
    segments = image_segments(scores.predictions, image_properties(data, found.images, progress))
    return replace(scores, segments=segments, suspects=classification_suspects(scores.predictions))


def score_file(path: Path, data: DataFacts, split: str | None, progress: Progress = silent) -> ScoreFacts:
    """Score the predictions in `path`. Raises UseError when they cannot be read, or `data` is not a detection set."""
    from snellen.evaluation.detection import evaluate_detection
    from snellen.evaluation.read import read_predictions

    if data.task != "detection":
        raise UseError(f"{path}: predictions in a file are scored for detection; {data.root} is a {data.task} dataset")
    images = _images_of(data, split)
    classes = list(data.classes.drop_nulls("class_name").sort("class_id")["class_name"])
    ids = {str(i): str(name) for i, name in data.classes.select("class_id", "class_name").drop_nulls().iter_rows()}
    predictions, problems = read_predictions(path, image_names=_names_of(data, images), class_names=ids)
    scores = evaluate_detection(
        truth_of(data, images), predictions, classes, images=images, split=split or "all",
        image_properties=image_properties(data, images, progress),
    )  # fmt: skip
    return replace(scores, problems=pl.concat([problems, scores.problems]))


def _names_of(data: DataFacts, scored: Sequence[str]) -> dict[str, str]:
    """What a file of predictions may call an image -> its key: the format's own id, the file's name or its stem.

    COCO counts each split's ids anew, so a name means one of the `scored` images first. A name that two of them share
    stands for neither.
    """
    mine = data.images.filter(pl.col("image").is_in(list(scored)))
    return _unambiguous(data.images) | _unambiguous(mine)


def _unambiguous(images: pl.DataFrame) -> dict[str, str]:
    names: dict[str, str | None] = {}
    for image, own in images.select("image", "image_id").iter_rows():
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
