"""See LrZero."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules.run._calls import groups
from snellen.rules.run._edits import first_rate, set_recipe
from snellen.watching.facts import RunFacts


class LrZero(Rule):
    """The learning rate is 0 for most of the run.

    ## What it does
    Reads the learning rate in force at each step.

    ## Why is this bad?
    With a rate of 0 nothing is learned.

    ## How it is computed
    Fires when the rate is exactly 0 in at least `share` of `min_steps` or more steps and no update sampled in them
    moved a weight, as those of other parameter groups would. A warm-up from 0 and a cosine to 0 touch 0 in one step
    only.

    ## Example
        lr-zero the learning rate is 0 in 150 of 150 steps; no weight moved in them

    ## Fix
    Look at the scheduler: an integer division, a total of 0 steps, or `step()` called in the wrong place.

    ## Known false positives
    None known.

    ## References
    litgpt issues 689 and 2151 are two schedules that stayed at 0.
    """

    name = "lr-zero"
    code = "RUN004"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        share: float = 0.5
        """Share of steps at rate 0, in 0..1."""
        min_steps: int = 5
        """Steps before anything is said."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        rates = run.steps["lr"].drop_nulls().to_numpy()
        zero = int((rates == 0).sum())
        moved = (run.steps.filter(pl.col("lr") == 0)["update_ratio"].drop_nulls() > 0).any()
        if len(rates) >= self.options.min_steps and zero >= self.options.share * len(rates) and not moved:
            yield Finding(
                message=(
                    f"the learning rate is 0 in {zero} of {len(rates)} steps (limit "
                    f"{self.options.share:.0%}); no weight moved in them"
                ),
                evidence={"steps_at_zero": zero},
                affected=zero,
                of=len(rates),
                fix=self._fix(run),
            )

    def _fix(self, run: RunFacts) -> Fix:
        """A schedule that multiplies a rate by 0 is left out; a rate that was 0 from the start is replaced."""
        meant = max((float(options.get("initial_lr") or 0.0) for _, options in groups(run)), default=0.0)
        if meant > 0:
            edit = set_recipe(lr=meant, schedule="constant")
            return Fix(FixSafety.SAFE, f"train at the constant lr {meant:g} until the schedule is mended", edit)
        rate = first_rate(run)
        if rate:
            return Fix(FixSafety.SAFE, f"try lr {rate:g}", set_recipe(lr=rate))
        return Fix(FixSafety.UNSAFE, "set lr above 0, and look at what the schedule multiplies it by")
