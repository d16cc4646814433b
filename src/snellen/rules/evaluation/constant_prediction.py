"""See ConstantPrediction."""

from collections.abc import Iterator

import polars as pl
from pydantic import Field

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.rules._causes import TRAINING_FAULTS


class ConstantPrediction(Rule):
    """The classifier gives the same answer to every image.

    ## What it does
    Reports a classifier that names one class for all images, or all but a few, of several classes.

    ## Why is this bad?
    Nothing was learned: the accuracy is just the share of that class, and looks good when the class is frequent.

    ## How it is computed
    Share of the most predicted class, against its share among the labels.

    ## Example
        constant-prediction  'cat' is predicted for 400 of 400 images (100 %), and 160 are cats: accuracy 0.40 is its
            share

    ## Fix
    Check that inputs differ after preprocessing, that the head trains, and the learning rate; weight or sample the
    rare classes.

    ## Known false positives
    A data set of nearly one class; it is not judged when that class has more than 95 % of the labels.

    ## References
    Zhang et al., An Empirical Study of Common Bugs in Deep Learning, 2018.
    """

    name = "constant-prediction"
    code = "EVL018"
    category = Category.CORRECTNESS
    causes = TRAINING_FAULTS

    class Options(RuleOptions):
        """Limits."""

        min_share: float = Field(default=0.99, ge=0, le=1)
        """Share of images given the one class."""
        max_true_share: float = Field(default=0.95, ge=0, le=1)
        """Share of that class among the labels, at most."""
        min_images: int = Field(default=20, ge=1)
        """Fewer are not judged."""

    def check(self, scores: ScoreFacts) -> Iterator[Finding]:
        """Judge the answers."""
        n = len(scores.predictions)
        if scores.task != "classification" or n < self.options.min_images:
            return
        name, count = scores.predictions["class_name"].value_counts(sort=True).row(0)
        true = scores.predictions.filter(pl.col("true_class") == name).height
        if count < self.options.min_share * n or true > self.options.max_true_share * n:
            return
        yield Finding(
            message=f"{name!r} is predicted for {count} of {n} images ({count / n:.0%}), and it is right for {true}: "
            f"an accuracy of {scores.score('accuracy'):.2f} is that class's share, nothing was learned",
            place=Place(split=scores.split),
            evidence={"class": name, "predicted": count, "labelled": true},
            affected=count,
            of=n,
        )
