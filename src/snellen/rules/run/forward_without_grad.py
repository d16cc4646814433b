"""See ForwardWithoutGrad."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._series import event
from snellen.watching.facts import RunFacts


class ForwardWithoutGrad(Rule):
    """The model runs under no_grad in the training step.

    ## What it does
    Looks whether gradients are switched on when the model runs.

    ## Why is this bad?
    No graph is built, so backward cannot reach the weights.

    ## How it is computed
    A step counts when the model ran since the last step and always with gradients off. Fires at `share` of the
    steps. A validation between two steps does not count: the training pass follows it.

    ## Example
        forward-without-grad in 150 of 150 steps the model ran under no_grad

    ## Fix
    Remove `torch.no_grad()` / `inference_mode` from the training pass, or `torch.set_grad_enabled(True)` after
    validation.

    ## Known false positives
    None known.

    ## References
    A labelled sample of 365 silent bugs from the PyTorch forum (PYSIASSIST) puts missed or misplaced training
    operations second of all causes, with 56.
    """

    name = "forward-without-grad"
    code = "RUN008"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        share: float = 0.5
        """Share of steps, in 0..1."""
        min_steps: int = 3
        """Steps before anything is said."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        found = event(run, "no-grad-forward")
        total = run.steps.height
        if any(row["moved"] for row in run.parameters.iter_rows(named=True)):
            return  # What was seen of the forward passes is not how it learns: torch.func, or gradients made by hand.
        if found and total >= self.options.min_steps and found["value"] >= self.options.share * total:
            count = int(found["value"])
            yield Finding(
                message=(
                    f"in {count} of {total} steps (limit {self.options.share:.0%}) the model ran only "
                    "with gradients switched off; nothing it holds can learn"
                ),
                place=Place(step=found["step"]),
                evidence={"steps": count},
                affected=count,
                of=total,
                fix=Fix(FixSafety.UNSAFE, "take the training pass out of torch.no_grad()"),
            )
