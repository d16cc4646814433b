"""See DataLoadingBound."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Rule, RuleOptions
from snellen.watching.facts import RunFacts


class DataLoadingBound(Rule):
    """More than half of the training time is waiting for data.

    ## What it does
    Adds up the time each step waited for its batch.

    ## Why is this bad?
    The device idles; the run takes twice as long or more.

    ## How it is computed
    Share of data_seconds in seconds over all steps but the first three (workers start there); fires above `share`
    when at least `min_wait` seconds were lost.

    ## Example
        data-loading-bound 71 % of 900 s was waiting for data

    ## Fix
    More workers, smaller stored images, decoding at reduced size, caching.

    ## Known false positives
    None known: short runs are left alone.

    ## References
    SageMaker Debugger's IOBottleneck and CPUBottleneck.
    """

    name = "data-loading-bound"
    code = "RUN028"
    category = Category.PERFORMANCE

    class Options(RuleOptions):
        """Options of this rule."""

        share: float = 0.5
        """Share of the time, in 0..1."""
        min_wait: float = 60.0
        """Seconds lost before anything is said."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        rows = run.steps.slice(3)
        total, waited = float(rows["seconds"].sum()), float(rows["data_seconds"].sum())
        if waited >= self.options.min_wait and waited > self.options.share * total:
            yield Finding(
                message=(
                    f"{waited / total:.0%} of {total:.0f} s of training (limit {self.options.share:.0%}) "
                    "was waiting for data; the device idles"
                ),
                evidence={"seconds": total, "data_seconds": waited},
                fix=Fix(FixSafety.UNSAFE, "give the loader more workers, or store and decode images at reduced size"),
            )
