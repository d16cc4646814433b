"""See ObjectDrift."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, RuleOptions, Tier
from snellen.rules.data._drift import drifts
from snellen.rules.data._records import solid_boxes


class ObjectDrift(Rule):
    """Splits whose objects differ in size, shape or place.

    ## What it does
    Reports splits of which the objects are larger, longer or elsewhere in the picture than those of train.

    ## Why is this bad?
    Anchors, input size and crops were chosen for other objects than those that are scored.

    ## How it is computed
    As image-drift, on each image's median object: share of the image's area, longer over shorter side, centre across
    and down.

    ## Example
        val  object-drift  area is 0.002 in val and 0.04 in train (KS 0.6) ...

    ## Fix
    Split anew at random.

    ## Known false positives
    Splits by time, place or camera.

    ## References
    deepchecks: KS below 0.2.
    """

    name = "object-drift"
    code = "DST014"
    category = Category.SUSPICIOUS
    tier = Tier.HEADERS

    class Options(RuleOptions):
        """Thresholds."""

        min_statistic: float = 0.2
        """Largest distance between the two cumulative distributions, 0..1; deepchecks' limit."""
        max_p: float = 1e-6
        """Holm-corrected p value; strict, as pictures of one series are not independent."""

    def check(self, data: DataFacts) -> Iterator[Finding]:
        """Yield the findings."""
        boxes = solid_boxes(data).filter((pl.col("true_width") > 0) & (pl.col("true_height") > 0) & pl.col("usable"))
        wide, high = pl.col("x2") - pl.col("x1"), pl.col("y2") - pl.col("y1")
        measured = boxes.select(
            "image",
            area=wide * high / (pl.col("true_width") * pl.col("true_height")),
            shape=wide / high,
            across=(pl.col("x1") + pl.col("x2")) / 2 / pl.col("true_width"),
            down=(pl.col("y1") + pl.col("y2")) / 2 / pl.col("true_height"),
        )
        medians = (
            measured.group_by("image", maintain_order=True)
            .median()
            .join(data.images.select("image", "split"), on="image")
        )
        yield from drifts(
            medians,
            ("area", "shape", "across", "down"),
            self.options.min_statistic,
            self.options.max_p,
            "images' median object",
        )
