"""See NoBackward."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._series import event
from snellen.watching.facts import RunFacts


class NoBackward(Rule):
    """The optimizer steps and no gradient ever arrives.

    ## What it does
    Watches whether backward brings any gradient between two steps of the optimizer.

    ## Why is this bad?
    Without a gradient the optimizer skips every parameter: nothing is learned.

    ## How it is computed
    A step counts when no watched parameter received a gradient and the optimizer found none. Fires at `share` of
    the steps.

    ## Example
        no-backward in 150 of 150 steps no gradient arrived; loss.backward() is not called

    ## Fix
    Call `loss.backward()` before `optimizer.step()`, on a loss that still has its graph (no `.item()`, `.data`,
    `torch.tensor(loss)`).

    ## Known false positives
    Optimizers that are given gradients by other means than `.grad`.

    ## References
    A labelled sample of 365 silent bugs from the PyTorch forum (PYSIASSIST) puts missed or misplaced training
    operations second of all causes, with 56.
    """

    name = "no-backward"
    code = "RUN007"
    category = Category.CORRECTNESS
    causes = (
        "forward-without-grad",
        "loss-without-graph",
    )

    class Options(RuleOptions):
        """Options of this rule."""

        share: float = 0.5
        """Share of steps, in 0..1."""
        min_steps: int = 3
        """Steps before anything is said."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        found = event(run, "no-backward")
        total = run.steps.height
        if found and total >= self.options.min_steps and found["value"] >= self.options.share * total:
            count = int(found["value"])
            yield Finding(
                message=(
                    f"in {count} of {total} steps (limit {self.options.share:.0%}) optimizer.step() ran "
                    "and no gradient had arrived; loss.backward() is missing or its loss is cut from the "
                    "model"
                ),
                place=Place(step=found["step"]),
                evidence={"steps": count},
                affected=count,
                of=total,
                fix=Fix(
                    FixSafety.UNSAFE, "call loss.backward() before optimizer.step(), on a loss that still has its graph"
                ),
            )
