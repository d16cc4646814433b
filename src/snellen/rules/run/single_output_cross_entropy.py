"""See SingleOutputCrossEntropy."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._loss import made_by, rows
from snellen.rules.run._series import losses
from snellen.watching.facts import RunFacts


class SingleOutputCrossEntropy(Rule):
    """Cross-entropy over one output, which is 0 whatever the output is.

    ## What it does
    Looks for a loss that is exactly 0 in every step, and outputs of one column.

    ## Why is this bad?
    The softmax of a single number is 1: loss and gradient are 0 and nothing is learned.

    ## How it is computed
    Fires when the model gives one output per sample and the first `steps` losses and all later ones are exactly 0, or
    when autograd says that a softmax made the outputs and every one of them was 1.

    ## Example
        single-output-cross-entropy all 60 losses are exactly 0 and the model has 1 output

    ## Fix
    One output per class, or BCEWithLogitsLoss for a yes-or-no answer.

    ## Known false positives
    A hinge loss whose margin is met from the first step.

    ## References
    DeepFD, its real programs with one output and categorical cross-entropy.
    """

    name = "single-output-cross-entropy"
    code = "RUN043"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        steps: int = 3
        """Losses that have to be exactly 0."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        values = losses(run)
        shapes = rows(run, "output")["shape"].to_list()
        if len(values) < self.options.steps or not shapes:
            return
        outputs = rows(run, "output").drop_nulls(["minimum", "maximum"])
        ones = outputs.height > 0 and bool(((outputs["minimum"] == 1) & (outputs["maximum"] == 1)).all())
        if ones and made_by(run) == "softmax":
            yield Finding(
                message=(
                    f"a softmax made the outputs, of shape {shapes[0]}, and every one of them is 1 (limit: 2 classes): "
                    "of one number a softmax makes 1, whatever it is, and lets no gradient through"
                ),
                place=Place(layer="output"),
                evidence={"output_shape": shapes[0]},
                fix=Fix(FixSafety.UNSAFE, "a sigmoid, or one output per class"),
            )
            return
        if values.any():
            return
        if all(len(s) >= 2 and s[1] == 1 for s in shapes):
            yield Finding(
                message=(
                    f"all {len(values)} losses are exactly 0 (limit {self.options.steps}) and the model has 1 output: "
                    "the softmax of one number is 1, so cross-entropy gives no gradient"
                ),
                place=Place(layer="loss"),
                evidence={"steps": len(values), "output_shape": shapes[0]},
                fix=Fix(FixSafety.UNSAFE, "binary_cross_entropy_with_logits, or one output per class"),
            )
