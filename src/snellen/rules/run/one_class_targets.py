"""See OneClassTargets."""

from collections.abc import Iterator

from snellen.findings import Category, Finding, Fix, FixSafety, Place, Rule, RuleOptions
from snellen.rules.run._loss import BINARY, class_counts, equal_marks, form, optimizers, rows
from snellen.watching.facts import RunFacts


class OneClassTargets(Rule):
    """All targets are of one class.

    ## What it does
    Counts the classes among the targets of a classifier.

    ## Why is this bad?
    The model learns to give one answer; the loss falls to 0 and looks like success.

    ## How it is computed
    Fires when a loss of classification was recognised and at least `targets` targets of at least `steps` steps all are
    of one class; or when a binary loss was recognised and the several marks of each sample are all 0, or all 1, in at
    least `looks` batches looked at. Two adversaries, with two optimizers, see constant targets by turns and are not
    judged.

    ## Example
        one-class-targets all 4800 targets are class 0

    ## Fix
    Look at how labels are read: path, column, mapping of names to ids.

    ## Known false positives
    A run stopped while sorted data was still at its first class.

    ## References
    DeepCrime, operator for changed labels.
    """

    name = "one-class-targets"
    code = "RUN053"
    category = Category.CORRECTNESS
    causes = ("targets-ignored", "no-positive-targets")

    class Options(RuleOptions):
        """Options of this rule."""

        targets: int = 100
        """Targets before anything is said; of two equal classes one is missing by chance with 2^-100."""
        steps: int = 10
        """Steps before anything is said."""
        looks: int = 3
        """Batches looked at, where a sample has several marks; they spread over the run."""

    def check(self, run: RunFacts) -> Iterator[Finding]:
        """Yield at most one finding for the run."""
        known = form(run)
        name = known.get("name")
        counts, _ = class_counts(run)
        if optimizers(run) == 1:
            yield from self._marks(run)
        if not name or len(counts) < 2 or optimizers(run) > 1 or rows(run, "input").height == 0:
            return
        if name not in ("cross-entropy", "focal", "nll", "multi-margin", "dice", *BINARY):
            return
        seen = [i for i, n in enumerate(counts) if n]
        total = sum(counts)
        if len(seen) == 1 and total >= self.options.targets and run.steps.height >= self.options.steps:
            yield Finding(
                message=(
                    f"all {total} targets of {run.steps.height} steps are class {seen[0]} of {len(counts)} (limit "
                    f"{self.options.targets}): one answer is all there is to learn"
                ),
                place=Place(layer="target"),
                evidence={"class": seen[0], "targets": total, "classes": len(counts)},
                fix=Fix(FixSafety.UNSAFE, "look at how the labels are read"),
            )

    def _marks(self, run: RunFacts) -> Iterator[Finding]:
        """Several zeros and ones per sample that are all the same."""
        found, o = equal_marks(run), self.options
        if found is None:
            return
        value, total, looks = found
        if looks >= o.looks and run.steps.height >= o.steps and total >= o.targets:
            yield Finding(
                message=(
                    f"all {total} targets of the {looks} batches looked at are {value:.0f} (limit {o.targets}): "
                    "one answer is all there is to learn"
                ),
                place=Place(layer="target"),
                evidence={"value": value, "targets": total},
                fix=Fix(FixSafety.UNSAFE, "look at how the targets are made: units, thresholds, order of comparison"),
            )
