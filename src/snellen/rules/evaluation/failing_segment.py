"""See FailingSegment."""

from collections.abc import Iterator

from pydantic import Field

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.rules._causes import TRAINING_FAULTS


class FailingSegment(Rule):
    """The model fails on a kind of object or image that can be named.

    ## What it does
    Reports segments (small objects in dark images, say) where far more is missed or misnamed than elsewhere.

    ## Why is this bad?
    The mean hides it: the model looks good and fails, reliably, on a part of what it will meet.

    ## How it is computed
    A decision tree of depth 3 on half of the images proposes segments from size, aspect, crowding, border, class and
    the properties of the images; each is tested on the other half with a standard error by images, and the p-values
    are adjusted by Holm. Reported when p, the difference, the share of all failures, and the ratio of either the failed
    or the right ones pass the limits.

    ## Example
        failing-segment  41 of 60 objects with size up to 24 px and brightness up to 0.3 are missed (68 %), 19 % of the
            others

    ## Fix
    More training data of this kind; a larger input for small objects, augmentation of brightness for dark images.

    ## Known false positives
    A property that only goes along with the cause; the finding is true all the same.

    ## References
    Chung et al., Slice Finder, ICDE 2019. Holm, Scandinavian Journal of Statistics 1979.
    """

    name = "failing-segment"
    code = "EVL026"
    category = Category.PERFORMANCE
    causes = (
        "missed-small-objects",
        "crowded-objects-missed",
        "border-objects-missed",
        "suppression-removes-objects",
        "class-never-predicted",
        "class-confusion",
        "boxes-in-other-units",
        "swapped-box-format",
        "shifted-class-ids",
        "score-threshold-too-high",
        "one-threshold-for-all-classes",
        "constant-prediction",
        "likely-label-errors",
        *TRAINING_FAULTS,
    )

    class Options(RuleOptions):
        """Limits."""

        max_p: float = Field(default=0.001, gt=0, le=1)
        """Adjusted for all segments tested."""
        min_ratio: float = Field(default=4.0, ge=1)
        """Share failed inside over outside; the smallest objects of a healthy detector reach 3."""
        max_right: float = Field(default=0.5, ge=0, le=1)
        """Share right inside over outside; at or below it the ratio of the failures does not matter."""
        min_difference: float = Field(default=0.25, ge=0, le=1)
        """Share failed inside minus outside (judgement)."""
        min_excess: float = Field(default=0.1, ge=0, le=1)
        """Share of all failures that is due to the segment (judgement)."""

    def check(self, scores: ScoreFacts) -> Iterator[Finding]:
        """Judge the segments."""
        o, detection = self.options, scores.task != "classification"
        for row in scores.segments.to_dicts():
            inside, outside = row["failed"] / row["count"], row["others_failed"] / max(1, row["others"])
            if row["p"] > o.max_p or row["excess"] < o.min_excess or inside - outside < o.min_difference:
                continue
            if inside < o.min_ratio * outside and 1 - inside > o.max_right * (1 - outside):
                continue
            what, done = ("objects", "missed") if detection else ("images", "wrongly classified")
            yield Finding(
                message=f"{row['failed']} of {row['count']} {what} with {row['segment']} are {done} ({inside:.0%}), "
                f"{outside:.0%} of the others (p {row['p']:.1g} in images that did not choose the segment); level with "
                f"them, {row['excess']:.0%} of all failures would go",
                place=Place(split=scores.split),
                evidence={**row, "p": row["p"]},
                affected=row["failed"],
                of=row["count"],
                rank=row["excess"],
            )
