"""See SoftmaxOverBatch."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Rule, RuleOptions
from snellen.rules.run._series import event
from snellen.watching.facts import RunFacts


class SoftmaxOverBatch(Rule):
    """Softmax runs over the batch instead of the classes.

    ## What it does
    Looks at the columns of the first outputs: non-negative and summing to 1 over the batch.

    ## Why is this bad?
    Each prediction depends on which other images are in the batch.

    ## How it is computed
    Fires when in at least `batches` of the first three batches every output column sums to 1 over the batch within
    5e-3.

    ## Example
        softmax-over-batch output columns sum to 1 over the batch

    ## Fix
    Give softmax the class dimension, dim=1.

    ## Known false positives
    None known.

    ## References
    PYSIASSIST lists the wrong dimension of softmax among loss and activation errors.
    """

    name = "softmax-over-batch"
    code = "RUN015"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        batches: int = 2
        """How many of the first three batches."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        found = event(run, "columns-sum-to-one")
        if found and found["value"] >= self.options.batches:
            yield Finding(
                message=(
                    f"in {int(found['value'])} of the first batches (limit {self.options.batches}) every "
                    "output column sums to 1 over the batch: softmax has the wrong dimension and couples "
                    "the samples"
                ),
                evidence={"batches": int(found["value"])},
            )
