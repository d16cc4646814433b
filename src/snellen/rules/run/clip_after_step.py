"""See ClipAfterStep."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules.run._calls import sequences
from snellen.watching.facts import RunFacts


class ClipAfterStep(Rule):
    """Gradients are clipped after the optimizer used them.

    ## What it does
    Reads where in the step gradients are written to.

    ## Why is this bad?
    Clipping has no effect: the update was taken from the whole gradient.

    ## How it is computed
    Fires when in at least `share` of the steps gradients were changed, not cleared, between the step of the
    optimizer and the next backward.

    ## Example
        clip-after-step in 149 of 150 steps gradients were clipped after optimizer.step()

    ## Fix
    Call `clip_grad_norm_` between backward and `optimizer.step()`.

    ## Known false positives
    A loop that keeps and decays gradients on purpose.

    ## References
    PYSIASSIST lists misplaced training operations second of all causes, with 56 of 365.
    """

    name = "clip-after-step"
    code = "RUN091"
    category = Category.SUSPICIOUS

    class Options(RuleOptions):
        """Options of this rule."""

        share: float = 0.2
        """Share of the steps in this order, in 0..1; a clip that does not bite leaves no trace."""
        min_steps: int = 3
        """Steps before anything is said."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        total = wrong = 0
        for s in sequences(run):
            total += s.steps
            if "clip" in s.calls and "backward" in s.calls:
                last = len(s.calls) - 1 - s.calls[::-1].index("clip")
                wrong += s.steps if last < s.calls.index("backward") else 0
        if total >= self.options.min_steps and wrong >= self.options.share * total:
            yield Finding(
                message=(
                    f"in {wrong} of {total} steps (limit {self.options.share:.0%}) gradients were clipped after "
                    "optimizer.step() and before the next backward; clipping has no effect"
                ),
                evidence={"chain": ["backward", "step", "clip"]},
                affected=wrong,
                of=total,
                fix=Fix(FixSafety.SAFE, "clip between backward and optimizer.step()"),
            )
