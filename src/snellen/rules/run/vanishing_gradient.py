"""See VanishingGradient."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules._causes import NETWORK_FAULTS
from snellen.rules.run._layers import at_start
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
    is below `ratio`, the first is below `small`, and the loss fell by less than `least_fall`; or all of this holds for
    the first half of the run, and late learning came too late. An exact 0 counts where a
    sigmoid or tanh was saturated at step 0; elsewhere it is another fault. The evidence tells which activations squash
    the signal, and how far they were saturated before the first update.

    ## Example
        vanishing-gradient the first layer's gradient is 2e-8 of the last's (limit 1e-3), through 8 sigmoid or tanh

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
    causes = (
        "clipping-dominates",
        "dead-relu",
        "constant-input",
        "input-scale-off",
        "input-normalized-twice",
        "lr-too-high",
        "softmax-over-batch",
        "layer-without-gradient",
        *NETWORK_FAULTS,
        "signal-lost-in-depth",
        "exploding-gradient",
    )

    class Options(RuleOptions):
        """Options of this rule."""

        ratio: float = 1e-3
        """First over last gradient norm (AutoTrainer beta 1)."""
        small: float = 1e-4
        """Norm of the first gradient (AutoTrainer beta 2)."""
        saturated: float = 0.9
        """Share of an activation's outputs at its bounds at step 0; sound starts have below 0.1."""
        least_fall: float = 0.1
        """Share by which the loss would have fallen."""
        late_fall: float = 0.3
        """The same for a run whose first half shows all this."""
        min_steps: int = 30
        """Steps before anything is said."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o = self.options
        single = run.parameters.filter(pl.col("shape").list.len() < 2)["name"].implode()
        grads = signal(run, "grad_norm").filter(pl.col("layer").str.ends_with("weight") & (pl.col("step") > 0))
        grads = grads.filter(~pl.col("layer").is_in(single))
        fell, half = fall(run), replace(run, steps=run.steps.head(run.steps.height // 2))
        if not fell < o.least_fall and fell < o.late_fall:
            fell, grads = fall(half), grads.filter(pl.col("step") < half.steps.height)
        order = grads["layer"].unique(maintain_order=True).to_list()
        if len(order) < 3 or run.steps.height < o.min_steps or not fell < o.least_fall:
            return
        # Only layers that got one say how it fades.
        first, last = _middle(grads, order[0]), _middle(grads, order[-1])
        squashing = at_start(run, "saturation")
        saturated = [n for n, v in squashing.items() if v >= o.saturated]
        if (first > 0 or saturated) and first < o.small and first < o.ratio * last:
            through = f", through {len(squashing)} sigmoid or tanh" if squashing else ""
            if saturated:
                through += f", {len(saturated)} of them saturated at step 0 ({saturated[0]} ...)"
            yield Finding(
                message=(
                    f"the gradient of {order[0]} is {first:.1e}, {first / last:.0e} of that of "
                    f"{order[-1]} (limit {o.ratio:.0e}){through}, and the loss fell by {max(fell, 0.0):.1%}; "
                    "first layers do not learn"
                ),
                place=Place(layer=order[0].rpartition(".")[0]),
                evidence={
                    "first_layer": order[0],
                    "first": first,
                    "last_layer": order[-1],
                    "last": last,
                    "chain": [
                        *(f"step 0: {squashing[n]:.0%} of {n} is saturated" for n in list(squashing)[:6]),
                        *(f"gradient of {n}: {_middle(grads, n):.1e}" for n in (*order[:6], order[-1])),
                    ],
                },
                fix=Fix(FixSafety.UNSAFE, "replace sigmoid and tanh by ReLU or GELU, or add norms or skip connections"),
            )


def _middle(grads: pl.DataFrame, layer: str) -> float:
    return float(np.median(grads.filter(pl.col("layer") == layer)["value"].to_numpy()))
