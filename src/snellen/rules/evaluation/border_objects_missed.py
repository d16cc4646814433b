"""See BorderObjectsMissed."""

from collections.abc import Iterator

import polars as pl

from snellen.evaluation.facts import ScoreFacts
from snellen.findings import Category, Finding, Rule
from snellen.rules.evaluation._recall_gap import GAP_CAUSES, RecallGapOptions, recall_gap


class BorderObjectsMissed(Rule):
    """Objects at the edge of the image are missed where those inside are found.

    ## What it does
    Reports a detector whose recall on objects that reach the border is a fraction of its recall on the others.

    ## Why is this bad?
    Whatever enters or leaves the picture is overlooked, as is everything on the seams when an image is cut into tiles.

    ## How it is computed
    Recall = objects found at IoU 0.5 by any prediction / objects; at the border: within 2 px of an edge. Reported when
    recall there is below the limit times the recall on the others, with enough of both. Needs the sizes of the images.

    ## Example
        border-objects-missed  recall is 0.22 on 90 objects at the border and 0.81 on 500 others; the misses among them
            cost 0.07 of mAP50

    ## Fix
    Random crops in training that keep cut objects with their cut boxes; look whether the labels of cut objects reach
    beyond the image, and whether the predictions are clipped to it. For tiles: overlap them.

    ## Known false positives
    Datasets in which only slivers of objects reach the border.

    ## References
    Alsallakh et al., Mind the Pad: CNNs Can Develop Blind Spots, ICLR 2021.
    """

    name = "border-objects-missed"
    code = "EVL028"
    category = Category.PERFORMANCE
    causes = GAP_CAUSES
    Options = RecallGapOptions

    def check(self, scores: ScoreFacts) -> Iterator[Finding]:
        """Judge recall by the border."""
        yield from recall_gap(
            scores,
            pl.col("border"),
            ~pl.col("border"),
            "at the border of their image",
            "train with crops that cut objects",
            ("border", "at the border"),
            self.options,
        )
