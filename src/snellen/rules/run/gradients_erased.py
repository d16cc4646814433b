"""See GradientsErased."""

from collections.abc import Iterator, Mapping
from typing import Any

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._series import event
from snellen.watching.facts import RunFacts


class GradientsErased(Rule):
    """Gradients arrive in backward and are gone when the optimizer steps.

    ## What it does
    Compares the gradients that backward made with those the optimizer finds.

    ## Why is this bad?
    Nothing is learned: the optimizer sees zeros.

    ## How it is computed
    A step counts when watched parameters received a non-zero gradient and all gradients the optimizer holds are
    None or 0. Fires at `share` of the steps. It fires, too, when each of several backward passes had a forward pass of
    its own with the same weights, and only the gradients of the last were still there when the optimizer stepped, and
    nothing else had been put in their place.

    ## Example
        gradients-erased in 150 of 150 steps gradients were erased between backward and step

    ## Fix
    Move `optimizer.zero_grad()` before `loss.backward()` or after `optimizer.step()`.

    ## Known false positives
    None known.

    ## References
    A labelled sample of 365 silent bugs from the PyTorch forum (PYSIASSIST) puts missed or misplaced training
    operations second of all causes, with 56.
    """

    name = "gradients-erased"
    code = "RUN006"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        share: float = 0.5
        """Share of steps, in 0..1."""
        min_steps: int = 3
        """Steps before anything is said."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        found = event(run, "gradients-erased")
        total = run.steps.height
        passes = event(run, "passes-erased")
        # Of several batches that are recorded, one is stepped with.
        stepped = run.steps["grad_norm"].drop_nulls().len() or total
        if not found and passes and passes["value"] >= max(self.options.share * stepped, self.options.min_steps):
            yield self._micro_batches(passes, stepped)
        if found and total >= self.options.min_steps and found["value"] >= self.options.share * total:
            count = int(found["value"])
            yield Finding(
                message=(
                    f"in {count} of {total} steps (limit {self.options.share:.0%}) gradients arrived in "
                    "backward and were erased before optimizer.step(); zero_grad() stands between them"
                ),
                place=Place(step=found["step"]),
                evidence={"steps": count},
                affected=count,
                of=total,
                fix=Fix(
                    FixSafety.UNSAFE,
                    "call optimizer.zero_grad() before loss.backward(), not between it and optimizer.step()",
                ),
            )

    def _micro_batches(self, passes: Mapping[str, Any], total: int) -> Finding:
        """The finding for gradients of micro-batches that are cleared before they are added up."""
        count, most = int(passes["value"]), int(passes["layer"])
        return Finding(
            message=(
                f"in {count} of {total} steps (limit {self.options.share:.0%}) gradients of up to {most - 1} of {most} "
                "backward passes were erased before optimizer.step(); zero_grad() is called for each micro-batch and "
                "only the last counts"
            ),
            place=Place(step=passes["step"]),
            evidence={"steps": count, "passes": most},
            affected=count,
            of=total,
            fix=Fix(FixSafety.UNSAFE, "call optimizer.zero_grad() once after each optimizer.step()"),
        )
