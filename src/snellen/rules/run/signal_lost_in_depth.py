"""See SignalLostInDepth."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules._causes import NETWORK_FAULTS
from snellen.rules.run._layers import at_start, saturating
from snellen.watching.facts import RunFacts


class SignalLostInDepth(Rule):
    """Before the first update the output already no longer depends on the input.

    ## What it does
    Follows, layer by layer at step 0, how much of the output differs between the samples of the batch.

    ## Why is this bad?
    All samples give one answer: the gradient cannot tell them apart either, and the loss stays at that of a constant.

    ## How it is computed
    Spread of a layer: root mean square of what differs between samples over that of all. Fires where the network has
    at least `layers` measured layers, an early one has a spread above `alive`, and the last with weights other than
    zero has one below `lost`. Names the first layer below it, and says nothing where that is the last. Stacks of
    sigmoid or tanh are left to vanishing-gradient.

    ## Example
        signal-lost-in-depth of the output of fc9 1e-6 differs between samples (limit 1e-3), of fc1 0.6

    ## Fix
    `nn.init.kaiming_normal_` for ReLU, norms or skip connections; no sigmoid between layers.

    ## Known false positives
    None known.

    ## References
    Schoenholz et al. 2017, Deep Information Propagation, arXiv:1611.01232.
    """

    name = "signal-lost-in-depth"
    code = "RUN112"
    category = Category.SUSPICIOUS
    causes = (
        "symmetric-units",
        "initial-weights-off-scale",
        "constant-input",
        "dead-relu",
        "variance-lost-through-depth",
        "norm-over-wrong-axis",
        "residual-missing",
        *NETWORK_FAULTS,
    )

    class Options(RuleOptions):
        """Options of this rule."""

        lost: float = 1e-3
        """Share of the output that differs between samples; ten plain layers with torch's defaults keep 3e-3."""
        alive: float = 0.05
        """Share in an early layer from which the input does vary."""
        squashed: float = 0.5
        """Sigmoids and tanhs a measured layer from which vanishing-gradient judges instead."""
        layers: int = 3
        """Measured layers before anything is said."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o = self.options
        spread, rms = at_start(run, "spread"), at_start(run, "rms")
        zeros = set(run.parameters.filter(pl.col("start_norm") == 0)["name"].to_list())
        if len(list(saturating(run))) >= o.squashed * len(spread):
            return  # Sigmoid and tanh squash the signal by design: their gradient tells whether that is too much.
        live = {n: s for n, s in spread.items() if rms.get(n, 0.0) > 0 and f"{n}.weight" not in zeros}
        names = list(live)
        if len(names) < o.layers or not max(list(live.values())[:2]) > o.alive or not live[names[-1]] < o.lost:
            return
        at = next(i for i in range(len(names)) if all(live[n] < o.lost for n in names[i:]))
        if at == len(names) - 1:
            return  # A bias that stands for a rare class, as detectors have, outweighs what differs in the last layer.
        yield Finding(
            message=(
                f"at step 0 only {live[names[-1]]:.1e} of the output of {names[-1]} differs between samples (limit "
                f"{o.lost:g}), of {names[0]} {live[names[0]]:.2g}: the signal is lost at {names[at]}, before any update"
            ),
            place=Place(layer=names[at], step=0),
            evidence={"chain": [f"{n}: spread {live[n]:.2g}" for n in names[:12]]},
            affected=len(names) - at,
            of=len(names),
            fix=Fix(
                FixSafety.UNSAFE,
                "use kaiming_normal_ with ReLU, norms or skip connections, and no sigmoid between layers",
            ),
        )
