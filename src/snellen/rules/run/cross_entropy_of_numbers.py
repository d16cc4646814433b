"""See CrossEntropyOfNumbers."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._loss import BINARY, form, rows
from snellen.watching.facts import RunFacts


class CrossEntropyOfNumbers(Rule):
    """A loss of classification is applied to numbers that are no classes and no probabilities.

    ## What it does
    Recognises a cross-entropy and looks at its targets.

    ## Why is this bad?
    Cut to whole numbers, a target of 0.9 is class 0; taken for a probability, a target of 30 or -2 makes a loss
    without a minimum. Neither learns the number.

    ## How it is computed
    Fires when cross-entropy was recognised with targets cut to whole ones and the targets given are not whole; when
    cross-entropy with soft targets, or a binary one, was recognised and some targets are below -`slack` or above
    1 + `slack`; or when cross-entropy with soft targets was recognised and they are zeros and ones, of which a sample
    has more than `marks` ones in the mean: several labels that softmax lets compete.

    ## Example
        cross-entropy-of-numbers targets run from -1.6 to 2.5 and binary cross-entropy takes them for probabilities

    ## Fix
    A loss of regression: MSELoss, L1Loss, SmoothL1Loss.

    ## Known false positives
    None known.

    ## References
    DeepFD, real programs with a classification loss on a regression target.
    """

    name = "cross-entropy-of-numbers"
    code = "RUN045"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        slack: float = 0.01
        """How far a probability may be outside 0..1, as rounding and resizing leave it."""
        marks: float = 1.05
        """Mean number of classes that a sample of zeros and ones marks; one label each makes 1 at most."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        known, targets = form(run), rows(run, "target").drop_nulls("minimum")
        if not known or not targets.height or str(known.get("against", "")).startswith("inputs:"):
            return
        low, high = float(targets["minimum"].to_numpy().min()), float(targets["maximum"].to_numpy().max())
        slack = self.options.slack
        outside = low < -slack or high > 1 + slack
        if known["target"] == "cast-ids" and known["name"] in ("cross-entropy", "nll", "focal"):
            if bool(targets["whole"].all()):
                return
            how = "cuts them to whole numbers and takes those for classes"
        elif (known["target"] == "soft" or known["name"] in BINARY) and known["target"] != "one-hot" and outside:
            how = "takes them for probabilities (limits 0 and 1)"
        elif known["target"] == "soft" and known["name"] == "cross-entropy" and bool(targets["whole"].all()):
            marks = [m * s[1] for m, s in zip(targets["mean"].to_list(), targets["shape"].to_list(), strict=True)]
            most = sum(marks) / len(marks)
            if low < 0 or most <= self.options.marks:
                return
            yield Finding(
                message=(
                    f"targets of 0 and 1 mark {most:.2f} classes per sample (limit {self.options.marks:g}) and the "
                    f"{known['name']} takes them for probabilities of classes that exclude each other: each label "
                    "learned takes from the others"
                ),
                place=Place(layer="target"),
                evidence={"marks": most, "loss": known["name"]},
                fix=Fix(FixSafety.UNSAFE, "binary_cross_entropy_with_logits for several labels per sample"),
            )
            return
        else:
            return
        yield Finding(
            message=(
                f"targets run from {low:.3g} to {high:.3g} and the {known['name']} {how}: the numbers themselves are "
                "never learned"
            ),
            place=Place(layer="target"),
            evidence={"minimum": low, "maximum": high, "loss": known["name"]},
            fix=Fix(FixSafety.UNSAFE, "mse_loss or l1_loss for a target that is a number"),
        )
