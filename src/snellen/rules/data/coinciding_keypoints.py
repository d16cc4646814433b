"""See CoincidingKeypoints."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule
from snellen.findings.words import listed
from snellen.rules.data._keypoints import points
from snellen.rules.data._records import outline_place


class CoincidingKeypoints(Rule):
    """Two keypoints of an object on one spot.

    ## What it does
    Reports objects of which two visible points have the very same place.

    ## Why is this bad?
    One of them was clicked twice, or filled in: the network is told that the left eye is the right one.

    ## How it is computed
    Two points with visibility 2 whose x and y are equal.

    ## Example
        train.json:88  coinciding-keypoints  'left eye' and 'right eye' both lie at 41, 88 ...

    ## Fix
    Move one of the two, or mark it hidden.

    ## Known false positives
    Side views in which two points do coincide to the pixel.

    ## References
    None known.
    """

    name = "coinciding-keypoints"
    code = "ANN045"
    category = Category.STYLE

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        seen = points(data).filter(pl.col("v") == 2)
        same = seen.filter(pl.struct("object", "x", "y").is_duplicated())
        for _, group in same.group_by("object", "x", "y", maintain_order=True):
            row = group.row(0, named=True)
            yield Finding(
                message=f"{listed(group['name'].to_list())} all lie at {row['x']:g}, {row['y']:g}: left and right are "
                "learnt as one",
                place=outline_place(row),
                evidence={"points": group["name"].to_list()},
            )
