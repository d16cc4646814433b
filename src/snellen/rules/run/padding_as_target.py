"""See PaddingAsTarget."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._loss import form, rows
from snellen.watching.facts import RunFacts


class PaddingAsTarget(Rule):
    """The id that fills up short sequences is counted as a target.

    ## What it does
    Looks for an id that fills the ends of the target sequences and occurs nowhere else, and whether the loss counts it.

    ## Why is this bad?
    Much of the loss is for predicting filler, which is easy: loss and accuracy look good, real tokens get a smaller
    gradient, and the model learns to stop early.

    ## How it is computed
    Fires when runs of one id fill at least `share` of all positions at the ends of the rows, of differing length, in at
    least `batches` batches, and the recognised cross-entropy counts every target.

    ## Example
        padding-as-target 41 % of the targets are id 0 at the ends of sequences, and the loss counts them

    ## Fix
    `cross_entropy(..., ignore_index=pad)`.

    ## Known false positives
    A model that has to learn where a sequence ends, trained on runs of an end token.

    ## References
    PyTorch documentation of CrossEntropyLoss, `ignore_index`.
    """

    name = "padding-as-target"
    code = "RUN057"
    category = Category.SUSPICIOUS

    class Options(RuleOptions):
        """Options of this rule."""

        share: float = 0.2
        """Share of the positions, 0..1; sorted sequences end with their largest symbol in 0.11 of the places."""
        batches: int = 2
        """Batches that have to show it."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        known = form(run)
        if known.get("name") not in ("cross-entropy", "focal") or known["ignored"] is not None or known["weights"]:
            return
        found = rows(run, "target").drop_nulls("trailing")
        if known["ignored_share"] > 0 or found.height < self.options.batches or found["trailing_value"].n_unique() > 1:
            return
        share = float(found["trailing"].to_numpy().mean())
        if share >= self.options.share:
            pad = int(found["trailing_value"][0])
            yield Finding(
                message=(
                    f"{share:.0%} of the targets (limit {self.options.share:.0%}) are id {pad} at the ends of "
                    "sequences and nowhere else, and the loss counts them: filler drowns what is to be learned"
                ),
                place=Place(layer="target"),
                evidence={"id": pad, "share": share},
                fix=Fix(FixSafety.UNSAFE, f"ignore_index={pad}"),
            )
