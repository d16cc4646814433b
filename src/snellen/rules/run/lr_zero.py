"""See LrZero."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Rule, RuleOptions
from snellen.rules.run._series import ratios
from snellen.watching.facts import RunFacts


class LrZero(Rule):
    """The learning rate is 0 for most of the run.

    ## What it does
    Reads the learning rate in force at each step.

    ## Why is this bad?
    With a rate of 0 nothing is learned.

    ## How it is computed
    Fires when the rate is exactly 0 in at least `share` of `min_steps` or more steps and no sampled update moved a
    weight. A warm-up from 0 and a cosine to 0 touch 0 in one step only.

    ## Example
        lr-zero the learning rate is 0 in 150 of 150 steps; no weight moved

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
        sizes = ratios(run)
        zero = int((rates == 0).sum())
        if len(rates) >= self.options.min_steps and zero >= self.options.share * len(rates) and not (sizes > 0).any():
            yield Finding(
                message=(
                    f"the learning rate is 0 in {zero} of {len(rates)} steps (limit "
                    f"{self.options.share:.0%}); no weight moved"
                ),
                evidence={"steps_at_zero": zero},
                affected=zero,
                of=len(rates),
            )
