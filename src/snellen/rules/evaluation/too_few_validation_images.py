"""See TooFewValidationImages."""

from collections.abc import Iterator

import polars as pl
from pydantic import Field

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions


class TooFewValidationImages(Rule):
    """The evaluated set is too small to compare models on.

    ## What it does
    Reports a headline score whose 95 % interval is wider than the limit.

    ## Why is this bad?
    A change of recipe that moves the score by less than the interval's width cannot be told from chance.

    ## How it is computed
    Percentile bootstrap over images (mAP50 or accuracy), upper minus lower end.

    ## Example
        too-few-validation-images  mAP50 0.61 is known only to 0.47 .. 0.73 on 20 images (width 0.26, limit 0.2)

    ## Fix
    Evaluate on more images, or cross-validate; to halve the width takes four times the images.

    ## Known false positives
    None; a smoke test may silence it.

    ## References
    Efron and Tibshirani, An Introduction to the Bootstrap, 1993.
    """

    name = "too-few-validation-images"
    code = "EVL021"
    category = Category.STYLE

    class Options(RuleOptions):
        """Limits."""

        max_width: float = Field(default=0.2, gt=0, le=1)
        """Points (0..1) between the ends of the interval."""

    def check(self, scores: ScoreFacts) -> Iterator[Finding]:
        """Judge the interval."""
        metric = "mAP50" if scores.task == "detection" else "accuracy"
        row = scores.scores.filter(pl.col("metric") == metric)
        if row.is_empty() or row["low"][0] is None or row["high"][0] is None:
            return
        value, low, high = row["value"][0], row["low"][0], row["high"][0]
        if high - low <= self.options.max_width:
            return
        yield Finding(
            message=f"{metric} {value:.2f} is known only to {low:.2f} .. {high:.2f} on {scores.images} images (width "
            f"{high - low:.2f}, limit {self.options.max_width:g}): smaller differences between models are chance",
            place=Place(split=scores.split),
            evidence={"metric": metric, "value": value, "low": low, "high": high},
            affected=scores.images,
            of=scores.images,
        )
