"""See FullFrameBox."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, RuleOptions, Tier
from snellen.findings.measured import Measured
from snellen.rules.data._records import box_place, solid_boxes


class FullFrameBox(Rule):
    """A box as large as its image.

    ## What it does
    Reports boxes that cover the whole image in a dataset where boxes do not.

    ## Why is this bad?
    It is most often a classification label turned into a box, or a mistake of a tool: the network learns that the
    image's edge is an object's edge.

    ## How it is computed
    The box covers `min_share` of the image's area or more, and fewer than `max_boxes` of all boxes do.

    ## Example
        images/0007.jpg  full-frame-box  the box covers 100 % of the image (limit 98 %) ...

    ## Fix
    Draw the box again, or drop it.

    ## Known false positives
    Close-ups whose object does fill the frame.

    ## References
    None known.
    """

    name = "full-frame-box"
    code = "ANN021"
    category = Category.STYLE
    tier = Tier.HEADERS

    class Options(RuleOptions):
        """Thresholds."""

        min_share: float = 0.98
        """Share of the image's area, 0..1."""
        max_boxes: float = 0.05
        """Share of the boxes, 0..1, from which full frames are how the data looks."""

    def _boxes(self, data: DataFacts) -> pl.DataFrame:
        """Boxes with the `share` of the image that they cover; null where they do not reach into it."""
        sized = solid_boxes(data).filter((pl.col("true_width") > 0) & (pl.col("true_height") > 0))
        inside_x = pl.min_horizontal("x2", "true_width") - pl.max_horizontal("x1", 0.0)
        inside_y = pl.min_horizontal("y2", "true_height") - pl.max_horizontal("y1", 0.0)
        share = inside_x * inside_y / (pl.col("true_width") * pl.col("true_height"))
        return sized.with_columns(share=pl.when(inside_x > 0, inside_y > 0).then(share))

    def measured(self, data: DataFacts) -> Measured:
        """The numbers that the threshold cuts."""
        return Measured(self._boxes(data)["share"], "min_share", "share of the image covered, 0..1", "boxes")

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        sized = self._boxes(data)
        full = sized.filter(pl.col("share") >= self.options.min_share)
        if full.height >= self.options.max_boxes * sized.height:
            return
        for box in full.iter_rows(named=True):
            yield Finding(
                message=f"the box covers {box['share']:.0%} of the image (limit {self.options.min_share:.0%}): the "
                "edge of the "
                "picture is learnt as the edge of an object",
                place=box_place(box),
                evidence={"share": box["share"], "limit": self.options.min_share},
                rank=box["share"],
            )
