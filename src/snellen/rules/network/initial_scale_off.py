"""See InitialScaleOff."""

import math
from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Place, Rule, RuleOptions
from snellen.network.facts import NetworkFacts


class InitialScaleOff(Rule):
    """The weights of a layer are far too large or too small.

    ## What it does
    Reports convolution and linear layers whose weights spread far more, or far less, than initialisation theory says.

    ## Why is this bad?
    Activations grow or shrink by that factor at each layer: logits start at hundreds or at nothing, the first loss
    is far
    from ln C, and gradients explode or vanish.

    ## How it is computed
    The standard deviation against He's sqrt(2 / fan_in): above `high` times, or below `low` times but not zero.

    ## Example
        initial-scale-off  conv1: standard deviation 4.2 is 51 times He's 0.083

    ## Fix
    Initialise with `nn.init.kaiming_normal_`, or load the checkpoint that was meant.

    ## Known false positives
    Layers followed by a norm are immune to the scale; then the finding costs nothing but is still odd.

    ## References
    He et al. 2015, Delving Deep into Rectifiers, arXiv:1502.01852, eq. 10; Glorot & Bengio 2010, eq. 16.
    """

    name = "initial-scale-off"
    code = "NET010"
    category = Category.SUSPICIOUS
    causes = ("non-finite-weights", "symmetric-initialisation")

    class Options(RuleOptions):
        """Thresholds."""

        high: float = 10.0
        """Times He's standard deviation; published inits and trained nets stay below 5."""
        low: float = 0.001
        """Times He's standard deviation; the smallest usual head init (0.001 to 0.01) stays above 0.01."""

    def check(self, network: NetworkFacts) -> Iterator[Finding]:
        """Yield the findings."""
        kinds = dict(network.layers.select("layer", "kind").rows())
        rows = network.parameters.filter(
            (pl.col("fan_in") > 1)
            & (pl.col("numel") >= 64)
            & (pl.col("std") > 0)
            & pl.col("std").is_finite()
            & (pl.col("std") > 1e-4 * pl.col("mean").abs())
        )
        for r in rows.iter_rows(named=True):
            if not kinds.get(r["layer"], "").startswith(("Conv", "Linear")) or not r["parameter"].endswith("weight"):
                continue
            he = math.sqrt(2 / r["fan_in"])
            ratio = r["std"] / he
            if self.options.low <= ratio <= self.options.high:
                continue
            limit = self.options.high if ratio > 1 else self.options.low
            yield Finding(
                message=f"the weights of {r['layer']} have standard deviation {r['std']:.3g}, {ratio:.3g} times"
                f" He's {he:.3g} (limit"
                f" {limit:g}): its output {'explodes' if ratio > 1 else 'vanishes'}",
                place=Place(layer=r["layer"]),
                evidence={"parameter": r["parameter"], "std": r["std"], "he": he, "ratio": ratio},
                rank=abs(math.log(ratio)),
            )
