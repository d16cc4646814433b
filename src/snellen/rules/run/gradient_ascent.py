"""See GradientAscent."""

from collections.abc import Iterator

import numpy as np

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._loss import form
from snellen.rules.run._series import losses
from snellen.watching.facts import RunFacts

EITHER_WAY = ("nll", "multi-margin", "poisson", "kl")
"""Forms whose negative is a loss of its own: a critic's score is a mean of outputs."""


class GradientAscent(Rule):
    """The optimizer makes the loss larger instead of smaller.

    ## What it does
    Compares the sign of the recognised loss with the direction of the optimizer.

    ## Why is this bad?
    The run learns to be wrong: accuracy falls below chance and the loss runs off without bound.

    ## How it is computed
    The loss is recognised by its value, sign included. Fires when it is the negative of a known loss and the optimizer
    minimises, or a known loss and the optimizer maximises: no threshold. Of a loss that is not recognised: when it fell
    below 0 to more than `runs_off` times its first size, faster in the second half of the run than in the first by
    `faster`, while the gradient grew by `growth`: what has a floor does not.

    ## Example
        gradient-ascent the loss is -1 times the mean cross-entropy of outputs and targets, and Adam minimises it

    ## Fix
    Minimise the loss itself: drop the minus sign, or `maximize=True` of the optimizer.

    ## Known false positives
    A step that makes a network worse on purpose (unlearning, adversarial training of an attacker).

    ## References
    TheDeepChecker; torch.optim, option `maximize`.
    """

    name = "gradient-ascent"
    code = "RUN040"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        runs_off: float = 50.0
        """Size of the last losses over that of the first; a log-likelihood of ever narrower densities grows as a
        logarithm."""
        faster: float = 3.0
        """Fall in the second half of the run over that in the first."""
        growth: float = 10.0
        """Gradient norm of the last fifth over that of the first."""
        min_steps: int = 60
        """Steps before anything is said of a loss that is not recognised."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        known = form(run)
        if not known and (off := self._runs_off(run)):
            yield off
        if not known or known["name"] in EITHER_WAY:
            return
        maximize = bool(run.options.get("maximize", False))
        if (known["sign"] < 0) == maximize:
            return
        what = "-1 times the" if known["sign"] < 0 else "the"
        verb = "maximises" if maximize else "minimises"
        yield Finding(
            message=(
                f"the loss is {what} {known['reduction']} {known['name']} of outputs and targets, and "
                f"{run.optimizer or 'the optimizer'} {verb} it: training makes the model worse"
            ),
            place=Place(layer="loss"),
            evidence={"loss": known["name"], "sign": known["sign"], "maximize": maximize},
            fix=Fix(FixSafety.UNSAFE, "drop maximize=True" if maximize else "drop the minus sign of the loss"),
        )

    def _runs_off(self, run: RunFacts) -> Finding | None:
        """The finding for a loss without a floor."""
        o, values = self.options, losses(run)
        norms = run.steps["grad_norm"].drop_nulls().to_numpy()
        if len(values) < o.min_steps or len(norms) < o.min_steps // 2 or not np.isfinite(values).all():
            return None
        n, m = len(values) // 5, len(norms) // 5
        first, middle, last = (float(np.median(values[at : at + n])) for at in (0, 2 * n, len(values) - n))
        small, large = float(np.median(norms[:m])), float(np.median(norms[-m:]))
        runs = last < 0 and abs(last) > o.runs_off * abs(first) and middle - last > o.faster * (first - middle) > 0
        if not (runs and large > o.growth * small > 0):
            return None
        return Finding(
            message=(
                f"the loss fell from {first:.3g} to {last:.3g} (limit {o.runs_off:g} times), ever faster, and the "
                f"gradient grew from {small:.3g} to {large:.3g}: nothing holds it from below, as when a likelihood is "
                "minimised instead of its negative"
            ),
            place=Place(layer="loss"),
            evidence={"first": first, "middle": middle, "last": last, "gradient": [small, large]},
            fix=Fix(FixSafety.UNSAFE, "look at the sign of the loss"),
        )
