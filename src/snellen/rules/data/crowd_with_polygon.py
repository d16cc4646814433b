"""See CrowdWithPolygon."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule
from snellen.rules.data._records import outline_place


class CrowdWithPolygon(Rule):
    """A crowd region drawn as a polygon.

    ## What it does
    Reports annotations with iscrowd 1 and a polygon.

    ## Why is this bad?
    COCO writes crowds as run lengths, and pycocotools takes every polygon for an object: annToRLE draws it, but
    loaders that tell crowds by the form of their segmentation train on it as one object.

    ## How it is computed
    `iscrowd` is set and the outline is a polygon.

    ## Example
        train.json:88  crowd-with-polygon  iscrowd is 1 on a polygon ...

    ## Fix
    Set iscrowd to 0 if it is one object, else encode the region as run lengths.

    ## Known false positives
    Tools that read iscrowd alone.

    ## References
    COCO data format: segmentation is RLE when iscrowd is 1.
    """

    name = "crowd-with-polygon"
    code = "ANN035"
    category = Category.STYLE

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        crowds = data.boxes.filter("crowd").select("object")
        for outline in (
            data.outlines.filter(pl.col("kind") == "polygon").join(crowds, on="object").iter_rows(named=True)
        ):
            yield Finding(
                message="iscrowd is 1 on a polygon, where COCO wants run lengths: some loaders leave it out, others "
                "train on it "
                "as one object",
                place=outline_place(outline),
                evidence={"kind": "polygon"},
            )
