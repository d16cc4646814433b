"""See LikelyUnlabelledObjects."""

from collections.abc import Iterator

import polars as pl
from pydantic import Field

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.rules._causes import TRAINING_FAULTS


class LikelyUnlabelledObjects(Rule):
    """A good detector is sure of objects where the labels have none.

    ## What it does
    Lists predictions with a high score on the background, the surest first.

    ## Why is this bad?
    Objects without a label count as false positives here, and teach the model in training that they are background.

    ## How it is computed
    Predictions that score 0.7 or more, and as much as the right ones of their class do on the mean, and overlap no
    object by more than 0.1; reported when there are enough of them as a share of the objects and the detector is good
    (mAP50 of at least 0.5). `overlooked-object` has them one by one.

    ## Example
        likely-unlabelled-objects  31 predictions as sure as the right ones of their class lie where nothing is
            labelled (of 400 objects)

    ## Fix
    Look at the images listed and label what is there.

    ## Known false positives
    Things that look like the objects (posters, reflections): hence a note, not a warning.

    ## References
    Bolya et al., TIDE, ECCV 2020 (background errors that turn out to be unlabelled objects).
    """

    name = "likely-unlabelled-objects"
    code = "EVL020"
    category = Category.STYLE
    causes = ("overlooked-object", *TRAINING_FAULTS)

    class Options(RuleOptions):
        """Limits."""

        min_map50: float = Field(default=0.5, ge=0, le=1)
        """A weaker detector has no say about labels (judgement)."""
        min_score: float = Field(default=0.7, ge=0, le=1)
        """Score, at least; below it a detector is not sure (judgement)."""
        min_count: int = Field(default=5, ge=1)
        """Predictions, at least."""
        min_share: float = Field(default=0.03, ge=0, le=1)
        """Of the number of objects (judgement)."""

    def check(self, scores: ScoreFacts) -> Iterator[Finding]:
        """Judge the surest background predictions."""
        if scores.task != "detection" or (scores.score("mAP50") or 0.0) < self.options.min_map50:
            return
        sure = scores.suspects.filter(
            (pl.col("kind") == "overlooked") & (pl.col("score") >= self.options.min_score)
        ).sort("score", descending=True)
        if len(sure) < max(self.options.min_count, self.options.min_share * len(scores.objects)):
            return
        yield Finding(
            message=f"{len(sure)} predictions as sure as the right ones of their class lie where nothing is labelled "
            f"(of {len(scores.objects)} objects): look first at {sure['image'][0]}",
            place=Place(split=scores.split),
            evidence={
                "images": sure["image"].unique(maintain_order=True).to_list()[:30],
                "boxes": [[round(v, 1) for v in row] for row in sure.select("x1", "y1", "x2", "y2").head(30).rows()],
                "scores": sure["score"].to_list()[:30],
            },
            affected=len(sure),
            of=len(scores.objects),
        )
