"""See TrainValGap."""

from collections.abc import Iterator

import polars as pl
from pydantic import Field

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions


class TrainValGap(Rule):
    """The model is far better on what it was trained on.

    ## What it does
    Reports a score on training data that is much higher than on the evaluated split.

    ## Why is this bad?
    The model has learned images by heart, or the two splits differ; longer training will not help.

    ## How it is computed
    Training score minus score, for the first of mAP50, mAP, accuracy that both have; reported above the limit, and
    only when the training score is also above the score's 95 % interval.

    ## Example
        train-val-gap  accuracy is 0.99 on training data and 0.71 on val: a gap of 0.28 (limit 0.2)

    ## Fix
    More or more varied data, augmentation, weight decay, a smaller model, the checkpoint of the best epoch. Check
    that both splits come from the same source.

    ## Known false positives
    A validation split that is harder on purpose.

    ## References
    Goodfellow et al., Deep Learning, 2016, section 5.2 (capacity, overfitting).
    """

    name = "train-val-gap"
    code = "EVL017"
    category = Category.SUSPICIOUS
    causes = ("shifted-class-ids", "predictions-of-unknown-class", "no-predictions", "boxes-in-other-units")

    class Options(RuleOptions):
        """Limits."""

        max_gap: float = Field(default=0.2, ge=0, le=1)
        """Points (0..1); fine-tuning on some hundred images usually ends below (judgement)."""

    def check(self, scores: ScoreFacts) -> Iterator[Finding]:
        """Judge the gap."""
        for metric in ("mAP50", "mAP", "accuracy"):
            value, trained = scores.score(metric), scores.train_scores.get(metric)
            if value is None or trained is None:
                continue
            high = scores.scores.filter(pl.col("metric") == metric)["high"][0]
            gap = trained - value
            if gap > self.options.max_gap and (high is None or trained > high):
                yield Finding(
                    message=f"{metric} is {trained:.2f} on training data and {value:.2f} on {scores.split}: a "
                    f"gap of {gap:.2f} (limit {self.options.max_gap:g}); the model has learned images by heart or the "
                    f"splits differ",
                    place=Place(split=scores.split),
                    evidence={"metric": metric, "train": trained, "value": value},
                    affected=scores.images,
                    of=scores.images,
                )
            return
