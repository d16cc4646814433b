"""See InitialWeightsOffScale."""

import math
from collections.abc import Iterator
from statistics import median

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._layers import at_start, matrices, owner
from snellen.watching.facts import RunFacts


class InitialWeightsOffScale(Rule):
    """The weights began far too large or far too small.

    ## What it does
    Compares the spread of each weight matrix before the first step with what initialisation theory says.

    ## Why is this bad?
    Activations grow or shrink by that factor at each layer: logits begin at hundreds or at nothing, and gradients
    explode or vanish before the learning rate has a say.

    ## How it is computed
    Standard deviation at the start over He's sqrt(2 / fan_in). One matrix fires above `high` or below `low`; the
    network fires where the median of at least 2 matrices is above `high_median` or below `low_median`. The message
    tells the gain of the layer at step 0 where it was measured.

    ## Example
        initial-weights-off-scale fc1 began with std 4.2, 51 times He's 0.083 (limit 10); its output is 60 times its
        input

    ## Fix
    Use the framework's default, or `nn.init.kaiming_normal_`; or load the checkpoint that was meant.

    ## Known false positives
    Layers followed by a norm are immune to the scale; the finding is then harmless and still odd.

    ## References
    He et al. 2015, Delving Deep into Rectifiers, arXiv:1502.01852, eq. 10; Glorot & Bengio 2010, eq. 16.
    """

    name = "initial-weights-off-scale"
    code = "RUN111"
    category = Category.SUSPICIOUS
    causes = ("initial-scale-off", "non-finite-weights", "symmetric-units")

    class Options(RuleOptions):
        """Options of this rule."""

        high: float = 10.0
        """Times He's standard deviation; published initialisations and trained networks stay below 5."""
        low: float = 1e-3
        """Times He's standard deviation; the smallest usual head (std 0.001) stays above 0.01."""
        high_median: float = 4.0
        """Median over the matrices: 3 layers of it multiply the signal by 64."""
        low_median: float = 0.01
        """Median over the matrices; std 0.02 at width 8 has 0.04."""
        fewest: int = 32
        """Numbers in a matrix from which its spread counts."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run, at the worst layer."""
        o = self.options
        rows = [
            (r, r["start_std"] / math.sqrt(2 / r["fan_in"]))
            for r in matrices(run)
            if r["fan_in"] > 1
            and math.prod(r["shape"]) >= o.fewest
            and r["start_std"]
            and math.isfinite(r["start_std"])
            and not r["equal_rows"]
        ]
        if not rows:
            return
        middle = median(ratio for _, ratio in rows)
        whole = len(rows) >= 2 and not o.low_median <= middle <= o.high_median
        off = [(r, ratio) for r, ratio in rows if not o.low <= ratio <= o.high]
        if not off and not whole:
            return
        large = middle > 1 if whole else max(off, key=lambda p: abs(math.log(p[1])))[1] > 1
        # The first in the order of the pass: everything behind it meets the wrong scale.
        worst, ratio = next((p for p in off if (p[1] > 1) == large), rows[0])
        layer = owner(worst["name"])
        limit = (o.high if off else o.high_median) if large else (o.low if off else o.low_median)
        gain, taken = at_start(run, "rms").get(layer), at_start(run, "input_rms").get(layer)
        effect = f"; its output is {gain / taken:.2g} times its input" if gain is not None and taken else ""
        count = len(off) if off else len(rows)
        yield Finding(
            message=(
                f"the weights of {layer} began with std {worst['start_std']:.3g}, {ratio:.3g} times He's "
                f"{math.sqrt(2 / worst['fan_in']):.3g} (limit {limit:g}), as did {count - 1} others{effect}: the "
                f"signal {'explodes' if large else 'vanishes'} with depth"
            ),
            place=Place(layer=layer),
            evidence={
                "parameter": worst["name"],
                "ratio": ratio,
                "median_ratio": middle,
                "chain": [
                    f"step 0, before any update: std is {ratio:.3g} times He's",
                    *([f"output over input of {layer}: {gain / taken:.3g}"] if gain is not None and taken else []),
                ],
            },
            affected=count,
            of=len(rows),
            rank=abs(math.log(ratio)),
            fix=Fix(FixSafety.UNSAFE, "use the default initialisation, or nn.init.kaiming_normal_"),
        )
