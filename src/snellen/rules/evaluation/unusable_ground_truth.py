"""See UnusableGroundTruth."""

from collections.abc import Iterator

import polars as pl

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Place, Rule


class UnusableGroundTruth(Rule):
    """Labelled objects or images could not be scored against.

    ## What it does
    Reports objects, masks and labels of the dataset that the evaluation had to leave out.

    ## Why is this bad?
    A right prediction of such an object has nothing to match, and counts as a false positive or as nothing: the score
    is of another set of objects than the one that was labelled.

    ## How it is computed
    Problems of the truth, whose kinds begin with `object-` (no outline where masks are compared, run lengths that do
    not fit, an unreadable mask, mask values that are no class, ...), `unlabelled-image` (a mask without a pixel of any
    class) and `not-a-label` (a truth other than 0 and 1); any is reported.

    ## Example
        unusable-ground-truth  31 objects or images of the truth could not be scored against
            (object-no-segmentation: 31)

    ## Fix
    `snellen check` on the dataset names the record; where only some objects have outlines, score boxes: `--kind box`.

    ## Known false positives
    Images that hold nothing but unlabelled pixels on purpose.

    ## References
    pycocotools scores an object without a readable mask as one that can never be found.
    """

    name = "unusable-ground-truth"
    code = "EVL045"
    category = Category.SUSPICIOUS

    def check(self, scores: ScoreFacts) -> Iterator[Finding]:
        """Judge what was left out of the truth."""
        own = pl.col("kind").str.starts_with("object-") | pl.col("kind").is_in(["unlabelled-image", "not-a-label"])
        bad = scores.problems.filter(own)
        if bad.is_empty():
            return
        kinds = dict(bad["kind"].value_counts(sort=True).rows())
        first = bad["value"].drop_nulls().head(1).to_list()
        shown = f", the first {first[0][:80]!r}" if first else ""
        told = ", ".join(f"{kind}: {count}" for kind, count in kinds.items())
        yield Finding(
            message=f"{len(bad)} objects or images of the truth could not be scored against ({told}{shown})",
            place=Place(split=scores.split),
            evidence={
                "kinds": kinds,
                "rows": bad["row"].drop_nulls().to_list()[:20],
                "images": bad["image"].drop_nulls().unique(maintain_order=True).to_list()[:10],
            },
            affected=len(bad),
            of=len(scores.objects) + len(bad),
        )
