"""See KeypointHiddenButPlaced."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule
from snellen.findings.words import plural
from snellen.rules.data._keypoints import points
from snellen.rules.data._records import EXAMPLES


class KeypointHiddenButPlaced(Rule):
    """A keypoint marked absent that has a place.

    ## What it does
    Reports objects with points of visibility 0 and coordinates other than 0, 0.

    ## Why is this bad?
    Visibility 0 means that nothing was labelled; pycocotools ignores the point, other loaders test the coordinates and
    train on it.

    ## How it is computed
    v is 0 and x or y is not. One finding for each annotation file.

    ## Example
        train.json  keypoint-hidden-but-placed  212 points of 88 objects are absent and have a place ...

    ## Fix
    Set v to 1 (hidden) or 2 (visible) if the place was labelled, else x and y to 0.

    ## Known false positives
    Exports that fill absent points with their last place.

    ## References
    COCO data format: keypoints.
    """

    name = "keypoint-hidden-but-placed"
    code = "ANN043"
    category = Category.STYLE

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        placed = points(data).filter((pl.col("v") == 0) & ((pl.col("x") != 0) | (pl.col("y") != 0)))
        for (file,), group in placed.group_by("file", maintain_order=True):
            objects = group["object"].n_unique()
            yield Finding(
                message=f"{plural(group.height, 'point')} of {plural(objects, 'object')} "
                f"{'is' if group.height == 1 else 'are'} "
                "absent (visibility 0) and placed all the same: some loaders train on them, others ignore them",
                place=Place(file=str(file), row=group["row"][0], image=group["image"][0]),
                evidence={"rows": group["row"].unique().sort().head(EXAMPLES).to_list()},
                affected=objects,
                of=data.keypoints.height,
            )
