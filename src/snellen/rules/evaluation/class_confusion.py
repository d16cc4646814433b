"""See ClassConfusion."""

from collections.abc import Iterator

import polars as pl
from pydantic import Field

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.rules._causes import TRAINING_FAULTS

MOST = 5
"""Pairs reported: with more, no single pair is the matter."""


class ClassConfusion(Rule):
    """One class is taken for another far more often than any other pair is.

    ## What it does
    Reports pairs (true, predicted) that stand out of the confusion matrix.

    ## Why is this bad?
    A single pair may hold most of the lost points, and one remedy wins them: the labels of the two classes
    contradict each other, or the input does not show what tells them apart.

    ## How it is computed
    share = count(true a, predicted b) / objects of a. Reported when count, share and the cost (count / all objects)
    are large, and the share is several times the mean share of all other pairs of classes.

    ## Example
        class-confusion  24 of 60 '9' (40 %) are taken for '8', 12 times the other pairs' mean; it costs 0.04 of
            accuracy

    ## Fix
    Look at the images in the evidence side by side. Merge or relabel the classes, add examples of both, or a larger
    input.

    ## Known false positives
    Classes that are a coarse and a fine name of the same thing.

    ## References
    Bolya et al., TIDE, ECCV 2020 (classification errors and their cost).
    """

    name = "class-confusion"
    code = "EVL011"
    category = Category.SUSPICIOUS
    causes = ("constant-prediction", "shifted-class-ids", "class-never-predicted", *TRAINING_FAULTS)

    class Options(RuleOptions):
        """Limits."""

        min_count: int = Field(default=10, ge=1)
        """Objects confused; fewer may be chance."""
        min_share: float = Field(default=0.3, ge=0, le=1)
        """Share of the true class's objects (judgement)."""
        min_cost: float = Field(default=0.02, ge=0, le=1)
        """Share of all objects: points of accuracy that the pair costs."""
        min_ratio: float = Field(default=4.0, ge=1)
        """Times the mean share of all other pairs of classes: above it, it is no general weakness."""

    def check(self, scores: ScoreFacts) -> Iterator[Finding]:
        """Judge the pairs of classes."""
        objects = dict(scores.per_class.select("class_name", "objects").rows())
        names = [name for name, count in objects.items() if count]
        total = sum(objects.values())
        pairs = {
            (true, predicted): count
            for true, predicted, count in scores.confusion.select("true_class", "predicted_class", "count").rows()
            if true != predicted and objects.get(true) and predicted in objects
        }
        others = len(names) * (len(objects) - 1) - 1
        shares = {pair: count / objects[pair[0]] for pair, count in pairs.items()}
        for (true, predicted), share in sorted(shares.items(), key=lambda item: -item[1])[:MOST]:
            count = pairs[true, predicted]
            rest = (sum(shares.values()) - share) / others if others > 0 else 1.0
            o = self.options
            if count < o.min_count or share < o.min_share or count < o.min_cost * total or share < o.min_ratio * rest:
                continue
            shown = scores.predictions.filter(
                (pl.col("outcome") == "classification")
                & (pl.col("true_class") == true)
                & (pl.col("class_name") == predicted)
            ).sort("score", descending=True)
            ratio = f"{share / rest:.0f} times the other pairs' mean" if rest else "and no other pair is confused"
            yield Finding(
                message=f"{count} of {objects[true]} {true!r} ({share:.0%}) are taken for {predicted!r}, {ratio}; "
                f"it costs {count / total:.3f} of all objects' accuracy",
                place=Place(split=scores.split, class_name=true),
                evidence={
                    "predicted": predicted,
                    "share": share,
                    "mean_of_other_pairs": rest,
                    "images": shown["image"].unique(maintain_order=True).to_list()[:10],
                },
                affected=count,
                of=objects[true],
                rank=count / total,
            )
