"""See InputNotUsed."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules._causes import TRAINING_FAULTS
from snellen.rules.run._trials import last, learned
from snellen.watching.facts import RunFacts


class InputNotUsed(Rule):
    """After training, every input gets the same output.

    ## What it does
    Compares the outputs of different samples with each other, in eval mode, on the trained weights.

    ## Why is this bad?
    The network has become a constant: the best it can reach is the guess that ignores the input.

    ## How it is computed
    The deviation of the outputs among samples over their root mean square is below `limit`, after at least `steps`
    steps, on samples whose inputs differ by at least `spread`. At the start it says nothing: a head that begins at zero
    answers the same for all.

    ## Example
        input-not-used  after 200 steps the outputs of different samples differ by 0 (limit 1e-05)

    ## Fix
    Folded under its cause when one is found (dead ReLUs, learning rate, blank input). Without one: follow the input
    through `forward` and see where it is dropped or overwritten.

    ## Known false positives
    A model of one constant, such as a baseline.

    ## References
    Karpathy, A Recipe for Training Neural Networks: input-independent baseline. TheDeepChecker: constant output.
    """

    name = "input-not-used"
    code = "RUN062"
    category = Category.CORRECTNESS
    causes = tuple(
        name for name in TRAINING_FAULTS if name not in ("initial-loss-off", "loss-not-finite", "token-order-ignored")
    )

    class Options(RuleOptions):
        """Options of this rule."""

        limit: float = 1e-5
        """Relative deviation of the outputs among samples; rounding gives 1e-7."""
        spread: float = 1e-2
        """Least relative deviation of the inputs among samples."""
        steps: int = 20
        """Updates after which a zero head has long moved."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        apart, inputs = learned(run, "sample-spread", self.options.steps), last(run, "input-spread")
        if apart is None or inputs is None or apart["value"] >= self.options.limit:
            return
        if inputs["value"] < self.options.spread:
            return
        yield Finding(
            message=(
                f"after {max(apart['step'] + 1, run.steps.height):,} steps the outputs of different samples differ by "
                f"{apart['value']:.0e} of their size (limit {self.options.limit:.0e}) and their inputs by "
                f"{inputs['value']:.0%}: the network answers one constant"
            ),
            evidence={"output_spread": apart["value"], "input_spread": inputs["value"]},
            fix=Fix(FixSafety.UNSAFE, "follow the input through forward to where it is dropped or overwritten"),
        )
