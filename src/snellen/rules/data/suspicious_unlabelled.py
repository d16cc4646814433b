"""See SuspiciousUnlabelled."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions, Tier
from snellen.findings.words import plural
from snellen.rules.data._copies import near_pairs


class SuspiciousUnlabelled(Rule):
    """An image far emptier than one that shows nearly the same.

    ## What it does
    Reports images that have no box, or few, where a near-copy has many.

    ## Why is this bad?
    Objects without a box are trained as background and count as false alarms where they are found.

    ## How it is computed
    Pairs as in `near-duplicate-image`, not cropped, with pixels that correlate by at least `min_correlation`: the one
    has at most `max_share` as many objects as the other, which has at least `min_boxes`. One finding an image.

    ## Example
        b.jpg  suspicious-unlabelled  no box, but 7 in a.jpg, which shows the same (correlation 0.97) ...

    ## Fix
    Label the image, or remove it.

    ## Known false positives
    A fixed camera past which things move, when they are too small to change the picture at 64 x 64.

    ## References
    M. Xu et al., "Missing Labels in Object Detection", CVPR Workshops 2019, for what missing boxes cost.
    """

    name = "suspicious-unlabelled"
    code = "LBL025"
    category = Category.SUSPICIOUS
    tier = Tier.PIXELS
    causes = ("missing-label-file", "duplicate-image-with-different-labels", "corrupt-annotation-file")

    class Options(RuleOptions):
        """Thresholds."""

        min_correlation: float = 0.95
        """Correlation of the pixels, 0..1, from which boxes are counted."""
        max_share: float = 0.34
        """Share of the fuller image's objects that the emptier one may have to be reported."""
        min_boxes: int = 3
        """Objects that the fuller image must have: a single one may have come or gone between two pictures."""

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        if data.task != "detection":
            return
        counts = dict(data.boxes.drop_nulls("image").group_by("image").len().iter_rows())
        pairs = near_pairs(data).filter(
            (pl.col("kind") != "cropped") & (pl.col("similarity") >= self.options.min_correlation)
        )
        emptier: dict[str, tuple[int, str, float]] = {}
        for one, other, like in pairs.select("image", "other", "similarity").iter_rows():
            few, many = sorted((one, other), key=lambda image: counts.get(image, 0))
            most = counts.get(many, 0)
            if most >= self.options.min_boxes and counts.get(few, 0) <= self.options.max_share * most:
                emptier[few] = max(emptier.get(few, (0, "", 0.0)), (most, many, like))
        for image, (most, fuller, like) in emptier.items():
            has = plural(counts[image], "box", "boxes") if counts.get(image) else "no box"
            yield Finding(
                message=f"{has}, but {most} in {fuller}, which shows the same (correlation {like:.2f}): what is not "
                "labelled is trained as background",
                place=Place(file=image, image=image),
                evidence={"images": [image, fuller], "boxes": [counts.get(image, 0), most]},
                rank=-most,
            )
