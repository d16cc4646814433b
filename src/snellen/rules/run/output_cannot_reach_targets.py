"""See OutputCannotReachTargets."""

import math
from collections.abc import Iterator

import numpy as np
import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._loss import distance, made_by, rows
from snellen.watching.facts import RunFacts

BOUNDS = {
    "sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "hardsigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "hardtanh": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
    "relu": (0.0, math.inf),
    "softplus": (0.0, math.inf),
    "threshold": (0.0, math.inf),
    "exp": (0.0, math.inf),
    "logsoftmax": (-math.inf, 0.0),
}
"""What the last operator can give at all."""


class OutputCannotReachTargets(Rule):
    """The last activation bounds the output below what the targets ask for.

    ## What it does
    Compares the range of the operator that makes the outputs with the range of a regression's targets.

    ## Why is this bad?
    The output sticks at its bound, where its gradient is 0; the best the model can do is a constant.

    ## How it is computed
    For a recognised loss of regression, or one whose larger part is such a distance. The operator is the one autograd
    names; where it does not, outputs that all stay in -1..1 and whose largest is pinned within `pinned` of 1 at three
    looks are bounded. Fires when the targets reach beyond the bound by more than `beyond` of the bounded range (or of
    their spread, below 0), and a large part of them does: |mean| + std is above `beyond` times the bound, or at least
    `share` are below 0.

    ## Example
        output-cannot-reach-targets tanh gives -1 to 1 and targets run from 25 to 346

    ## Fix
    A linear last layer, and targets scaled to mean 0 and deviation 1.

    ## Known false positives
    Targets that are clipped to the bound by intent.

    ## References
    DeepDiagnosis, out-of-range; TheDeepChecker, outputs that cannot express the labels.
    """

    name = "output-cannot-reach-targets"
    code = "RUN052"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        beyond: float = 0.2
        """By how much, as a share of the bound, targets have to exceed it; noise at the edge of 0..1 is less."""
        share: float = 0.1
        """Share of targets below 0 where outputs cannot be, 0..1."""
        pinned: float = 0.02
        """Distance of the largest output from 1, where the operator is not known."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        known = distance(run)
        if not known or known["before"] or known["target"] not in ("values", "inputs"):
            return
        by = made_by(run)
        bounds = BOUNDS.get(by) if by else self._pinned(run)
        targets = self._targets(run).drop_nulls("maximum")
        if bounds is None or not targets.height:
            return
        low, high = float(targets["minimum"].to_numpy().min()), float(targets["maximum"].to_numpy().max())
        size = float((targets["mean"].abs() + targets["std"]).to_numpy().max())
        below = float(targets["negative_share"].to_numpy().mean())
        o = self.options
        above = high > (1 + o.beyond) * bounds[1] and size > (1 - o.beyond) * bounds[1] > 0
        above = above or (bounds[1] == 0 and below < 1 - o.share)
        under = bounds[0] > -math.inf and (
            below >= o.share
            and low < bounds[0] - o.beyond * max(abs(bounds[0]), float(targets["std"].to_numpy().max()))
        )
        if not (above or under):
            return
        yield Finding(
            message=(
                f"{by or 'the last activation'} gives {bounds[0]:g} to {bounds[1]:g} and the targets run from "
                f"{low:.3g} to {high:.3g}: the output sticks at its bound, without gradient"
            ),
            place=Place(layer="output"),
            evidence={"operator": by, "bounds": [str(b) for b in bounds], "targets": [low, high]},
            fix=Fix(FixSafety.UNSAFE, "a linear last layer; scale the targets to mean 0 and deviation 1"),
        )

    def _targets(self, run: RunFacts) -> pl.DataFrame:
        return rows(run, "input" if distance(run)["target"] == "inputs" else "target")

    def _pinned(self, run: RunFacts) -> tuple[float, float] | None:
        outputs = rows(run, "output").drop_nulls("maximum").tail(3)
        high, low = outputs["maximum"].to_numpy(), outputs["minimum"].to_numpy()
        if outputs.height < 3 or low.min() < -1 or high.max() > 1 or (high < 1 - self.options.pinned).any():
            return None
        return (-1.0, 1.0) if np.median(outputs["mean"].to_numpy()) > 1 - 10 * self.options.pinned else None
