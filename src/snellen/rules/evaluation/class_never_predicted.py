"""See ClassNeverPredicted."""

from collections.abc import Iterator

import polars as pl
from pydantic import Field

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.findings.words import plural
from snellen.rules._causes import TRAINING_FAULTS


class ClassNeverPredicted(Rule):
    """The model never names a class that is there, although it has learned others.

    ## What it does
    Reports classes with enough objects of which not one is predicted.

    ## Why is this bad?
    Every object of the class is lost; a mean over classes hides it when there are many.

    ## How it is computed
    Classification: a class with images is never the most probable. Detection: no prediction of the class reaches the
    score threshold of the best overall F1, and its AP50 is below 0.01. Not judged before the model has learned
    anything (accuracy or mAP50 below the limit).

    ## Example
        class-never-predicted  1 of 3 classes is never predicted: Platelets (72 objects); it costs 0.33 of mAP50

    ## Fix
    Look at the count of the class in training: weight or sample it more, or train longer; check that its name is
    spelled alike in training and validation.

    ## Known false positives
    A class that the training set lacks on purpose.

    ## References
    Buda et al., A systematic study of the class imbalance problem, 2018.
    """

    name = "class-never-predicted"
    code = "EVL010"
    category = Category.SUSPICIOUS
    causes = (
        "constant-prediction",
        "shifted-class-ids",
        "predictions-of-unknown-class",
        "no-predictions",
        *TRAINING_FAULTS,
    )

    class Options(RuleOptions):
        """Limits."""

        min_objects: int = Field(default=10, ge=1)
        """Objects (or images) of the class; with fewer, chance alone can miss them all."""
        min_score: float = Field(default=0.1, ge=0, le=1)
        """mAP50 or accuracy at which a model counts as having learned something (judgement)."""

    def check(self, scores: ScoreFacts) -> Iterator[Finding]:
        """Judge the classes."""
        detection = scores.task == "detection"
        metric = "mAP50" if detection else "accuracy"
        if (scores.score(metric) or 0.0) < self.options.min_score:
            return
        candidates = scores.per_class.filter(pl.col("objects") >= self.options.min_objects)
        if detection:
            threshold = scores.score("f1_threshold") or 0.0
            shown = scores.predictions.filter(pl.col("score") >= threshold)["class_name"].unique().to_list()
            silent = candidates.filter(~pl.col("class_name").is_in(shown) & (pl.col("ap50").fill_null(0) < 0.01))
        else:
            silent = candidates.filter(pl.col("predictions") == 0)
        if silent.is_empty():
            return
        present = scores.per_class.filter(pl.col("objects") > 0).height
        if detection:
            cost, unit = len(silent) / present, "mAP50"
        else:
            total = float(scores.per_class["objects"].sum())
            cost, unit = float(silent["objects"].sum()) / total, "accuracy"
        noun = "objects" if detection else "images"
        worst = silent.sort("objects", descending=True)
        listed = ", ".join(f"{n} ({k} {noun})" for n, k in worst.select("class_name", "objects").head(5).iter_rows())
        yield Finding(
            message=f"{len(silent)} of {plural(present, 'class', 'classes')} {'is' if len(silent) == 1 else 'are'} "
            f"never predicted: {listed}; that costs up to {cost:.2f} of {unit}",
            place=Place(split=scores.split),
            evidence={"classes": worst["class_name"].to_list()[:50], "cost": cost},
            affected=len(silent),
            of=present,
        )
