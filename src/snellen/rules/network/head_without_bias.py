"""See HeadWithoutBias."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Place, Rule
from snellen.network.facts import NetworkFacts


class HeadWithoutBias(Rule):
    """A classifier's last layer has no bias.

    ## What it does
    Reports classification networks whose last layer is linear and has no bias.

    ## Why is this bad?
    The head cannot say how common a class is without features for it: with unequal classes the features have to carry
    the prior, and training starts further from it.

    ## How it is computed
    The task is classification, the last layer with weights is a plain linear layer of as many outputs as classes, and
    it has no bias.

    ## Example
        head-without-bias  fc: 10 classes and no bias

    ## Fix
    Build the layer with `bias=True`; start it at the log of the class shares.

    ## Known false positives
    Cosine and metric-learning heads, and heads of balanced data sets.

    ## References
    Lin et al. 2017, Focal Loss, arXiv:1708.02002, sec. 4.1 (the bias starts at the prior).
    """

    name = "head-without-bias"
    code = "NET023"
    category = Category.STYLE

    def check(self, network: NetworkFacts) -> Iterator[Finding]:
        """Yield the findings."""
        if network.task != "classification" or not network.num_outputs:
            return
        weighted = network.layers.filter((pl.col("macs") > 0) & pl.col("order").is_not_null()).sort("order")
        if weighted.is_empty():
            return
        last = weighted.row(-1, named=True)
        if last["kind"] == "Linear" and last["has_bias"] is False and last["output_shape"][-1] == network.num_outputs:
            yield Finding(
                message=f"{last['layer']}, the last layer, has {network.num_outputs} outputs and no bias: the network"
                f" cannot state the classes' shares without features",
                place=Place(layer=last["layer"]),
                evidence={"outputs": network.num_outputs},
            )
