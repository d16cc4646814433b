"""See LikelyLabelErrors."""

from collections.abc import Iterator
from math import sqrt

import polars as pl
from pydantic import Field

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.rules._causes import TRAINING_FAULTS


class LikelyLabelErrors(Rule):
    """A good classifier is sure of another class than the label's, more often than its scores allow.

    ## What it does
    Lists images whose label is probably wrong, the surest first.

    ## Why is this bad?
    Wrong labels in validation hide real progress: no model can score above their share. Those in training are learned.

    ## How it is computed
    Images with top probability of at least 0.95 on another class and at most 0.01 on the label. Their number is
    compared with what the scores themselves promise (the sum of 1 - p over all images at 0.95 or more): reported above
    twice that plus three standard deviations, and only for a classifier of at least 0.8 accuracy. `mislabelled-image`
    has the images one by one, each by its own evidence.

    ## Example
        likely-label-errors  14 of 400 images get a probability of at least 0.95 for another class; 1.6 would be
            expected

    ## Fix
    Look at the images listed and correct the labels that are wrong.

    ## Known false positives
    Networks trained long past the best validation loss are sure of their own errors too: hence a note, not a warning.

    ## References
    Northcutt et al., Confident Learning, JAIR 2021 (3.3 % label errors on average in ten common test sets).
    """

    name = "likely-label-errors"
    code = "EVL019"
    category = Category.STYLE
    causes = ("mislabelled-image", "overconfident-scores", "shifted-class-ids", *TRAINING_FAULTS)

    class Options(RuleOptions):
        """Limits."""

        min_probability: float = Field(default=0.95, ge=0, le=1)
        """Probability of the other class."""
        max_label_probability: float = Field(default=0.01, gt=0, le=1)
        """Probability of the label."""
        min_accuracy: float = Field(default=0.8, ge=0, le=1)
        """A weaker classifier has no say about labels (judgement)."""
        min_images: int = Field(default=5, ge=1)
        """Suspects, at least."""

    def check(self, scores: ScoreFacts) -> Iterator[Finding]:
        """Judge the labels."""
        if scores.task != "classification" or (scores.score("accuracy") or 0.0) < self.options.min_accuracy:
            return
        sure = scores.predictions.filter(pl.col("score") >= self.options.min_probability)
        suspects = sure.filter(
            (pl.col("outcome") != "correct") & ((-pl.col("loss")).exp() <= self.options.max_label_probability)
        ).sort("loss", descending=True)
        expected = float((1 - sure["score"]).sum())
        if len(suspects) < self.options.min_images or len(suspects) <= 2 * expected + 3 * sqrt(expected):
            return
        worst = suspects.row(0, named=True)
        yield Finding(
            message=f"{len(suspects)} of {scores.images} images get a probability of at least "
            f"{self.options.min_probability:g} for another class than their label, {expected:.1f} would be "
            f"expected: look at their labels, first at {worst['image']} ({worst['true_class']!r} or "
            f"{worst['class_name']!r}?)",
            place=Place(split=scores.split),
            evidence={
                "images": suspects["image"].to_list()[:30],
                "labels": suspects["true_class"].to_list()[:30],
                "predicted": suspects["class_name"].to_list()[:30],
                "expected": expected,
            },
            affected=len(suspects),
            of=scores.images,
        )
