"""See NllWithoutLogSoftmax."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._loss import form, made_by, rows
from snellen.watching.facts import RunFacts

CTC = ("ctcloss", "cudnnctcloss", "mkldnnctcloss")
RAW = (
    "addmm", "mm", "bmm", "baddbmm", "convolution", "relu", "tanh", "sigmoid", "softmax", "gelu", "silu", "leakyrelu",
    "nativelayernorm", "nativebatchnorm",
)  # fmt: skip
"""Operators that do not end in logarithms of probabilities."""


class NllWithoutLogSoftmax(Rule):
    """The negative log-likelihood gets numbers that are no logarithms of probabilities.

    ## What it does
    Recognises the loss as minus the output of the target's class, and looks at what the outputs are.

    ## Why is this bad?
    On raw outputs the loss has no lower bound: it falls without end, by making outputs larger. On probabilities it
    stays between -1 and 0, and the gradient of a wrong sample vanishes.

    ## How it is computed
    The loss equals the mean or sum of -output[target] in every batch that was looked at. Log-probabilities, whose
    cross-entropy is the same number, are told from it by their exponentials, which sum to 1. They are called
    probabilities when rows sum to 1 within `tolerance`. Of a CTC loss, which has no such form, autograd tells what made
    its input: a matrix product or an activation is no log_softmax.

    ## Example
        nll-without-log-softmax NLLLoss gets raw outputs (-0.4 to 0.5); it falls without bound

    ## Fix
    Use CrossEntropyLoss on the raw outputs, or end the model with log_softmax.

    ## Known false positives
    None known.

    ## References
    PyTorch documentation of NLLLoss: input is expected to contain log-probabilities of each class.
    """

    name = "nll-without-log-softmax"
    code = "RUN041"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        tolerance: float = 5e-3
        """Distance of every row sum from 1; wide enough for float16."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        known = form(run)
        if run.loss_operators and run.loss_operators[0] in CTC and run.loss_operators[1] in RAW:
            yield Finding(
                message=(
                    f"the CTC loss gets what {run.loss_operators[1]} made (limit: log_softmax), no log-probabilities: "
                    "it has no lower bound and falls by making outputs larger"
                ),
                place=Place(layer="output"),
                evidence={"operators": run.loss_operators},
                fix=Fix(FixSafety.UNSAFE, "outputs.log_softmax(-1) before the CTC loss"),
            )
            return
        if known.get("name") != "nll" or known["before"] not in ("", "softmax") or known["sign"] < 0:
            return
        outputs = rows(run, "output")
        off = outputs["row_sum_off"].drop_nulls()
        unit = len(off) and float(off.to_numpy()[:3].max()) <= self.options.tolerance
        low, high = (outputs[c].drop_nulls()[:1].to_list() for c in ("minimum", "maximum"))
        probabilities = known["before"] == "softmax" or made_by(run) == "softmax" or bool(unit and low and low[0] >= 0)
        span = f" ({low[0]:.3g} to {high[0]:.3g})" if low and high else ""
        what = "probabilities, not their logarithms" if probabilities else f"raw outputs{span}, not log-probabilities"
        harm = "it cannot leave -1 to 0 and wrong samples get no gradient" if probabilities else "it has no lower bound"
        yield Finding(
            message=f"the negative log-likelihood gets {what} (the loss is -output[target] exactly); {harm}",
            place=Place(layer="output"),
            evidence={"minimum": low, "maximum": high, "error": known["error"]},
            fix=Fix(FixSafety.UNSAFE, "cross_entropy(outputs, targets) on raw outputs"),
        )
