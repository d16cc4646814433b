"""See SchedulerNeverCalled."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.rules.run._series import top_rate
from snellen.watching.facts import RunFacts


class SchedulerNeverCalled(Rule):
    """There is a learning-rate scheduler and nobody steps it.

    ## What it does
    Counts the calls of `scheduler.step()`.

    ## Why is this bad?
    The rate never changes; a warm-up from a low rate stays low for ever.

    ## How it is computed
    Fires when the watched optimizer has schedulers, none of them was stepped, and at least `min_epochs` epochs
    ended (`watch.epoch`). Within an epoch a schedule by epochs has nothing to do.

    ## Example
        scheduler-never-called StepLR was stepped 0 times in 5 epochs; the learning rate stayed at 0.1

    ## Fix
    Call `scheduler.step()` at the end of each epoch, or after each batch for a schedule in batches.

    ## Known false positives
    A scheduler that is made and left aside on purpose.

    ## References
    PYSIASSIST pattern: scheduler made and not called.
    """

    name = "scheduler-never-called"
    code = "RUN085"
    category = Category.SUSPICIOUS

    class Options(RuleOptions):
        """Options of this rule."""

        min_epochs: int = 2
        """Epochs that must have ended."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        rows = run.events.filter(pl.col("kind") == "scheduler-steps")
        ended = run.epochs.height
        if rows.is_empty() or ended < self.options.min_epochs or bool((rows["value"] > 0).any()):
            return
        name = str(rows["layer"][0])
        rates = run.steps["lr"].drop_nulls().unique()
        if len(rates) > 1:
            return  # Somebody sets the rate by hand.
        yield Finding(
            message=(
                f"{name} was stepped 0 times in {ended} epochs (limit {self.options.min_epochs}) and the learning "
                f"rate stayed "
                f"at {top_rate(run):.3g}; scheduler.step() is not called"
            ),
            evidence={
                "scheduler": name,
                "chain": [f"{name} exists", "0 calls", f"{ended} epochs", "one learning rate"],
            },
            fix=Fix(FixSafety.UNSAFE, "call scheduler.step() once per epoch"),
        )
