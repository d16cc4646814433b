"""See DropoutOnOutputs."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._layers import modules
from snellen.rules.run._loss import form, rows
from snellen.watching.facts import RunFacts


class DropoutOnOutputs(Rule):
    """Dropout sits behind the last layer, on the answer itself.

    ## What it does
    Looks whether the last module that ran is a dropout and its output went into the loss.

    ## Why is this bad?
    In training a share p of the answers is set to 0 and the others are 1 / (1 - p) times too large. The loss cannot
    fall below what that costs, and a regression learns answers that are wrong in eval mode.

    ## How it is computed
    Fires when the loss was recognised by its value, the last module called in the first forward pass is a dropout of p
    at or above `p` in train mode, and the outputs have its shape.

    ## Example
        dropout-on-outputs dropout of 0.5 acts on the outputs of shape [32, 1]

    ## Fix
    Move the dropout before the last linear layer.

    ## Known false positives
    None known.

    ## References
    Srivastava et al. 2014, Dropout: it is for hidden and input units.
    """

    name = "dropout-on-outputs"
    code = "RUN198"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        p: float = 0.05
        """Share that is dropped."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        called = [m for m in modules(run) if m["order"] is not None and m["calls"]]
        outputs = rows(run, "output")["shape"].to_list()
        if not form(run) or not called or not outputs:
            return
        last = called[-1]
        p = last["settings"].get("p", 0.0)
        if "Dropout" not in last["kind"] or not last["training"] or p < self.options.p:
            return
        if last["output_shape"] != outputs[0]:
            return
        yield Finding(
            message=(
                f"dropout of {p:g} (limit {self.options.p:g}) acts on the outputs, of shape {outputs[0]}: {p:.0%} of "
                f"the answers are set to 0 in training and the others are {1 / max(1 - p, 1e-3):.2g} times too large"
            ),
            place=Place(layer=last["name"]),
            evidence={"p": p, "layer": last["name"]},
            fix=Fix(FixSafety.UNSAFE, "move the dropout before the last linear layer"),
        )
