"""See OversizedLayer."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.network.facts import NetworkFacts


class OversizedLayer(Rule):
    """One linear layer holds nearly all weights.

    ## What it does
    Reports a network in which a single linear layer holds more than the limit of all parameters.

    ## Why is this bad?
    The capacity sits where the map is flattened, bound to one input size, and not in the features: it over-fits
    and fills
    the checkpoint.

    ## How it is computed
    Parameters of the largest linear layer against all, in networks with a convolution before it.

    ## Example
        oversized-layer  fc: 25.7 M of 25.8 M weights

    ## Fix
    Pool globally before the first linear layer.

    ## Known false positives
    Shallow baselines with one convolution and a flattening head.

    ## References
    Lin, Chen & Yan 2014, Network in Network, arXiv:1312.4400, sec. 3.2 (global average pooling instead).
    """

    name = "oversized-layer"
    code = "NET014"
    category = Category.STYLE

    class Options(RuleOptions):
        """Thresholds."""

        share: float = 0.95
        """Share of all parameters, 0..1; VGG-16's largest layer holds 0.74 and LeNet-5's 0.78."""
        at_least: int = 1_000_000
        """Parameters; smaller layers are cheap whatever their share."""

    def check(self, network: NetworkFacts) -> Iterator[Finding]:
        """Yield the findings."""
        linear = network.layers.filter(pl.col("kind") == "Linear").sort("params", descending=True)
        if linear.is_empty() or network.layers.filter(pl.col("kind").str.contains("Conv")).is_empty():
            return
        layer, params = linear["layer"][0], linear["params"][0]
        if params >= self.options.at_least and params > self.options.share * network.total_params:
            yield Finding(
                message=f"{layer} holds {params:,} of {network.total_params:,} weights"
                f" ({params / network.total_params:.0%}, limit"
                f" {self.options.share:.0%}): the network over-fits in one layer that is bound to the input size",
                place=Place(layer=layer),
                evidence={"params": params, "total": network.total_params},
            )
