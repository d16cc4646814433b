"""See GradientsNotCleared."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.watching.facts import RunFacts


class GradientsNotCleared(Rule):
    """Gradients of the step before are still there when backward begins: zero_grad is missing.

    ## What it does
    Looks, as each gradient arrives, at what `.grad` already holds.

    ## Why is this bad?
    Gradients of all steps add up: the update follows a sum over the past, grows without bound and the loss
    diverges.

    ## How it is computed
    A step counts when every backward pass since the last optimizer step met non-zero gradients on a watched
    parameter. Gradient accumulation and a second loss through the same network meet cleared ones once. Fires at
    `share` of the steps after the first.

    ## Example
        gradients-not-cleared in 149 of 149 steps the gradients of the step before were still there; call
        optimizer.zero_grad()

    ## Fix
    Call `optimizer.zero_grad()` once per step, before backward or right after step.

    ## Known false positives
    A loop that keeps gradients on purpose (momentum by hand).

    ## References
    A labelled sample of 365 silent bugs from the PyTorch forum (PYSIASSIST) puts missed or misplaced training
    operations second of all causes, with 56. SO-60335387 is this bug.
    """

    name = "gradients-not-cleared"
    code = "RUN005"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        share: float = 0.5
        """Share of steps, in 0..1."""
        min_steps: int = 3
        """Steps before anything is said."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        known = run.steps["grads_before_backward"].drop_nulls()
        alive = int(known.sum() or 0)
        if len(known) >= self.options.min_steps and alive >= self.options.share * len(known):
            yield Finding(
                message=(
                    f"in {alive} of {len(known)} steps (limit {self.options.share:.0%}) the gradients of "
                    "the step before were still there when backward began; they add up because "
                    "optimizer.zero_grad() is not called"
                ),
                evidence={"steps": alive},
                affected=alive,
                of=len(known),
                fix=Fix(FixSafety.UNSAFE, "call optimizer.zero_grad() before backward"),
            )
