"""See AnchorsMissObjects."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, RuleOptions, Tier
from snellen.network.facts import NetworkFacts
from snellen.rules.joint._scale import boxes_at_input


class AnchorsMissObjects(Rule):
    """Too many objects fit no anchor.

    ## What it does
    Reports anchors of which none comes near the shape of a good part of the objects.

    ## Why is this bad?
    An object whose sides differ from every anchor's by a large factor is matched late or never, and its box
    offsets lie far
    from where the regression starts.

    ## How it is computed
    Best possible recall: the share of boxes for which some anchor of some level has both sides within a factor `ratio`
    (max of w/wa, wa/w, h/ha, ha/h). Fires below `recall`. Sides are taken at the network's input size.

    ## Example
        anchors-miss-objects  best possible recall 0.81 is below 0.98

    ## Fix
    Cluster the boxes' sides (k-means) and use the centres as anchors.

    ## Known false positives
    Boxes that are not wanted, such as specks; see the data rules on tiny boxes.

    ## References
    Redmon & Farhadi 2017, YOLO9000, arXiv:1612.08242, sec. 2 (dimension clusters); the 4.0 and 0.98 are the usual
    ones of
    anchor checks in YOLO trainers.
    """

    name = "anchors-miss-objects"
    code = "NET104"
    category = Category.SUSPICIOUS
    tier = Tier.HEADERS
    causes = ("objects-below-stride",)

    class Options(RuleOptions):
        """Thresholds."""

        ratio: float = 4.0
        """Largest factor between a box side and an anchor side."""
        recall: float = 0.98
        """Share of the boxes, 0..1, that must fit an anchor."""

    def check(self, data: DataFacts, network: NetworkFacts) -> Iterator[Finding]:
        """Yield the findings."""
        boxes = boxes_at_input(data, network).filter(pl.col("short") > 0)
        flat = [side for level in network.levels["anchors"].to_list() for side in level or ()]
        if boxes.is_empty() or not flat:
            return
        anchors = np.asarray(flat, dtype=np.float64).reshape(-1, 2)
        sides = boxes.select("w", "h").to_numpy()
        factor = np.full(len(sides), np.inf)
        for anchor in anchors:
            ratio = sides / anchor
            factor = np.minimum(factor, np.maximum(ratio, 1 / ratio).max(axis=1))
        missed = int((factor > self.options.ratio).sum())
        recall = 1 - missed / len(sides)
        if recall < self.options.recall:
            worst = boxes.with_columns(factor=pl.Series(factor)).sort("factor", descending=True).head(10)
            yield Finding(
                message=f"{missed} of {len(sides)} boxes fit no anchor within a factor {self.options.ratio:g}: "
                f"best possible recall {recall:.3f} is below {self.options.recall:g}, those objects will hardly be "
                f"learnt",
                evidence={
                    "recall": recall,
                    "worst_sides": worst.select("w", "h").rows(),
                    "images": worst["image"].unique().sort().to_list(),
                },
                affected=missed,
                of=len(sides),
            )
