"""See SoftmaxOverBatch."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._loss import form, rows
from snellen.rules.run._series import event
from snellen.watching.facts import RunFacts

FIX = Fix(FixSafety.UNSAFE, "softmax(dim=1)")
OFF = 5e-3
"""Distance of a sum from 1 that float16 leaves."""


class SoftmaxOverBatch(Rule):
    """Softmax runs over the batch instead of the classes.

    ## What it does
    Looks at the columns of the first outputs: non-negative and summing to 1 over the batch.

    ## Why is this bad?
    Each prediction depends on which other images are in the batch.

    ## How it is computed
    Fires when in at least `batches` of the first three batches every output column sums to 1 over the batch within
    5e-3; when in as many looks the exponentials of outputs below 0 do so and those of their rows do not; or when the
    loss was recognised as that of a softmax over axis 0.

    ## Example
        softmax-over-batch output columns sum to 1 over the batch

    ## Fix
    Give softmax the class dimension, dim=1.

    ## Known false positives
    None known.

    ## References
    PYSIASSIST lists the wrong dimension of softmax among loss and activation errors.
    """

    name = "softmax-over-batch"
    code = "RUN015"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        batches: int = 2
        """How many of the first three batches."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        before = form(run).get("before")
        if before == "softmax-batch":
            yield Finding(
                message=(
                    f"the loss is the {form(run)['name']} of outputs whose softmax runs over the batch (axis 0, should "
                    "be the axis of the classes): it couples the samples"
                ),
                place=Place(layer="output"),
                evidence={"error": form(run)["error"]},
                fix=FIX,
            )
            return
        found = event(run, "columns-sum-to-one")
        logs = rows(run, "output").drop_nulls("log_column_sum_off")
        logs = logs.filter((pl.col("log_column_sum_off") <= OFF) & (pl.col("log_row_sum_off") > OFF))
        if logs.height >= self.options.batches:
            yield Finding(
                message=(
                    f"in {logs.height} batches (limit {self.options.batches}) the exponentials of every output column "
                    "sum to 1 over the batch: log_softmax has the wrong dimension and couples the samples"
                ),
                place=Place(layer="output"),
                evidence={"batches": logs.height},
                fix=FIX,
            )
        elif found and found["value"] >= self.options.batches:
            yield Finding(
                message=(
                    f"in {int(found['value'])} of the first batches (limit {self.options.batches}) every "
                    "output column sums to 1 over the batch: softmax has the wrong dimension and couples "
                    "the samples"
                ),
                place=Place(layer="output"),
                evidence={"batches": int(found["value"])},
                fix=FIX,
            )
