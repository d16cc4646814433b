"""See OptimizerStateLost."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._series import event
from snellen.watching.facts import RunFacts


class OptimizerStateLost(Rule):
    """The optimizer's memory was lost in the middle of training.

    ## What it does
    Follows how many steps the optimizer remembers, and whether the schedule stands where the optimizer does.

    ## Why is this bad?
    Adam's moments start anew: the first steps after it are as large as at the very start, at a schedule's late
    rate or without warm-up, and the loss jumps.

    ## How it is computed
    Fires when the state of an optimizer holds less than a tenth of the steps it had held, or when, as the watch
    began, a scheduler had been stepped already and the optimizer, one with momentum, held no state. Silent where the
    rate changed at that step by more than `phase` times: another phase begins, as after a search for the rate.

    ## Example
        optimizer-state-lost the optimizer's state of 300 steps was gone at step 300; moments start anew

    ## Fix
    Save and load `optimizer.state_dict()` and `scheduler.state_dict()` with the weights.

    ## Known false positives
    Optimizers reset on purpose at a restart.

    ## References
    The PyTorch forum and tutorials on saving a general checkpoint.
    """

    name = "optimizer-state-lost"
    code = "RUN094"
    category = Category.SUSPICIOUS

    class Options(RuleOptions):
        """Options of this rule."""

        phase: float = 2.5
        """Learning rate after over before, either way; a schedule changes it by less where nothing begins anew."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        lost, late = event(run, "optimizer-state-lost"), event(run, "scheduler-start")
        found = lost or late
        if not found or (lost and self._other_phase(run, lost["step"])):
            return
        if lost:
            what = (
                f"the optimizer's state of {lost['value']:g} steps (limit: none lost) was gone at step {lost['step']}"
            )
            after = [f"update ratio {v:.1e} after it" for v in _ratio_after(run, lost["step"])]
        else:
            what = (
                f"{found['layer']} had been stepped {found['value']:g} times (limit 0) when the watch began and "
                f"the optimizer "
                "remembered nothing"
            )
            after = []
        yield Finding(
            message=(
                f"{what}; its moments start anew, as they do when a checkpoint is loaded without the optimizer's state"
            ),
            place=Place(step=found["step"]),
            evidence={"remembered": found["value"], "chain": [found["message"], *after]},
            fix=Fix(FixSafety.UNSAFE, "save and load optimizer.state_dict() with the weights"),
        )

    def _other_phase(self, run: RunFacts, step: int) -> bool:
        rates = run.steps.filter(pl.col("step").is_between(step - 1, step))["lr"].drop_nulls().to_list()
        return len(rates) == 2 and min(rates) > 0 and max(rates) > self.options.phase * min(rates)


def _ratio_after(run: RunFacts, step: int) -> list[float]:
    """The first sampled update ratio at or after `step`, where there is one."""
    rows = run.steps.filter((pl.col("step") >= step) & pl.col("update_ratio").is_finite())
    return rows["update_ratio"].head(1).to_list()
