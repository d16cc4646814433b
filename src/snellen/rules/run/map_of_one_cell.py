"""See MapOfOneCell."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._layers import modules
from snellen.watching.facts import RunFacts


class MapOfOneCell(Rule):
    """Convolutions work on a map of one cell: too much pooling before them.

    ## What it does
    Reports convolutions with kernels above 1x1 that saw a 1x1 map in the first forward pass.

    ## Why is this bad?
    On one cell a 3x3 kernel reads its centre and eight cells of padding: eight ninths of those weights never meet data,
    and all position is lost before the layers that should use it.

    ## How it is computed
    Shapes of the first forward pass; fires when such convolutions hold more than `share` of the weights, so that the
    last level of a detector's pyramid is passed over.

    ## Example
        map-of-one-cell 2 convolutions (conv3 ...) see a map of one cell; 74 % of the weights work on padding

    ## Fix
    Fewer strides and poolings, or larger images.

    ## Known false positives
    A padded convolution that serves as a linear layer on purpose.

    ## References
    NeuraLint, too much pooling; He et al. 2016, Deep Residual Learning, sec. 4.2.
    """

    name = "map-of-one-cell"
    code = "RUN127"
    category = Category.SUSPICIOUS
    causes = ("feature-map-collapsed",)

    class Options(RuleOptions):
        """Options of this rule."""

        share: float = 0.1
        """Share of all weights, 0..1; detector heads on a level of one cell stay below 0.05."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        rows = modules(run)
        total = sum(r["parameters"] for r in rows)
        bad = [
            r
            for r in rows
            if r["kind"] in ("Conv2d", "Conv3d")
            and r["input_shape"]
            and len(r["input_shape"]) > 3
            and max(r["input_shape"][2:]) == 1
            and max(r["settings"].get("kernel_size", [1])) > 1
        ]
        held = sum(r["parameters"] for r in bad)
        if bad and held > self.options.share * total:
            yield Finding(
                message=(
                    f"{len(bad)} convolutions ({bad[0]['name']} ...) see a map of one cell: {held / total:.0%} of the "
                    f"weights work on padding (limit {self.options.share:.0%}), position is lost before them"
                ),
                place=Place(layer=bad[0]["name"]),
                evidence={"layers": [r["name"] for r in bad][:20], "weights": held},
                affected=len(bad),
                fix=Fix(FixSafety.UNSAFE, "take out a pooling or a stride before them"),
            )
