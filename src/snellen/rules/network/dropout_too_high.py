"""See DropoutTooHigh."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.network.facts import NetworkFacts


class DropoutTooHigh(Rule):
    """A dropout layer drops nearly everything.

    ## What it does
    Reports dropout layers with a drop probability above the limit.

    ## Why is this bad?
    At 0.95 one value in twenty gets through: the gradient is mostly noise and the network underfits. Often `p` was
    meant
    as the probability to keep.

    ## How it is computed
    The layer's `p` against `limit`.

    ## Example
        dropout-too-high  drop: p = 0.95, only 5 % of the values pass

    ## Fix
    Use 0.1 to 0.5.

    ## Known false positives
    Masked autoencoders drop patches at 0.75; they are below the limit.

    ## References
    Srivastava et al. 2014, Dropout, sec. 7.3: the useful range to keep is 0.4 to 0.8.
    """

    name = "dropout-too-high"
    code = "NET011"
    category = Category.SUSPICIOUS

    class Options(RuleOptions):
        """Thresholds."""

        limit: float = 0.8
        """Drop probability, 0..1; Srivastava et al. find keeping less than 0.2 to underfit."""

    def check(self, network: NetworkFacts) -> Iterator[Finding]:
        """Yield the findings."""
        for r in network.layers.filter(pl.col("dropout") > self.options.limit).iter_rows(named=True):
            yield Finding(
                message=f"{r['layer']} drops {r['dropout']:.0%} of its input (limit {self.options.limit:.0%}):"
                f" almost no signal is left"
                " to learn from",
                place=Place(layer=r["layer"]),
                evidence={"p": r["dropout"]},
                rank=r["dropout"],
            )
