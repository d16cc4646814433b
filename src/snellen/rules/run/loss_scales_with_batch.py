"""See LossScalesWithBatch."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules.run._trials import first
from snellen.watching.facts import RunFacts


class LossScalesWithBatch(Rule):
    """The loss is a sum over the batch: twice the samples, twice the loss.

    ## What it does
    Computes the loss of a few samples, of each of them alone, and of all of them twice.

    ## Why is this bad?
    Gradients, and with SGD the best learning rate, change with the batch size; a last, smaller batch weighs less.

    ## How it is computed
    Fires when every sample twice gives 2 times the loss within `tolerance`, and the loss of the batch is the sum of the
    single losses within the same. Said for information: a sum is legal when the learning rate goes with it.

    ## Example
        loss-scales-with-batch  every sample twice gives 2.00 times the loss

    ## Fix
    Use reduction="mean", or divide by the number of samples.

    ## Known false positives
    Sums by intent.

    ## References
    TheDeepChecker: doubling the batch doubles the loss.
    """

    name = "loss-scales-with-batch"
    code = "RUN066"
    category = Category.STYLE
    causes = ("broadcast-loss", "loss-summed-over-batch")

    class Options(RuleOptions):
        """Options of this rule."""

        tolerance: float = 0.01
        """Relative distance from exactly 2, and from exactly the sum."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        twice, together = first(run, "doubled-batch"), first(run, "batch-loss")
        if twice is None or together is None or not together["expected"] or (together["setting"] or 0) < 3:
            return
        ratio = together["value"] / (together["expected"] * together["setting"])
        if abs(twice["value"] / 2 - 1) > self.options.tolerance or abs(ratio - 1) > self.options.tolerance:
            return
        yield Finding(
            message=(
                f"every sample twice gives {twice['value']:.2f} times the loss (a mean gives 1): the loss is a sum "
                "over the batch, and gradients grow with the batch size"
            ),
            evidence={"doubled": twice["value"], "batch_over_sum": ratio},
            fix=Fix(FixSafety.UNSAFE, 'average the loss over the batch: reduction="mean"'),
        )
