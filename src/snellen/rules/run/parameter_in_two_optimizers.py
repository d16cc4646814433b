"""See ParameterInTwoOptimizers."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.findings.words import listed, plural
from snellen.watching.facts import RunFacts


class ParameterInTwoOptimizers(Rule):
    """A parameter is updated by two optimizers.

    ## What it does
    Counts the optimizers that hold each parameter, and how often each steps.

    ## Why is this bad?
    The parameter takes two steps per batch, each with moments that know nothing of the other.

    ## How it is computed
    Fires when a trainable parameter is in two watched optimizers and each of them steps in at least `share` of
    the steps, after one and the same backward pass. A change from one optimizer to another in the middle of a run is
    not meant: they share the steps; nor are two losses, each with a backward pass and an optimizer of its own.

    ## Example
        parameter-in-two-optimizers 4 parameters (stem.weight ...) are in 2 optimizers that both step

    ## Fix
    Give each optimizer its own parameters: `head.parameters()`, not `model.parameters()`.

    ## Known false positives
    Methods that take two steps on the same weights on purpose.

    ## References
    guardtower checks the coverage of one optimizer; no tool checks the overlap of two.
    """

    name = "parameter-in-two-optimizers"
    code = "RUN093"
    category = Category.SUSPICIOUS

    class Options(RuleOptions):
        """Options of this rule."""

        share: float = 0.8
        """Share of the steps that an optimizer takes to count, in 0..1."""
        min_steps: int = 5
        """Steps before anything is said."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o = self.options
        shared = run.parameters.filter(pl.col("trainable") & (pl.col("optimizers") > 1))["name"].to_list()
        total = run.steps.height
        if not shared or total < o.min_steps:
            return
        counts = run.calls.group_by("optimizer").agg(pl.col("steps").sum())
        busy = counts.filter(pl.col("steps") >= o.share * total).height
        if run.calls.height and busy < 2:
            return
        usual = run.calls.filter(pl.col("steps") >= o.share * total)["sequence"].to_list()
        # In the turn of the last of them the passes of the others are one repeated sequence.
        if any(calls.split(", ").count("backward") > 1 for calls in usual):
            return
        yield Finding(
            message=(
                f"{plural(len(shared), 'parameter')} ({listed(shared, 3)}) belong to more than one optimizer "
                f"(limit 1) and "
                f"{busy} of them step at every batch; each batch moves these weights twice"
            ),
            place=Place(layer=shared[0]),
            evidence={
                "parameters": shared[:20],
                "chain": [f"{len(shared)} shared parameters", f"{busy} optimizers step"],
            },
            affected=len(shared),
            fix=Fix(FixSafety.UNSAFE, "give each optimizer its own parameters"),
        )
