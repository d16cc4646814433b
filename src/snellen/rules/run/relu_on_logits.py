"""See ReluOnLogits."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._loss import form, made_by
from snellen.rules.run._series import cross_entropy, event
from snellen.watching.facts import RunFacts

FIX = Fix(FixSafety.UNSAFE, "remove the activation behind the last linear layer")


class ReluOnLogits(Rule):
    """The last layer clips logits at 0.

    ## What it does
    Looks at the first outputs: none negative, many exactly 0.

    ## Why is this bad?
    A class at 0 gets no gradient and cannot be voted down; classes die one by one.

    ## How it is computed
    Fires when the loss is cross-entropy, told or recognised by value, the smallest of the first outputs is exactly 0,
    the largest is above 0 and at least `share` are exactly 0; or when a loss of logits was recognised and autograd says
    that a ReLU or tanh made them, or the loss is that of their ReLU or tanh.

    ## Example
        relu-on-logits 52 % of the first outputs are exactly 0 and none is negative

    ## Fix
    Remove the activation behind the last linear layer.

    ## Known false positives
    None known.

    ## References
    Lightning issue 4862 had it in an official example.
    """

    name = "relu-on-logits"
    code = "RUN016"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        share: float = 0.05
        """Share of first outputs that are exactly 0, in 0..1."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        known = form(run)
        if (
            known.get("name") in ("cross-entropy", "bce-logits", "focal", "binary-focal")
            and known["target"] != "one-hot"
        ):
            before = known["before"] or made_by(run)
            if before in ("relu", "tanh", "hardtanh", "threshold"):
                bound = "cannot be negative" if before in ("relu", "threshold") else "cannot leave -1 to 1"
                yield Finding(
                    message=(
                        f"a {before} sits on the logits of the {known['name']} (limit: none), which {bound}: a clipped "
                        "class gets no gradient and cannot be voted down"
                    ),
                    place=Place(layer="output"),
                    evidence={"operator": before, "loss": known["name"]},
                    fix=FIX,
                )
                return
        zeros = event(run, "output-zero-share")
        if cross_entropy(run) and run.output_range and zeros and zeros["value"] >= self.options.share:
            low, high, _ = run.output_range
            if low == 0 < high:
                yield Finding(
                    message=(
                        f"{zeros['value']:.0%} of the first outputs are exactly 0 (limit "
                        f"{self.options.share:.0%}) and none is negative: a ReLU sits on the logits, and "
                        "a clipped class gets no gradient"
                    ),
                    place=Place(layer="output"),
                    evidence={"zero_share": zeros["value"], "maximum": high},
                    fix=FIX,
                )
