"""See ObjectsBeyondReceptiveField."""

from collections.abc import Iterator

from snellen.data.facts import DataFacts
from snellen.findings import Category, Finding, Rule, RuleOptions, Tier
from snellen.network.facts import NetworkFacts
from snellen.rules.joint._scale import boxes_at_input


class ObjectsBeyondReceptiveField(Rule):
    """Objects are larger than what the coarsest level sees.

    ## What it does
    Reports a data set many of whose objects are larger than the receptive field of the detector's coarsest level.

    ## Why is this bad?
    A cell that cannot see the whole object has to guess its far edges: boxes of large objects come out cut or doubled.

    ## How it is computed
    The long side of every usable box at the input size against `fill` times the largest receptive field of the levels.
    Fires when more than `share` of the boxes are larger. The effective field is smaller still.

    ## Example
        objects-beyond-receptive-field  22 % of the boxes exceed 111 px, 0.9 of the field

    ## Fix
    A deeper network, dilation, one more level, or a smaller input.

    ## Known false positives
    Objects recognised and delimited by a part of them.

    ## References
    Luo et al. 2016, Understanding the Effective Receptive Field, arXiv:1701.04128.
    """

    name = "objects-beyond-receptive-field"
    code = "NET102"
    category = Category.SUSPICIOUS
    tier = Tier.HEADERS

    class Options(RuleOptions):
        """Thresholds."""

        share: float = 0.1
        """Share of the boxes, 0..1."""
        fill: float = 0.9
        """Part of the field, 0..1, that an object may fill; its border needs some surroundings."""

    def check(self, data: DataFacts, network: NetworkFacts) -> Iterator[Finding]:
        """Yield the findings."""
        boxes = boxes_at_input(data, network)
        fields = network.levels["rf"].drop_nulls()
        if boxes.is_empty() or fields.is_empty():
            return
        field = float(fields.max())  # type: ignore[arg-type]
        limit = self.options.fill * field
        large = boxes.filter(boxes["long"] > limit)
        if large.height > self.options.share * boxes.height:
            side = max(network.input_shape[-2:])
            yield Finding(
                message=f"{large.height / boxes.height:.0%} of the boxes are longer than {limit:.0f} px at "
                f"{side} px input, {self.options.fill:g} of the coarsest level's receptive field of {field:.0f} px "
                f"(limit {self.options.share:.0%}): no cell sees both ends of them",
                evidence={
                    "receptive_field": field,
                    "input": side,
                    "images": large["image"].unique().sort().to_list()[:10],
                },
                affected=large.height,
                of=boxes.height,
            )
