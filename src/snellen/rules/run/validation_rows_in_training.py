"""See ValidationRowsInTraining."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._measures import measure, number, validated
from snellen.watching.facts import RunFacts


class ValidationRowsInTraining(Rule):
    """Rows of the validation set are trained on.

    ## What it does
    Follows each row by a print of its values, in training and in validation forward passes.

    ## Why is this bad?
    Validation measures memory: the score is too good and overfitting is not seen.

    ## How it is computed
    Fires when validation results are given, at least `share` of the different validation rows were trained on before
    and either `mixed` of the validation batches hold rows of both kinds or nothing else was validated. A pass over
    training data beside the validation set gives batches of one kind. Silent when training has fewer than `rows`
    different rows or no more than one batch (fitted on purpose, or a graph of which some nodes are held out), and
    when rows repeat within validation batches by themselves: below `own`, or, for rows of fewer than `values`
    numbers, a third as often, unless one column alone tells nearly all rows apart (`unique`): then equal rows are
    copies.

    ## Example
        validation-rows-in-training 47 % of 400 validation rows are training rows

    ## Fix
    Split before oversampling and augmentation, and by group (patient, scene, video), not by image.

    ## Known false positives
    Training rows validated on purpose, mixed with others.

    ## References
    Kaufman et al. 2012, Leakage in Data Mining; UMLAUT and trainlint (suspicious validation score).
    """

    name = "validation-rows-in-training"
    code = "RUN138"
    category = Category.CORRECTNESS

    class Options(RuleOptions):
        """Options of this rule."""

        share: float = 0.05
        """Share of the different validation rows."""
        mixed: float = 0.6
        """Share of the validation batches that hold rows of both kinds; half of them do where a pool is scored to
        choose what is labelled next."""
        rows: int = 100
        """Different training rows."""
        values: int = 32
        """Numbers in a row; shorter rows may be equal by chance."""
        least: int = 4
        """Numbers in a row below which equal rows are no sign, as with pairs of ids."""
        unique: float = 0.9
        """Different values of one column over different rows."""
        own: float = 0.5
        """Share of different rows in a validation batch below which rows repeat by nature."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        o, row = self.options, measure(run, "validation-rows-trained-on")
        if row is None or row["value"] < o.share:
            return
        if number(run, "row-values", "training") < o.least:
            return
        copies = number(run, "row-own-values", "training") >= o.unique
        short = number(run, "row-values", "training") < o.values and not copies
        if not number(run, "batch-distinct", "validation") >= max(o.own, 1 - row["value"] / 3 if short else 0.0):
            return
        # One batch over and over: fitted on purpose, or a whole graph of which some nodes are held out.
        batch = measure(run, "batch-distinct", "training")
        if not number(run, "rows-distinct", "training") >= max(o.rows, 1.5 * batch["of"] if batch else 0.0):
            return
        mixed = number(run, "validation-batches-mixed") >= o.mixed
        if not validated(run) or not (mixed or row["value"] > 0.98):
            return
        count = round(row["value"] * row["of"])
        yield Finding(
            message=(
                f"{count} of {row['of']:.0f} different validation rows were trained on (limit {o.share:.0%}): "
                "validation measures memory"
            ),
            place=Place(layer="input", split="validation"),
            evidence={
                "share": row["value"],
                "chain": [f"{count} of {row['of']:.0f} validation inputs are training inputs"],
            },
            affected=count,
            of=int(row["of"]),
            fix=Fix(FixSafety.UNSAFE, "take the shared rows out of training"),
        )
