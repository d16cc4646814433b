"""See RowsUnderTwoLabels."""

from collections.abc import Iterator

import polars as pl

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._loss import loss_name, rows
from snellen.rules.run._measures import measure, number
from snellen.rules.run._series import accuracies
from snellen.watching.facts import RunFacts


class RowsUnderTwoLabels(Rule):
    """The same input comes with different labels.

    ## What it does
    Follows each training row by a print of its values and compares the labels it came with.

    ## Why is this bad?
    Inputs and labels are taken from lists in different order, or one is drawn anew each epoch: what was learned in one
    epoch is wrong in the next.

    ## How it is computed
    Fires when at least `share` of the different rows, and `rows` of them, came with more than one class id. Rows
    of fewer than `values` numbers are left alone: there equal inputs with unequal labels are a matter of course. So are
    targets of pairs: those of a model that runs more than `passes` times a step, or of a loss that does not follow from
    these outputs and targets. So are labels that the network gets right more often than two labels allow, by `above`:
    those of an episode are told by its other samples.

    ## Example
        rows-under-two-labels 870 of 960 rows came with more than one label

    ## Fix
    Shuffle pairs, not lists: `DataLoader(TensorDataset(x, y), shuffle=True)`.

    ## Known false positives
    Sampled targets by intent, such as actions of a policy.

    ## References
    PyTorch forum: `shuffle=True` beside a list of labels in file order.
    """

    name = "rows-under-two-labels"
    code = "RUN134"
    category = Category.CORRECTNESS
    causes = (
        "repeated-rows",
        "constant-input",
    )

    class Options(RuleOptions):
        """Options of this rule."""

        share: float = 0.05
        """Share of the different rows; label noise drawn anew for augmentation is the only other source."""
        rows: int = 10
        """Rows in number."""
        different: int = 50
        """Different inputs; in a world of few states, such as a board game's, one state may have several answers."""
        values: int = 16
        """Numbers in a row."""
        looks: int = 4
        """Recounted accuracies before they say anything."""
        above: float = 0.15
        """Accuracy of the last quarter above what two labels for these rows leave, from which they are told apart."""
        passes: float = 1.5
        """Training passes per step; a network that compares two inputs runs twice, and its label is of the pair."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o, row = self.options, measure(run, "rows-under-two-labels")
        if row is None or not number(run, "row-values") >= o.values or self._of_pairs(run):
            return
        count = round(row["value"] * row["of"])
        if row["value"] < o.share or count < o.rows or row["of"] < o.different:
            return
        # Of a row with two labels one look in two is wrong, unless the batch says which is meant, as in episodes.
        right = accuracies(run)
        if len(right) >= o.looks and right[-len(right) // 4 :].mean() > 1 - row["value"] / 2 + o.above:
            return
        yield Finding(
            message=(
                f"{count} of {row['of']:.0f} different inputs came with more than one label (limit {o.share:.0%}): "
                "inputs and labels are not paired, and each pass unteaches the one before"
            ),
            place=Place(layer="target", step=row["step"]),
            evidence={
                "share": row["value"],
                "chain": [f"first at step {row['step']}", f"{count} of {row['of']:.0f} inputs have two labels or more"],
            },
            affected=count,
            of=int(row["of"]),
            fix=Fix(FixSafety.UNSAFE, "shuffle inputs and labels together"),
        )

    def _of_pairs(self, run: RunFacts) -> bool:
        """Whether the targets may speak of more than the inputs that were shown."""
        passes = int(run.forwards.filter(pl.col("phase") == "training")["calls"].sum())
        compared = rows(run, "output").height and rows(run, "target").height
        return passes > self.options.passes * max(run.steps.height, 1) or bool(compared and not loss_name(run))
