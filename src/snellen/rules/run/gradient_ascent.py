"""See GradientAscent."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule
from snellen.rules.run._loss import form
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
    minimises, or a known loss and the optimizer maximises. No threshold.

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

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        known = form(run)
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
