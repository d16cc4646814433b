"""See SoftmaxBeforeCrossEntropy."""

import math
from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._loss import form, made_by
from snellen.rules.run._series import cross_entropy
from snellen.watching.facts import RunFacts

FIX = Fix(FixSafety.UNSAFE, "drop the softmax from the model and apply it only to read predictions")


class SoftmaxBeforeCrossEntropy(Rule):
    """Probabilities go into a cross-entropy that applies softmax itself.

    ## What it does
    Looks at the first outputs: non-negative, rows that sum to 1; and at what stands between them and the loss.

    ## Why is this bad?
    With C classes the loss cannot fall below ln(1 + (C-1)/e), 1.46 for 10 classes, and gradients shrink.

    ## How it is computed
    Fires when the loss is cross-entropy, told or recognised by value, or its focal form, and no output of the first
    batches is below 0 or above 1 and rows sum to 1 within `tolerance`; or autograd says that a softmax or sigmoid made
    the outputs; or the loss was recognised as the cross-entropy of their softmax or sigmoid.

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
    causes = ("softmax-over-batch",)

    class Options(RuleOptions):
        """Options of this rule."""

        tolerance: float = 5e-3
        """Distance of the mean row sum from 1; wide enough for float16."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        focal = form(run).get("name") == "focal"
        if not (cross_entropy(run) or focal):
            return
        classes = form(run).get("classes") or run.num_classes
        floor = math.log(1 + (classes - 1) / math.e) if classes else None
        least = f"the loss cannot fall below {floor:.2f}" if floor and not focal else "its gradients shrink"
        before = form(run).get("before") or made_by(run)
        if before in ("softmax", "sigmoid"):
            where = "stands between outputs and loss" if form(run).get("before") else "made the outputs"
            yield Finding(
                message=f"a {before} {where} (limit: raw outputs), and cross-entropy applies softmax again; {least}",
                place=Place(layer="output"),
                evidence={"before": before, "floor": floor},
                fix=FIX,
            )
        elif run.output_range:
            low, high, rows = run.output_range
            if low >= 0 and high <= 1 + self.options.tolerance and abs(rows - 1) <= self.options.tolerance:
                yield Finding(
                    message=(
                        f"the model's outputs are probabilities (rows sum to {rows:.3f}, limit 1 +- "
                        f"{self.options.tolerance}) and cross-entropy applies softmax again; {least}"
                    ),
                    evidence={"minimum": low, "maximum": high, "row_sum": rows},
                    fix=FIX,
                )
