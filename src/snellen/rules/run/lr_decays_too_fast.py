"""See LrDecaysTooFast."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.findings.words import plural
from snellen.rules.run._edits import set_recipe
from snellen.rules.run._series import event
from snellen.watching.facts import RunFacts


class LrDecaysTooFast(Rule):
    """The learning rate is spent long before the run ends: a schedule meant for epochs is stepped at every batch.

    ## What it does
    Follows the learning rate over the steps and the calls of the scheduler.

    ## Why is this bad?
    After the first epochs nothing is learned; or the rate comes back up again and again.

    ## How it is computed
    Fires when the rate stays below `low` of its peak for the last `tail` of the steps or more, and the scheduler
    was stepped more than `per_epoch` times as often as epochs ended or the rate fell inside one epoch. A cosine
    to 0 spends 3 % of its steps there, a rate divided by 10 three times a quarter, in steps of epochs. Where the rate
    has few values, as milestones give, below `few_low` after the first `early` of the steps is as bad. Fires too
    when a cosine schedule was stepped more than twice its T_max, after which its rate rises again; and when a scheduler
    other than one that waits for a plateau keeps the rate at `spent` of its peak or less for `half` of the run.

    ## Example
        lr-decays-too-fast the learning rate fell to 0.1 % of its peak at step 90 of 400 and stayed there

    ## Fix
    Call `scheduler.step()` once per epoch, or give the schedule its length in batches.

    ## Known false positives
    A cyclic cosine that is meant to come back.

    ## References
    mmdetection and Lightning issues on schedulers stepped per batch; PyTorch documentation of CosineAnnealingLR.
    """

    name = "lr-decays-too-fast"
    code = "RUN083"
    category = Category.SUSPICIOUS

    class Options(RuleOptions):
        """Options of this rule."""

        low: float = 2e-3
        """Share of the peak below which hardly anything is learned, in 0..1."""
        tail: float = 0.3
        """Share of the run spent there, in 0..1; healthy schedules have at most a quarter."""
        few_low: float = 0.1
        """Share of the peak to which milestones bring the rate, in 0..1."""
        early: float = 0.1
        """Part of the run in which all milestones are passed that were meant for epochs."""
        few: int = 4
        """Values of a rate that milestones change."""
        per_epoch: float = 3.0
        """Scheduler steps for each epoch above which it is stepped per batch."""
        min_steps: int = 20
        """Steps before anything is said."""

        spent: float = 5e-4
        """Share of the peak at which nothing moves any more; a second phase of fine-tuning has 1e-3."""
        half: float = 0.5
        """Share of the steps at or below it."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o = self.options
        rows = run.steps.select("step", "epoch", "lr").drop_nulls("lr")
        if rows.height < o.min_steps:
            return
        rates = rows["lr"].to_numpy()
        calls = run.events.filter(pl.col("kind") == "scheduler-steps")["value"].to_numpy()
        most = float(calls.max()) if len(calls) else None
        ended = max(run.epochs.height, int(rows["epoch"].max() or 0) + 1)  # type: ignore[arg-type]
        period = event(run, "scheduler-period")
        if period and most and most > 2 * period["value"] + 1 and most > o.per_epoch * ended:
            yield Finding(
                message=(
                    f"a cosine schedule of T_max {period['value']:g} was stepped {most:g} times (limit "
                    f"{2 * period['value']:g}); "
                    "the rate falls and rises again with every few batches"
                ),
                evidence={
                    "t_max": period["value"],
                    "scheduler_steps": most,
                    "chain": [f"T_max {period['value']:g}", f"{most:g} scheduler steps", f"{ended} epochs"],
                },
                fix=Fix(
                    FixSafety.UNSAFE,
                    "step the scheduler once per epoch, or set T_max to the number of batches",
                    set_recipe(schedule_per="epoch"),
                ),
            )
            return
        peak = int(rates.argmax())
        stairs = most is not None and len(np.unique(rates)) <= o.few and rates[0] == rates[peak]
        low, tail = (o.few_low, 1 - o.early) if stairs else (o.low, o.tail)
        high = np.flatnonzero(rates > low * rates[peak] * (1 + 1e-6))
        spent = int(high[-1]) + 1 if len(high) else len(rates)
        left = len(rates) - spent
        epochs = rows["epoch"].fill_null(0).to_numpy()[peak : spent + 1]
        # A schedule by epochs changes the rate once at the end of each.
        changes = len(np.unique(rates[peak : spent + 1])) - 1
        inside = changes > len(np.unique(epochs)) or (stairs and ended > 1)
        often = most is None or most > o.per_epoch * ended
        if rates[peak] > 0 and left >= tail * len(rates) and inside and often:
            at = int(rows["step"][spent]) if spent < rows.height else None
            called = "" if most is None else f"; the scheduler was stepped {most:g} times in {plural(ended, 'epoch')}"
            yield Finding(
                message=(
                    f"the learning rate fell to {low:.1%} or less of its peak {rates[peak]:.2g} at step {at} of "
                    f"{len(rates)} and "
                    f"stayed there for {left / len(rates):.0%} of the run (limit {tail:.0%}){called}; it decays "
                    f"per batch "
                    "instead of per epoch"
                ),
                place=Place(step=at),
                evidence={
                    "peak": float(rates[peak]),
                    "last": float(rates[-1]),
                    "scheduler_steps": most,
                    "chain": [
                        f"lr {rates[peak]:.2g} at step {peak}",
                        f"lr {rates[-1]:.2g} at the end",
                        f"{low:.1%} or less from step {at} of {len(rates)}",
                    ],
                },
                affected=left,
                of=len(rates),
                fix=Fix(
                    FixSafety.UNSAFE,
                    "call scheduler.step() once per epoch, not per batch",
                    set_recipe(schedule_per="epoch"),
                ),
            )
            return
        idle = int((rates[peak:] <= o.spent * rates[peak]).sum())
        names = run.events.filter(pl.col("kind") == "scheduler-steps")["layer"].to_list()
        if rates[peak] > 0 and idle >= o.half * len(rates) and names and "ReduceLROnPlateau" not in names:
            yield self._spent(names[0], float(rates[peak]), idle, len(rates))

    def _spent(self, scheduler: str, peak: float, idle: int, steps: int) -> Finding:
        return Finding(
            message=(
                f"{scheduler} keeps the learning rate at {self.options.spent:g} of its peak {peak:.2g} or less for "
                f"{idle} of {steps} steps (limit {self.options.half:.0%}): these train nothing"
            ),
            place=Place(step=steps - idle),
            evidence={"peak": peak, "idle": idle, "chain": [f"{idle} of {steps} steps"]},
            affected=idle,
            of=steps,
            fix=Fix(FixSafety.UNSAFE, "a slower decay: gamma ** epochs should end at 0.01 to 0.001"),
        )
