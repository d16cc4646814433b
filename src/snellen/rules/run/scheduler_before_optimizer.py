"""See SchedulerBeforeOptimizer."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules.run._calls import sequences
from snellen.watching.facts import RunFacts


class SchedulerBeforeOptimizer(Rule):
    """The scheduler steps before the optimizer.

    ## What it does
    Reads the order of calls in each step.

    ## Why is this bad?
    The first rate of the schedule is never used, and every later one a step too early.

    ## How it is computed
    Fires when, between the last backward and the step of the optimizer, the scheduler was stepped in at least
    `share` of the steps, or when it was stepped before the very first step of the optimizer in a loop that steps
    it every time.

    ## Example
        scheduler-before-optimizer in 150 of 150 steps scheduler.step() ran between backward and
        optimizer.step()

    ## Fix
    Call `scheduler.step()` after `optimizer.step()`.

    ## Known false positives
    None known.

    ## References
    PyTorch documentation of torch.optim.lr_scheduler: before 1.1 the order was the other way round; PYSIASSIST
    pattern.
    """

    name = "scheduler-before-optimizer"
    code = "RUN084"
    category = Category.SUSPICIOUS

    class Options(RuleOptions):
        """Options of this rule."""

        share: float = 0.5
        """Share of the steps in this order, in 0..1."""
        min_steps: int = 3
        """Steps before anything is said."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        total = wrong = 0
        at_start = False
        for s in sequences(run):
            total += s.steps
            if "scheduler" not in s.calls or "backward" not in s.calls or "step" not in s.calls:
                continue
            at = s.calls.index("scheduler")
            last = len(s.calls) - 1 - s.calls[::-1].index("backward")
            wrong += s.steps if last < at < s.calls.index("step") else 0
            at_start |= s.first_step == 0
        often = wrong >= self.options.share * total
        if total >= self.options.min_steps and (often or at_start):
            yield Finding(
                message=(
                    f"scheduler.step() ran before optimizer.step() in {wrong} of {total} steps (limit "
                    f"{self.options.share:.0%}); the first learning rate is never used"
                    if often
                    else f"scheduler.step() ran before the first of {total} optimizer steps (limit: after it); the "
                    "first learning rate is never used"
                ),
                evidence={"chain": ["backward", "scheduler.step()", "optimizer.step()"]},
                affected=wrong,
                of=total,
                fix=Fix(FixSafety.SAFE, "call scheduler.step() after optimizer.step()"),
            )
