"""`evaluate`: score a run's model, or anybody's predictions, on a dataset."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
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
from snellen.verbs.facts_for import facts_for
from snellen.verbs.image_properties import image_properties
from snellen.verbs.scoring.truth import images_of, truth_of

if TYPE_CHECKING:
    from torch import nn

    from snellen.evaluation.geometry import By
    from snellen.training.recipe import Recipe
    from snellen.verbs.scoring.objects import Convention

TRAIN_SAMPLE = 200
"""Training images scored beside the validation split, to see the gap between the two."""


def evaluate(
    subject: str | Path,
    data: str | Path,
    *,
    split: str | None = None,
    kind: "By | None" = None,
    convention: "Convention" = "coco",
    max_dets: Sequence[int] | None = None,
    settings: LoadedSettings | None = None,
    progress: Progress = silent,
) -> Result:
    """Score `subject`, a run folder or predictions, against the truth in `data`.

    Predictions are detections (COCO results JSON, CSV, a folder of YOLO .txt files), a folder of PNG masks, COCO's
    panoptic JSON with its PNG files, or a CSV of image labels, probabilities or logits; `ScoreFacts.convention` says
    what they were taken for. `split` names the images to score: for a run, by default, those it was validated with;
    for predictions, the `val` split, or all images where none is declared. Of detections, `kind` says what is compared
    (None: the finest of keypoints, rotated boxes, masks and boxes that both sides hold), `convention` which
    definitions lead (coco, lvis, voc2007, voc2010), and `max_dets` how many of a class in an image count (None:
    the convention's). Raises UseError when one of the two cannot be read, or they do not fit each other.
    """
    from snellen.data.examine import examine

    settings = settings or load_settings(Path.cwd())
    subject = Path(subject)
    facts = facts_for(Path(data), progress=progress)
    if is_run(subject):
        from snellen.training.predict import load_ledger, load_run

        if kind not in (None, "box") or convention != "coco" or max_dets is not None:
            raise UseError(f"{subject}: a run is scored by its boxes in COCO's convention; leave out kind, convention "
                           "and max_dets")  # fmt: skip
        model, recipe, class_names = load_run(subject)
        if recipe.task != facts.task and not (recipe.task == "segmentation" and len(facts.outlines)):
            raise UseError(f"{subject}: trained for {recipe.task}, and {facts.root} is a {facts.task} dataset")
        ledger = load_ledger(subject)
        scored = score_model(model, recipe, class_names, facts, split=split, ledger=ledger, progress=progress)
        scores, facts = scored.scores, measure_again(facts, scored.unreadable)
    else:
        from snellen.verbs.scoring.predictions import score_predictions

        if facts.task == "segmentation" or facts.boxes["usable"].null_count():
            # What masks hold, and the boxes of what is drawn in them, is only known from their pixels.
            facts = examine(Path(data), tier=Tier.PIXELS, progress=progress)
        scores = score_predictions(
            subject, facts, split=split, kind=kind, convention=convention, max_dets=max_dets, progress=progress
        )
    rules = [rule for rule in chosen_rules(settings.values) if ScoreFacts in rule.needs().values()]
    verdict = judge([facts, scores], settings, rules=rules, data_root=Path(facts.root))
    return Result(subject=str(subject), verdict=verdict, data=facts, scores=scores, environment=environment())


def is_run(subject: Path) -> bool:
    """Whether `subject` is the folder of a run; any other folder is one of predictions."""
    return (subject / "recipe.toml").is_file()


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
    from snellen.training.splits import trained_on

    seen = trained_on(ledger)
    if split is None:
        held_out, learned = parts_of(data, recipe, ledger)
        seen = frozenset(learned)
    else:
        held_out, learned = images_of(data, split), []
    unreadable: dict[str, str] = {}
    train_scores: dict[str, float] = {}
    if learned:
        some = learned[:: max(1, len(learned) // TRAIN_SAMPLE)]
        again = _score(model, recipe, class_names, data, some, "train", {}, 0, progress, unreadable, learned=seen)
        train_scores = {row["metric"]: row["value"] for row in again.scores.to_dicts() if row["value"] is not None}
    scores = _score(
        model, recipe, class_names, data, held_out, split or "val", train_scores, 1000, progress, unreadable,
        learned=seen,
    )  # fmt: skip
    return Scored(scores, unreadable)


def parts_of(data: DataFacts, recipe: "Recipe", ledger: pl.DataFrame | None) -> tuple[list[str], list[str]]:
    """Images to validate with and those learned from. Drawn anew from data that changed, the two would mix."""
    from snellen.training.folds import split_of

    if ledger is not None:
        there = data.images.filter(pl.col("exists").fill_null(True) & pl.col("error").is_null())
        used = ledger.filter(pl.col("used") & pl.col("image").is_in(there["image"].implode()))
        held_out, learned = (list(used.filter(split=part)["image"]) for part in ("val", "train"))
        if held_out:
            return held_out, learned
    parts = split_of(data, recipe)
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
    *,
    learned: Collection[str] | None = None,
) -> ScoreFacts:
    """Predict and score `images`; those that cannot be read are left out and added to `unreadable`."""
    from snellen.evaluation.classification import evaluate_classification
    from snellen.evaluation.detection import evaluate_detection
    from snellen.evaluation.segments import image_segments
    from snellen.training.predict import predict

    root = Path(data.root)
    stage = "predict" if split != "train" else "predict (train)"
    if recipe.task == "segmentation":
        from snellen.verbs.scoring.run_maps import score_run_maps

        scores = score_run_maps(
            model, recipe, class_names, data, images, unreadable, split=split, train_scores=train_scores,
            bootstrap=bootstrap, progress=lambda _, done, total, note="": progress(stage, done, total, note),
        )  # fmt: skip
        return scores if learned is None else replace(scores, learned_images=len({*images} & {*learned}))
    began = time.perf_counter()
    found = predict(
        model, recipe, class_names, {image: root / image for image in images},
        progress=lambda _, done, total, note="": progress(stage, done, total, note),
    )  # fmt: skip
    spent = (time.perf_counter() - began) / max(1, len(images))
    unreadable |= found.unreadable
    common = {"split": split, "input_size": recipe.image_size, "train_scores": train_scores}
    common |= {"bootstrap": bootstrap, "learned": learned}
    if data.task == "detection":
        truth = truth_of(data, found.images)
        properties = image_properties(data, found.images, progress) if bootstrap else None
        scores = evaluate_detection(
            truth, found.predictions, class_names, images=found.images, image_properties=properties, **common,  # type: ignore[arg-type]
        )  # fmt: skip
        return replace(scores, seconds_per_image=spent)
    labels = dict(data.images.select("image", "class_name").iter_rows())
    names = [str(labels[image]) for image in found.images]
    scores = evaluate_classification(found.images, names, found.probabilities, class_names, **common)  # type: ignore[arg-type]
    if not bootstrap:
        return scores
    segments = image_segments(scores.predictions, image_properties(data, found.images, progress))
    return replace(scores, segments=segments, seconds_per_image=spent)
