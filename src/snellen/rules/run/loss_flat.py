"""See LossFlat."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules._causes import TRAINING_FAULTS
from snellen.rules.run._series import fall, first_loss, warming_up
from snellen.watching.facts import RunFacts


class LossFlat(Rule):
    """The loss does not fall, and nothing seen says why.

    ## What it does
    Compares the last fifth of the losses with the first.

    ## Why is this bad?
    The run learns nothing.

    ## How it is computed
    1 - median(last fifth) / median(first fifth) below `least_fall` after `min_steps` steps and, where epochs are
    known, `min_epochs`. A loss far below the expected one at the start, and one without a named kind (an
    adversarial loss is flat when all is well), are not judged. Folded under the cause when one is found.

    ## Example
        loss-flat the loss fell by 0.3 % in 300 steps (limit 2 %)

    ## Fix
    With no cause beside it: do labels belong to their images? Can the network overfit 16 samples?

    ## Known false positives
    A hard dataset early in a long training.

    ## References
    SageMaker Debugger LossNotDecreasing (0.1 % per 10 steps); TheDeepChecker (5 % per 5).
    """

    name = "loss-flat"
    code = "RUN025"
    category = Category.SUSPICIOUS
    causes = TRAINING_FAULTS

    class Options(RuleOptions):
        """Options of this rule."""

        least_fall: float = 0.02
        """Share by which the loss must have fallen."""
        min_steps: int = 100
        """Steps before anything is said."""
        min_epochs: int = 3
        """Epochs before anything is said."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o = self.options
        n = run.steps.height
        if (
            n < o.min_steps
            or (run.epochs.height and run.epochs.height < o.min_epochs)
            or not run.loss_kind
            or warming_up(run)
        ):
            return
        expected = run.initial_loss_expected
        if expected is not None and first_loss(run) < 0.5 * expected:
            return
        if fall(run) < o.least_fall:
            yield Finding(
                message=(
                    f"the loss fell by {max(fall(run), 0.0):.1%} in {n} steps (limit {o.least_fall:.0%}); "
                    "nothing is learned"
                ),
                evidence={"steps": n, "fall": fall(run)},
                fix=Fix(
                    FixSafety.UNSAFE,
                    "check that labels belong to their inputs, and that 16 samples can be learned by heart",
                ),
            )
