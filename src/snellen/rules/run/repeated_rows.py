"""See RepeatedRows."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._measures import measure, number
from snellen.watching.facts import RunFacts


class RepeatedRows(Rule):
    """A batch holds the same sample many times, under different labels.

    ## What it does
    Counts the different rows of each batch.

    ## Why is this bad?
    An index that is not passed on, or a closure that keeps the last value, gives every item the same input: there is
    nothing to tell the labels apart by.

    ## How it is computed
    Fires when the median share of different rows in a batch is at most `share`, batches hold `size` rows or more
    and at least a `labels` share of the different rows came with more than one label. Drawing with replacement
    repeats rows with their label and is left alone.

    ## Example
        repeated-rows a batch of 32 holds 1 different row, under several labels

    ## Fix
    Look at `__getitem__`: does it use its index, and does each item own its arrays?

    ## Known false positives
    None known.

    ## References
    PyTorch forum: dataset returns the same sample; Python FAQ on closures in loops.
    """

    name = "repeated-rows"
    code = "RUN136"
    category = Category.CORRECTNESS
    causes = ("constant-input",)

    class Options(RuleOptions):
        """Options of this rule."""

        share: float = 0.5
        """Median share of different rows in a batch."""
        size: int = 8
        """Rows in a batch."""
        labels: float = 0.2
        """Share of the different rows with more than one label."""
        values: int = 32
        """Numbers in a row; shorter rows, such as the states of a game, are equal by nature."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o, row = self.options, measure(run, "batch-distinct", "training")
        if row is None or row["of"] < o.size or row["value"] > o.share:
            return
        if not number(run, "rows-under-two-labels") >= o.labels:
            return
        if number(run, "row-values", "training") < o.values:
            return
        some = row["value"] * row["of"]
        yield Finding(
            message=(
                f"a batch of {row['of']:.0f} holds {some:.0f} different inputs (limit {o.share:.0%}) under different "
                "labels: the dataset returns the same sample for several indices"
            ),
            place=Place(layer="input", step=row["step"]),
            evidence={"share": row["value"], "chain": [f"{some:.0f} of {row['of']:.0f} rows of a batch differ"]},
            fix=Fix(FixSafety.UNSAFE, "return the sample of the index asked for"),
        )
