"""See ObjectsBelowStride."""

from collections.abc import Iterator

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, RuleOptions, Tier
from snellen.network.facts import NetworkFacts
from snellen.rules.joint._scale import boxes_at_input


class ObjectsBelowStride(Rule):
    """Objects are smaller than a cell of the finest map.

    ## What it does
    Reports a data set many of whose objects, at the network's input size, are smaller than one cell of the finest
    level.

    ## Why is this bad?
    Such an object falls between the samples of the map it is predicted on, and shares its cell with its
    neighbours: it is
    missed whatever the training.

    ## How it is computed
    The short side of every usable box, scaled so that the image's longer side fills the input, against the stride
    of the
    finest level. Fires when more than `share` of the boxes are smaller.

    ## Example
        objects-below-stride  37 % of the boxes are smaller than 8 px at 320 px input

    ## Fix
    A larger input, tiles, or a level of smaller stride.

    ## Known false positives
    Data sets whose smallest objects are not wanted.

    ## References
    Lin et al. 2017, Feature Pyramid Networks, arXiv:1612.03144, eq. 1.
    """

    name = "objects-below-stride"
    code = "NET101"
    category = Category.SUSPICIOUS
    tier = Tier.HEADERS

    class Options(RuleOptions):
        """Thresholds."""

        share: float = 0.1
        """Share of the boxes, 0..1; below a tenth the score hardly notices."""

    def check(self, data: DataFacts, network: NetworkFacts) -> Iterator[Finding]:
        """Yield the findings."""
        boxes = boxes_at_input(data, network)
        strides = network.levels["stride"].drop_nulls()
        if boxes.is_empty() or strides.is_empty():
            return
        stride = float(strides.min())  # type: ignore[arg-type]
        small = boxes.filter(boxes["short"] < stride)
        if small.height > self.options.share * boxes.height:
            side = max(network.input_shape[-2:])
            median = float(small["short"].median())  # type: ignore[arg-type]
            yield Finding(
                message=f"{small.height / boxes.height:.0%} of the boxes are smaller than {stride:g} px, one cell of "
                f"the finest level, at {side} px input (limit {self.options.share:.0%}; their median short side is "
                f"{median:.1f} px): they will be missed",
                evidence={
                    "stride": stride,
                    "input": side,
                    "median_short_side": median,
                    "images": small["image"].unique().sort().to_list()[:10],
                },
                affected=small.height,
                of=boxes.height,
            )
