"""See DropoutBeforeNorm."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.network.facts import NetworkFacts


class DropoutBeforeNorm(Rule):
    """Dropout feeds a BatchNorm.

    ## What it does
    Reports active dropout layers whose only reader is a BatchNorm.

    ## Why is this bad?
    Dropout changes the variance while training and not while testing; BatchNorm learns the training variance, so test
    accuracy falls.

    ## How it is computed
    The drop probability is above zero and the only consumer of the output is a BatchNorm.

    ## Example
        dropout-before-norm  drop1: p = 0.5 in front of BatchNorm2d

    ## Fix
    Put dropout behind the last norm.

    ## Known false positives
    Small probabilities and wide layers lose little.

    ## References
    Li et al. 2019, Understanding the Disharmony between Dropout and Batch Normalization by Variance Shift,
    arXiv:1801.05134.
    """

    name = "dropout-before-norm"
    code = "NET015"
    category = Category.SUSPICIOUS
    causes = ("dropout-too-high",)

    class Options(RuleOptions):
        """Thresholds."""

        limit: float = 0.1
        """Drop probability, 0..1, up to which the shift is small (Li et al., fig. 4)."""

    def check(self, network: NetworkFacts) -> Iterator[Finding]:
        """Yield the findings."""
        rows = network.layers.filter(
            (pl.col("dropout") > self.options.limit) & pl.col("next_kind").str.contains("BatchNorm")
        )
        for r in rows.iter_rows(named=True):
            yield Finding(
                message=f"{r['layer']} (p = {r['dropout']:g}, limit {self.options.limit:g}) feeds"
                f" {r['next_kind']}: the variance it learns"
                " in training is not the one it meets in testing",
                place=Place(layer=r["layer"]),
                evidence={"p": r["dropout"], "next": r["next_kind"]},
            )
