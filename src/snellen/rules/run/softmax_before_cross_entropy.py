"""See SoftmaxBeforeCrossEntropy."""

import math
from collections.abc import Iterator

from snellen.findings import Category, Finding, Rule, RuleOptions
from snellen.rules.run._series import cross_entropy
from snellen.watching.facts import RunFacts


class SoftmaxBeforeCrossEntropy(Rule):
    """Probabilities go into a cross-entropy that applies softmax itself.

    ## What it does
    Looks at the first outputs: non-negative, rows that sum to 1.

    ## Why is this bad?
    With C classes the loss cannot fall below ln(1 + (C-1)/e), 1.46 for 10 classes, and gradients shrink.

    ## How it is computed
    Fires when the loss is cross-entropy, no output of the first batches is below 0 or above 1 and rows sum to 1
    within `tolerance`.

    ## Example
        softmax-before-cross-entropy output rows sum to 1.000; the loss cannot fall below 1.46

    ## Fix
    Drop the softmax from the model and apply it only to read predictions.

    ## Known false positives
    None known.

    ## References
    PyTorch documentation of CrossEntropyLoss: input is expected to be unnormalised logits.
    """

    name = "softmax-before-cross-entropy"
    code = "RUN014"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        tolerance: float = 5e-3
        """Distance of the mean row sum from 1; wide enough for float16."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        if cross_entropy(run) and run.output_range:
            low, high, rows = run.output_range
            if low >= 0 and high <= 1 + self.options.tolerance and abs(rows - 1) <= self.options.tolerance:
                floor = math.log(1 + (run.num_classes - 1) / math.e) if run.num_classes else None
                least = f"the loss cannot fall below {floor:.2f}" if floor else "the loss cannot reach 0"
                yield Finding(
                    message=(
                        f"the model's outputs are probabilities (rows sum to {rows:.3f}, limit 1 +- "
                        f"{self.options.tolerance}) and cross-entropy applies softmax again; {least}"
                    ),
                    evidence={"minimum": low, "maximum": high, "row_sum": rows},
                )
