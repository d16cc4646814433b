"""See DownsampledTooEarly."""

from collections.abc import Iterator

import polars as pl

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Place, Rule, RuleOptions, Tier
from snellen.network.facts import NetworkFacts
from snellen.rules.joint._scale import boxes_at_input


class DownsampledTooEarly(Rule):
    """The map is coarser than the objects before the network has looked at them.

    ## What it does
    Reports a network whose cells are larger than the typical object after very few convolutions.

    ## Why is this bad?
    What an object looks like has to be worked out while it still covers several cells. A stem that strides first
    merges it with its surroundings, and no later layer, and no upsampling, takes them apart again.

    ## How it is computed
    The median short side of the boxes at the input size, against the distance of cells: in the order of the pass, the
    first layer whose cells are further apart, and the convolutions with a kernel above 1x1 that ran before it. Fires
    when they are fewer than `layers`.

    ## Example
        downsampled-too-early  stem.2 is at stride 8 after 2 convolutions; half of the objects are below 6 px

    ## Fix
    A stem of stride 1 or 2 followed by convolutions, a larger input, or tiles.

    ## Known false positives
    Patch embeddings wide enough to hold every pixel of the patch.

    ## References
    Sunkara & Luo 2022, No More Strided Convolutions or Pooling, arXiv:2208.03641, sec. 1 and 3; He et al. 2016, Deep
    Residual Learning, sec. 4.2 (no stem for 32 px images).
    """

    name = "downsampled-too-early"
    code = "NET108"
    category = Category.SUSPICIOUS
    tier = Tier.HEADERS
    causes = ("objects-below-stride",)

    class Options(RuleOptions):
        """Thresholds."""

        layers: int = 4
        """Convolutions to run first; ResNets run four before stride 8, VGG four before stride 4."""

    def check(self, data: DataFacts, network: NetworkFacts) -> Iterator[Finding]:
        """Yield the findings."""
        boxes = boxes_at_input(data, network)
        ran = network.layers.filter(pl.col("order").is_not_null() & pl.col("stride").is_not_null()).sort("order")
        if boxes.is_empty() or ran.is_empty():
            return
        side = float(boxes["short"].median())  # type: ignore[arg-type]
        coarse = ran.filter(pl.col("stride") > side)
        if coarse.is_empty():
            return
        first = coarse.row(0, named=True)
        before = ran.filter(
            (pl.col("order") < first["order"])
            & pl.col("kind").str.contains(r"^(Conv[123]d|aten\.convolution)")
            & (pl.col("kernel").list.max() > 1)
        ).height
        if before < self.options.layers:
            yield Finding(
                message=f"{first['layer']} is at stride {first['stride']:g} after"
                f" {before} convolutions (fewest: {self.options.layers}), but half of the objects are at most"
                f" {side:.1f} px at {max(network.input_shape[-2:])} px input: they are merged with their surroundings"
                f" unseen",
                place=Place(layer=first["layer"]),
                evidence={"stride": first["stride"], "median_short_side": side, "convolutions_before": before},
                affected=boxes.filter(pl.col("short") < first["stride"]).height,
                of=boxes.height,
            )
