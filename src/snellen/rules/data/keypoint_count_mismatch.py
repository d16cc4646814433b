"""See KeypointCountMismatch."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule
from snellen.findings.words import plural
from snellen.rules.data._records import outline_place


class KeypointCountMismatch(Rule):
    """An object with another number of keypoints than its skeleton.

    ## What it does
    Reports objects whose list of points is not as long as the skeleton, and those whose num_keypoints is wrong.

    ## Why is this bad?
    Loaders reshape the list to K x 3 and stop, or read the points in the wrong places. num_keypoints 0 drops the
    object from COCO's evaluation.

    ## How it is computed
    The points listed differ in number from the names that the dataset declares (or from the other objects' where it
    declares none), or num_keypoints differs from the number of points with visibility above 0.

    ## Example
        train.json:88  keypoint-count-mismatch  16 points where the skeleton has 17 ...

    ## Fix
    Export the points again.

    ## Known false positives
    Several skeletons in one dataset, one for each class.

    ## References
    COCO data format: keypoints.
    """

    name = "keypoint-count-mismatch"
    code = "ANN044"
    category = Category.CORRECTNESS

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        counted = data.keypoints.with_columns(
            count=pl.col("xyv").list.len() // 3,
            labelled=(pl.col("xyv").list.gather_every(3, 2).list.eval(pl.element() > 0).list.sum()),
        )
        usual = len(data.keypoint_names) or counted.select(pl.col("count").mode().first()).item()
        for row in counted.iter_rows(named=True):
            if row["count"] != usual:
                points = plural(row["count"], "point")
                what = f"{points} where the skeleton has {usual}: loaders stop, or read them in the wrong places"
            elif row["stated"] is not None and row["stated"] != row["labelled"]:
                labelled = row["labelled"]
                what = f"num_keypoints is {row['stated']} where {labelled} are labelled: COCO's evaluation goes by it"
            else:
                continue
            yield Finding(
                message=what,
                place=outline_place(row),
                evidence={"points": row["count"], "stated": row["stated"], "labelled": row["labelled"]},
            )
