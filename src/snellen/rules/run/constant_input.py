"""See ConstantInput."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules.run._series import event
from snellen.watching.facts import RunFacts


class ConstantInput(Rule):
    """All samples of a batch are the same.

    ## What it does
    Compares the samples of the first batches with each other.

    ## Why is this bad?
    The model cannot tell inputs apart and learns the class shares.

    ## How it is computed
    Fires when in at least `batches` of the first three batches, of four samples or more, the largest difference
    between samples is exactly 0.

    ## Example
        constant-input 3 of the first batches hold identical samples

    ## Fix
    Look at the dataset's indexing and at normalisation that multiplies by 0.

    ## Known false positives
    A model whose first argument is a constant (a query, a mask).

    ## References
    PyTorch forum: dataset returns the same sample.
    """

    name = "constant-input"
    code = "RUN024"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        batches: int = 2
        """How many of the first three batches."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        found = event(run, "input-constant")
        if found and found["value"] >= self.options.batches:
            yield Finding(
                message=(
                    f"in {int(found['value'])} of the first batches (limit {self.options.batches}) all "
                    "samples are identical; nothing can be learned from them"
                ),
                evidence={"batches": int(found["value"])},
                fix=Fix(
                    FixSafety.UNSAFE,
                    "make the dataset return the sample at its index, and do not multiply by 0 in normalisation",
                ),
            )
