"""See NonFiniteWeights."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Place, Rule
from snellen.network.facts import NetworkFacts


class NonFiniteWeights(Rule):
    """Weights hold NaN or infinity.

    ## What it does
    Reports parameters with a value that is not a finite number.

    ## Why is this bad?
    One NaN in a weight makes every output that depends on it NaN, and the first step spreads it to all others.

    ## How it is computed
    Every element of every floating-point parameter is tested.

    ## Example
        non-finite-weights  conv1.weight holds NaN or infinity

    ## Fix
    Load the checkpoint before the one that diverged, or initialise the layer again.

    ## Known false positives
    None known.

    ## References
    IEEE 754-2019, sec. 6.2 (NaN propagates through arithmetic).
    """

    name = "non-finite-weights"
    code = "NET005"
    category = Category.CORRECTNESS

    def check(self, network: NetworkFacts) -> Iterator[Finding]:
        """Yield the findings."""
        for r in network.parameters.filter(pl.col("finite").not_()).iter_rows(named=True):
            yield Finding(
                message=f"{r['parameter']} holds NaN or infinity among its {r['numel']:,} values: every output"
                f" that depends on it"
                " is NaN",
                place=Place(layer=r["layer"]),
                evidence={"parameter": r["parameter"], "shape": r["shape"]},
            )
