"""See LossWithoutGraph."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._loss import made_by, rows
from snellen.rules.run._series import event
from snellen.watching.facts import RunFacts


class LossWithoutGraph(Rule):
    """The loss that is differentiated has no graph.

    ## What it does
    Looks at the loss tensor that the loop reports.

    ## Why is this bad?
    backward() runs without complaint and reaches nothing: no weight gets a gradient.

    ## How it is computed
    Fires when in at least `share` of the steps the loss was a leaf tensor that asks for a gradient: made anew by
    `torch.tensor(loss, requires_grad=True)`, `Variable(loss.data, requires_grad=True)`,
    `loss.detach().requires_grad_()`.

    ## Example
        loss-without-graph in 150 of 150 steps the loss was a new tensor with requires_grad set and no graph

    ## Fix
    Differentiate the result of the loss function itself; use `.item()` only for logging.

    ## Known false positives
    None known.

    ## References
    PyTorch forum, `element 0 of tensors does not require grad`, and the usual wrong remedy for it.
    """

    name = "loss-without-graph"
    code = "RUN096"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        share: float = 0.5
        """Share of the steps, in 0..1."""
        min_steps: int = 3
        """Steps before anything is said."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        found = event(run, "loss-is-leaf")
        total = run.steps.height
        if found and total >= self.options.min_steps and found["value"] >= self.options.share * total:
            count = int(found["value"])
            told = rows(run, "output").height > 0
            cut = told and not made_by(run)
            why = "; the outputs had none, either: the model ran under no_grad, or they were detached" if cut else ""
            yield Finding(
                message=(
                    f"in {count} of {total} steps (limit {self.options.share:.0%}) the loss was a new tensor with "
                    f"requires_grad set by hand and no graph; backward() ends there and no weight gets a gradient{why}"
                ),
                place=Place(step=found["step"]),
                evidence={
                    "steps": count,
                    "chain": [
                        *([f"outputs have {'no' if cut else 'a'} graph"] if told else []),
                        "the loss is a leaf",
                        "0 gradients arrive",
                    ],
                },
                affected=count,
                of=total,
                fix=Fix(
                    FixSafety.UNSAFE,
                    "run the model with gradients on" if cut else "call backward() on what the loss function returned",
                ),
            )
