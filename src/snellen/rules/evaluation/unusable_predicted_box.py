"""See UnusablePredictedBox."""

from collections.abc import Iterator

import polars as pl
from pydantic import Field

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions


class UnusablePredictedBox(Rule):
    """Predicted boxes have no area or are inside out.

    ## What it does
    Reports predictions with x2 <= x1 or y2 <= y1.

    ## Why is this bad?
    They match nothing. A decoder that gives them is wrong, or boxes are clipped to the image without removing those
    that vanish.

    ## How it is computed
    Records left out as `inverted-box` or `empty-box`, as a share of all predictions.

    ## Example
        unusable-predicted-box  40 of 900 predicted boxes (4 %) have no area and were left out

    ## Fix
    Check the box decoder; drop boxes below 1 px after clipping.

    ## Known false positives
    None known above the share.

    ## References
    Measured: COCO tools count such boxes as false positives without a word.
    """

    name = "unusable-predicted-box"
    code = "EVL009"
    category = Category.SUSPICIOUS
    causes = ("swapped-box-format",)

    class Options(RuleOptions):
        """Limits."""

        min_share: float = Field(default=0.01, ge=0, le=1)
        """Share of all predictions; below it they are the odd box clipped at the border (judgement)."""

    def check(self, scores: ScoreFacts) -> Iterator[Finding]:
        """Judge the predictions left out."""
        bad = scores.problems.filter(pl.col("kind").is_in(["inverted-box", "empty-box"]))
        total = len(scores.predictions) + scores.problems.filter(~pl.col("kind").str.starts_with("object-")).height
        if bad.is_empty() or len(bad) < self.options.min_share * total:
            return
        yield Finding(
            message=f"{len(bad)} of {total} predicted boxes ({len(bad) / total:.0%}) have no area or are inside out "
            f"({str(bad['value'][0])!r}) and were left out",
            place=Place(split=scores.split),
            evidence={"values": bad["value"].to_list()[:10], "images": bad["image"].unique().to_list()[:10]},
            affected=len(bad),
            of=total,
        )
