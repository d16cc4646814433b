"""See OneThresholdForAllClasses."""

from collections.abc import Iterator

import polars as pl
from pydantic import Field

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules._causes import TRAINING_FAULTS

MOST = 10
"""Classes named in the evidence."""


class OneThresholdForAllClasses(Rule):
    """One score threshold for all classes loses F1 that a threshold for each class would keep.

    ## What it does
    Reports a detector whose classes score on different scales, so that no single threshold suits them.

    ## Why is this bad?
    At one threshold, a class that scores low is hardly ever shown and one that scores high is full of false alarms.

    ## How it is computed
    Thresholds of the best F1 are chosen on half of the images, one for all classes (best mean F1) and one for each
    class with 20 objects or more, and both are judged on the other half, for 20 random halvings and both ways. The
    gain is the mean difference of the mean F1; it must exceed the limit and be positive in every halving.

    ## Example
        one-threshold-for-all-classes  a score threshold for each class wins 0.06 of mean F1 on images that did not
            choose it; 'bird' goes from F1 0.41 at 0.50 to 0.78 at 0.24

    ## Fix
    Set the threshold of each class (in the evidence and in the scores' table of classes):
    `snellen evaluate RUN --data DATA --fix` writes them for `snellen predict`. Or calibrate the scores of each class.

    ## Known false positives
    None known: the gain is measured on images that did not choose the thresholds.

    ## References
    Lipton et al., Optimal Thresholding of Classifiers to Maximize F1 Measure, ECML PKDD 2014.
    """

    name = "one-threshold-for-all-classes"
    code = "EVL023"
    category = Category.PERFORMANCE
    causes = ("class-never-predicted", "shifted-class-ids", "score-threshold-too-high", *TRAINING_FAULTS)

    class Options(RuleOptions):
        """Limits."""

        min_gain: float = Field(default=0.03, ge=0, le=1)
        """Mean F1 over the classes, 0..1; chance alone reaches 0.01 (measured on healthy detectors)."""

    def check(self, scores: ScoreFacts) -> Iterator[Finding]:
        """Judge the gain."""
        row = scores.scores.filter(pl.col("metric") == "threshold_gain")
        threshold = scores.score("f1_threshold")
        if row.is_empty() or threshold is None:
            return
        gain, low = row["value"][0], row["low"][0]
        if gain is None or gain < self.options.min_gain or low <= 0:
            return
        shown = scores.predictions.filter((pl.col("score") >= threshold) & (pl.col("outcome") != "ignored"))
        at_one = shown.group_by("class_name").agg(taken=pl.len(), right=(pl.col("outcome") == "correct").sum())
        classes = (
            scores.per_class.filter(pl.col("best_threshold").is_not_null())
            .join(at_one, on="class_name", how="left")
            .with_columns(one=(2 * pl.col("right") / (pl.col("taken") + pl.col("objects"))).fill_null(0.0))
            .with_columns(won=pl.col("f1") - pl.col("one"))
            .sort("won", descending=True)
        )
        worst = classes.row(0, named=True)
        thresholds = dict(classes.select("class_name", "best_threshold").iter_rows())
        yield Finding(
            message=f"a score threshold for each class wins {gain:.2f} of mean F1 (limit {self.options.min_gain:g}) on "
            f"images that did not choose it; {worst['class_name']!r} goes from F1 {worst['one']:.2f} at "
            f"{threshold:.2f} to {worst['f1']:.2f} at {worst['best_threshold']:.2f}",
            place=Place(split=scores.split),
            evidence={
                "gain": gain,
                "threshold": threshold,
                "classes": classes["class_name"].to_list()[:MOST],
                "f1_at_one": classes["one"].to_list()[:MOST],
                "f1_at_own": classes["f1"].to_list()[:MOST],
                "own_thresholds": classes["best_threshold"].to_list()[:MOST],
            },
            affected=int((classes["won"] > self.options.min_gain).sum()),
            of=len(classes),
            fix=Fix(
                FixSafety.SAFE,
                "show each class from its own threshold on",
                {"op": "class-thresholds", "thresholds": thresholds, "otherwise": threshold},
            ),
            rank=gain,
        )
