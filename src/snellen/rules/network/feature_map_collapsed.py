"""See FeatureMapCollapsed."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.network.facts import NetworkFacts


class FeatureMapCollapsed(Rule):
    """Convolutions work on a map of one cell.

    ## What it does
    Reports a network whose later convolutions see a 1x1 map, because the input is too small for its strides.

    ## Why is this bad?
    On one cell a 3x3 kernel reads its centre and eight cells of padding: eight ninths of those weights never meet
    data, and
    all position is lost before the layers that should use it.

    ## How it is computed
    Convolutions with a kernel above 1x1 whose input map is 1x1. Fires when they hold more than `share` of the network's
    parameters, so that the last level of a detector's pyramid is passed over.

    ## Example
        feature-map-collapsed  4 convolutions see a 1x1 map at 32 px input

    ## Fix
    Give larger images, or a network with fewer strides (a 3x3 stem of stride 1 without pooling for 32 px).

    ## Known false positives
    Networks that use a padded convolution as a linear layer on purpose.

    ## References
    He et al. 2016, Deep Residual Learning, sec. 4.2: for 32 px input the authors drop the stride-4 stem.
    """

    name = "feature-map-collapsed"
    code = "NET009"
    category = Category.SUSPICIOUS

    class Options(RuleOptions):
        """Thresholds."""

        share: float = 0.1
        """Share of all parameters, 0..1, held by such convolutions; detector heads on a 1x1 level stay below 0.05."""

    def check(self, network: NetworkFacts) -> Iterator[Finding]:
        """Yield the findings."""
        rows = network.layers.filter(
            pl.col("kind").str.contains("Conv[23]d")
            & (pl.col("kernel").list.max() > 1)
            & (pl.col("input_shape").list.len() > 3)
            & (pl.col("input_shape").list.slice(2).list.max() == 1)
            & pl.col("kind").str.contains("Transpose").not_()
        )
        held = int(rows["params"].sum())
        if held <= self.options.share * network.total_params:
            return
        names = rows["layer"].to_list()
        side = max(network.input_shape[2:], default=0)
        yield Finding(
            message=f"{len(names)} convolutions from {names[0]} on see a map of one cell at {side} px input:"
            f" {held:,} of"
            f" {network.total_params:,} weights work mostly on padding",
            place=Place(layer=names[0]),
            evidence={"layers": names[:20], "weights": held, "input": network.input_shape},
            affected=len(names),
            of=network.layers.filter(pl.col("kind").str.contains("Conv")).height,
        )
