"""See VanishingGradient."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from snellen.findings import Category, Finding, Rule, RuleOptions
from snellen.rules._causes import NETWORK_FAULTS
from snellen.rules.run._series import fall, signal
from snellen.watching.facts import RunFacts


class VanishingGradient(Rule):
    """Gradients fade on their way to the first layers.

    ## What it does
    Compares the gradients of the first and the last weights at sampled steps.

    ## Why is this bad?
    The first layers stand still; depth buys nothing.

    ## How it is computed
    Gradient norm / weight norm of each weight matrix; fires when the median over samples after step 0 of first/last
    is below `ratio`, the first is below `small` and above 0, and the loss fell by less than `least_fall`.

    ## Example
        vanishing-gradient the first layer's gradient is 2e-8 of the last's (limit 1e-3)

    ## Fix
    Replace sigmoid or tanh by ReLU or GELU, add normalisation or skip connections, use He or Glorot initialisation.

    ## Known false positives
    A nearly frozen stem, if the loss does not fall either.

    ## References
    AutoTrainer: first/last below 1e-3 and first below 1e-4.
    """

    name = "vanishing-gradient"
    code = "RUN019"
    category = Category.SUSPICIOUS
    causes = ("clipping-dominates", "dead-relu", "constant-input", "lr-too-high", "softmax-over-batch", *NETWORK_FAULTS)

    class Options(RuleOptions):
        """Options of this rule."""

        ratio: float = 1e-3
        """First over last gradient norm (AutoTrainer beta 1)."""
        small: float = 1e-4
        """Norm of the first gradient (AutoTrainer beta 2)."""
        least_fall: float = 0.1
        """Share by which the loss would have fallen."""
        min_steps: int = 30
        """Steps before anything is said."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o = self.options
        grads = signal(run, "grad_norm").filter(pl.col("layer").str.ends_with("weight") & (pl.col("step") > 0))
        order = grads["layer"].unique(maintain_order=True).to_list()
        if len(order) < 3 or run.steps.height < o.min_steps or not fall(run) < o.least_fall:
            return
        # Only layers that got one say how it fades.
        middle = {
            n: float(np.median(grads.filter(pl.col("layer") == n)["value"].to_numpy())) for n in (order[0], order[-1])
        }
        first, last = middle[order[0]], middle[order[-1]]
        if 0 < first < o.small and first < o.ratio * last:
            yield Finding(
                message=(
                    f"the gradient of {order[0]} is {first:.1e}, {first / last:.0e} of that of "
                    f"{order[-1]} (limit {o.ratio:.0e}), and the loss fell by {max(fall(run), 0.0):.1%}; "
                    "first layers do not learn"
                ),
                evidence={"first_layer": order[0], "first": first, "last_layer": order[-1], "last": last},
            )
